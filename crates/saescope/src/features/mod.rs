//! The features that a text activates, and the role and effect of each.
//!
//! A model and an autoencoder of it meet here. Everything stays sparse: only active features are listed.
//! Results hold the texts of tokens and serialise to the JSON that is shown to users.

mod check;
mod contrast;
mod cut;
mod effect;
mod examples;
mod fit;
mod prompt;
mod role;

use std::fmt;
use std::str::FromStr;

use saescope_kernels::SparseRows;
use serde::{Serialize, Serializer};

pub use check::check;
pub use contrast::{FeatureContrast, PromptSets, Rank, contrast, contrast_rows};
pub use cut::CutTexts;
pub use effect::{FeatureEffect, Intervention, InterventionEffect, Probe, TokenShift, effects};
pub use examples::{Example, ExamplePiece, examples};
pub use fit::{Fit, fit};
pub use prompt::{FeatureTrace, PromptFeatures, TokenActivation};
pub(crate) use role::writes_to_residual;
pub use role::{LogitEffect, Neighbour, Role, role};

pub use crate::pooling::Pooling;

use crate::error::{Error, Result};
use crate::hook::Hook;
use crate::model::{Model, PASS_TOKENS, TextBatches};
use crate::sae::Sae;

/// The tokens of a prompt that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Every token.
    All,
    /// The token at this position, from 0.
    At(usize),
    /// One row for the prompt.
    Pooled(Pooling),
}

impl Default for Position {
    fn default() -> Position {
        Position::Pooled(Pooling::Last)
    }
}

/// The rows that are read of each prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The tokens.
    pub position: Position,
    /// True if [`Pooling::Max`] and [`Pooling::Mean`] count the first position too; it is unlike all
    /// others ([`pooled_positions`](crate::hook::pooled_positions)).
    pub count_first: bool,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::All => f.write_str("all"),
            Position::At(position) => write!(f, "{position}"),
            Position::Pooled(pooling) => pooling.fmt(f),
        }
    }
}

/// A position is a number in JSON, the others are their names.
impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Position::At(position) => serializer.serialize_u64(*position as u64),
            named => serializer.collect_str(named),
        }
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Position> {
        match (text, text.parse()) {
            ("all", _) => Ok(Position::All),
            (_, Ok(position)) => Ok(Position::At(position)),
            (_, Err(_)) => text.parse().map(Position::Pooled).map_err(|_| {
                let known = ["last", "all", "max", "mean", "a number from 0"];
                Error::UnknownName {
                    kind: "position",
                    name: text.to_owned(),
                    known: known.map(str::to_owned).to_vec(),
                }
            }),
        }
    }
}

/// An active feature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FeatureActivation {
    /// Id of the feature.
    pub feature: u32,
    /// Its activation.
    pub activation: f32,
}

/// The strongest features of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct TopFeatures {
    /// Number of the prompt, from 0.
    pub prompt: usize,
    /// Position of the token; none if several were pooled.
    pub position: Option<usize>,
    /// The features, the strongest first; of equal ones the lower id.
    pub features: Vec<FeatureActivation>,
}

/// The `top` strongest features of each of `prompts`, which are token ids, in the rows that `reading`
/// asks for. Activations are as `hook` leaves them.
///
/// # Errors
/// When the model does not fit the autoencoder ([`check`]), a prompt is empty or too long, or lacks
/// the position asked for.
pub fn features(
    model: &Model,
    sae: &Sae,
    prompts: &[&[u32]],
    reading: Reading,
    top: usize,
    hook: &mut dyn Hook,
) -> Result<Vec<TopFeatures>> {
    let mut found = Vec::new();
    let mut add = |prompt: usize, positions: &[usize], rows: &SparseRows| {
        for row in 0..rows.rows() {
            let entries = rows
                .entries(row)
                .map(|(feature, activation)| FeatureActivation {
                    feature,
                    activation,
                });
            found.push(TopFeatures {
                prompt,
                position: positions.get(row).copied(),
                features: strongest(entries.collect(), top, |f| (f.activation, f.feature)),
            });
        }
    };
    for_each_prompt(model, sae, prompts, reading, hook, &mut add)?;
    Ok(found)
}

/// The activations of each prompt, one row per prompt.
///
/// # Errors
/// When `reading` asks for every token, and as for [`features()`].
pub fn pooled(
    model: &Model,
    sae: &Sae,
    prompts: &[&[u32]],
    reading: Reading,
    hook: &mut dyn Hook,
) -> Result<SparseRows> {
    if reading.position == Position::All {
        let message = "every token was asked for, and only one row of each prompt is used";
        return Err(Error::Argument(message.to_owned()));
    }
    let mut all = SparseRows::default();
    let mut add = |_: usize, _: &[usize], rows: &SparseRows| all.push(rows.entries(0));
    for_each_prompt(model, sae, prompts, reading, hook, &mut add)?;
    Ok(all)
}

/// The activation of one feature at every token of each of `prompts`; 0 if it is not active.
///
/// # Errors
/// When there is no such feature, and as for [`features()`].
pub fn activations(
    model: &Model,
    sae: &Sae,
    prompts: &[&[u32]],
    feature: u32,
    hook: &mut dyn Hook,
) -> Result<Vec<Vec<f32>>> {
    sae.direction(feature)?;
    let reading = Reading {
        position: Position::All,
        ..Reading::default()
    };
    let mut all = Vec::with_capacity(prompts.len());
    let mut add = |_: usize, _: &[usize], rows: &SparseRows| {
        let values = (0..rows.rows()).map(|row| rows.value(row, feature));
        all.push(values.collect());
    };
    for_each_prompt(model, sae, prompts, reading, hook, &mut add)?;
    Ok(all)
}

/// Calls `each` with the number of every prompt, the positions of its rows (none if they are pooled)
/// and the rows.
fn for_each_prompt(
    model: &Model,
    sae: &Sae,
    prompts: &[&[u32]],
    reading: Reading,
    hook: &mut dyn Hook,
    each: &mut dyn FnMut(usize, &[usize], &SparseRows),
) -> Result<()> {
    check(model, sae)?;
    let site = sae.site()?;
    for batch in TextBatches::new(prompts, PASS_TOKENS) {
        let chosen: Vec<Vec<usize>> = batch
            .texts()
            .map(|text| positions(text.number, text.tokens, reading))
            .collect::<Result<_>>()?;
        let x = batch.activations(model, site, hook)?; // [tokens, d_in]
        let mut rows = Vec::new();
        for (text, chosen) in batch.texts().zip(&chosen) {
            rows.extend(chosen.iter().map(|position| text.rows.start + position));
        }
        let encoded = sae.encode(&x.select_rows(&rows))?.features;
        let mut row = 0;
        for (prompt, chosen) in batch.numbers().zip(&chosen) {
            let mut of_prompt = SparseRows::default();
            for _ in chosen {
                of_prompt.push(encoded.entries(row));
                row += 1;
            }
            match reading.position {
                Position::Pooled(pooling @ (Pooling::Max | Pooling::Mean)) => {
                    each(prompt, &[], &pool(&of_prompt, pooling));
                }
                _ => each(prompt, chosen, &of_prompt),
            }
        }
    }
    Ok(())
}

/// The positions of a prompt whose rows are needed.
fn positions(prompt: usize, tokens: &[u32], reading: Reading) -> Result<Vec<usize>> {
    let last = tokens.len().saturating_sub(1);
    match reading.position {
        Position::All => Ok((0..tokens.len()).collect()),
        Position::At(position) if position <= last => Ok(vec![position]),
        Position::At(position) => Err(Error::Position {
            prompt,
            position,
            last,
        }),
        Position::Pooled(pooling) => Ok(pooling
            .positions(tokens.len(), reading.count_first)
            .collect()),
    }
}

/// Pools several rows into one.
fn pool(rows: &SparseRows, pooling: Pooling) -> SparseRows {
    let mut entries: Vec<(u32, f32)> = (0..rows.rows()).flat_map(|r| rows.entries(r)).collect();
    // The sort is stable, so that a feature's activations are summed in the order of their positions.
    entries.sort_by_key(|&(feature, _)| feature);
    let mut pooled = SparseRows::default();
    pooled.push(entries.chunk_by(|a, b| a.0 == b.0).map(|same| {
        let values = same.iter().map(|&(_, value)| value);
        let value = match pooling {
            Pooling::Mean => (values.map(f64::from).sum::<f64>() / rows.rows() as f64) as f32,
            _ => values.fold(0.0, f32::max),
        };
        (same[0].0, value)
    }));
    pooled
}

/// The `top` of `items` with the largest values, the largest first; of equal ones the lower id.
fn strongest<T>(mut items: Vec<T>, top: usize, key: impl Fn(&T) -> (f32, u32)) -> Vec<T> {
    let order = |a: &T, b: &T| {
        let (a, b) = (key(a), key(b));
        b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
    };
    if top < items.len() {
        items.select_nth_unstable_by(top, order);
        items.truncate(top);
    }
    items.sort_unstable_by(order);
    items
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_position_parses_from_its_name() {
        for text in ["last", "all", "max", "mean", "0", "17"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for text in ["", "first", "-1", "1.5"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
        assert!("all".parse::<Pooling>().is_err());
    }

    #[test]
    fn pooling_counts_the_first_position_on_request_or_when_it_is_the_only_one() {
        let reading = |count_first| Reading {
            position: Position::Pooled(Pooling::Mean),
            count_first,
        };
        assert_eq!(positions(0, &[1, 1, 2], reading(false)).unwrap(), [1, 2]);
        assert_eq!(positions(0, &[1, 1, 2], reading(true)).unwrap(), [0, 1, 2]);
        assert_eq!(positions(0, &[1], reading(false)).unwrap(), [0]);
    }

    proptest! {
        #[test]
        fn sparse_rows_pool_as_dense_rows_do(rows in prop::collection::vec(prop::collection::btree_map(0_u32..9, 0.1_f32..4.0, 0..9), 1..6)) {
            let mut sparse = SparseRows::default();
            rows.iter().for_each(|row| sparse.push(row.iter().map(|(&f, &v)| (f, v))));
            let (max, mean) = (pool(&sparse, Pooling::Max), pool(&sparse, Pooling::Mean));
            for feature in 0..9 {
                let column = rows.iter().map(|row| row.get(&feature).copied().unwrap_or(0.0));
                let sum: f64 = column.clone().map(f64::from).sum();
                prop_assert_eq!(max.value(0, feature), column.fold(0.0, f32::max));
                prop_assert_eq!(mean.value(0, feature), (sum / rows.len() as f64) as f32);
            }
        }

        #[test]
        fn the_strongest_are_the_first_of_a_full_sort(values in prop::collection::vec(-3_i8..3, 0..40), top in 0_usize..50) {
            let items: Vec<(u32, f32)> = (0..).zip(values.into_iter().map(f32::from)).collect();
            let mut sorted = items.clone();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable: the lower id stays first
            sorted.truncate(top);
            prop_assert_eq!(strongest(items, top, |&(id, value)| (value, id)), sorted);
        }
    }
}
