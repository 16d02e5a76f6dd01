//! The contrast of two sets of prompts: which features tell them apart.

use std::fmt;
use std::str::FromStr;

use saescope_kernels::SparseRows;
use serde::Serialize;

use super::{Reading, pooled};
use crate::error::{Error, Result, by_name};
use crate::hook::Hook;
use crate::model::Model;
use crate::sae::Sae;

/// The measure by which features are ranked: the further from its neutral value, the earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// The AUROC, neutral at a half.
    #[default]
    Auroc,
    /// The difference of the means, neutral at zero.
    Difference,
}

impl Rank {
    /// Every measure.
    pub const ALL: [Rank; 2] = [Rank::Auroc, Rank::Difference];

    /// The name in flags and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Rank::Auroc => "auroc",
            Rank::Difference => "difference",
        }
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rank {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rank> {
        by_name("measure", text, &Rank::ALL, Rank::name)
    }
}

/// Two sets of prompts, as token ids.
#[derive(Clone, Copy, Debug)]
pub struct PromptSets<'a> {
    /// Prompts that show what is looked for.
    pub positive: &'a [&'a [u32]],
    /// Prompts that do not.
    pub negative: &'a [&'a [u32]],
}

/// One feature on two sets of prompts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FeatureContrast {
    /// Id of the feature.
    pub feature: u32,
    /// Probability that a random positive prompt activates it more than a random negative one, ties
    /// counted as half: 1 and 0 separate the sets, a half does not (Hanley & McNeil 1982).
    pub auroc: f64,
    /// Mean activation on the positive prompts minus that on the negative ones.
    pub difference: f64,
    /// Mean activation on the positive prompts.
    pub mean_positive: f64,
    /// Mean activation on the negative prompts.
    pub mean_negative: f64,
    /// Share of the positive prompts on which it is active.
    pub fires_positive: f64,
    /// Share of the negative prompts on which it is active.
    pub fires_negative: f64,
}

/// Every feature that is active on at least one of the prompts, ranked by how well it separates the two
/// sets. Each prompt counts once, with the row that `reading` asks for. Activations are as `hook` leaves
/// them.
///
/// # Errors
/// When a set is empty, and as for [`pooled`].
pub fn contrast(
    model: &Model,
    sae: &Sae,
    sets: PromptSets,
    reading: Reading,
    rank: Rank,
    hook: &mut dyn Hook,
) -> Result<Vec<FeatureContrast>> {
    let positive = pooled(model, sae, sets.positive, reading, hook)?;
    let negative = pooled(model, sae, sets.negative, reading, hook)?;
    contrast_rows(&positive, &negative, rank)
}

/// [`contrast`] of pooled rows, one for each prompt, whose activations are not negative.
///
/// # Errors
/// When a set is empty.
pub fn contrast_rows(
    positive: &SparseRows,
    negative: &SparseRows,
    rank: Rank,
) -> Result<Vec<FeatureContrast>> {
    for (name, rows) in [("positive", positive), ("negative", negative)] {
        if rows.rows() == 0 {
            let what = format!("the {name} set of prompts");
            return Err(Error::Empty { what });
        }
    }
    let mut entries: Vec<(u32, f32, bool)> = Vec::with_capacity(positive.len() + negative.len());
    for (rows, is_positive) in [(positive, true), (negative, false)] {
        for row in 0..rows.rows() {
            let active = rows.entries(row).filter(|&(_, value)| value > 0.0);
            entries.extend(active.map(|(feature, value)| (feature, value, is_positive)));
        }
    }
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
    let mut all: Vec<FeatureContrast> = entries
        .chunk_by(|a, b| a.0 == b.0)
        .map(|active| of_feature(active, positive.rows(), negative.rows()))
        .collect();
    let distance = |c: &FeatureContrast| match rank {
        Rank::Auroc => ((c.auroc - 0.5).abs(), c.difference.abs()),
        Rank::Difference => (c.difference.abs(), (c.auroc - 0.5).abs()),
    };
    all.sort_by(|a, b| {
        let (of_a, of_b) = (distance(a), distance(b));
        let first = of_b.0.total_cmp(&of_a.0);
        let second = of_b.1.total_cmp(&of_a.1);
        first.then(second).then(a.feature.cmp(&b.feature))
    });
    Ok(all)
}

/// The contrast of one feature. `active` holds its activations in ascending order, true for those of the
/// positive set; `positive` and `negative` are the sizes of the sets.
fn of_feature(active: &[(u32, f32, bool)], positive: usize, negative: usize) -> FeatureContrast {
    let count = |of: bool| active.iter().filter(|(.., is)| *is == of).count();
    let sum = |of: bool| -> f64 {
        let values = active.iter().filter(|(.., is)| *is == of);
        // A fold from 0: the `sum` of nothing is -0.
        values.fold(0.0, |sum, &(_, value, _)| sum + f64::from(value))
    };
    let (fired_positive, fired_negative) = (count(true), count(false));
    let mean_positive = sum(true) / positive as f64;
    let mean_negative = sum(false) / negative as f64;
    // Twice the number of pairs that the positive side wins, a tie counting as half a pair. The numbers
    // are whole, so that the order of the prompts cannot change the result.
    let mut below = (negative - fired_negative) as u128;
    let ties_at_zero = (positive - fired_positive) as u128 * below;
    let mut won = ties_at_zero;
    for equal in active.chunk_by(|a, b| a.1 == b.1) {
        let of_positive = equal.iter().filter(|(.., is)| *is).count() as u128;
        let of_negative = equal.len() as u128 - of_positive;
        won += of_positive * (2 * below + of_negative);
        below += of_negative;
    }
    FeatureContrast {
        feature: active[0].0,
        auroc: won as f64 / (2 * positive as u128 * negative as u128) as f64,
        difference: mean_positive - mean_negative,
        mean_positive,
        mean_negative,
        fires_positive: fired_positive as f64 / positive as f64,
        fires_negative: fired_negative as f64 / negative as f64,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn rows(dense: &[[i8; 4]]) -> SparseRows {
        let mut rows = SparseRows::default();
        for row in dense {
            let entries = (0..).zip(row).filter(|(_, v)| **v > 0);
            rows.push(entries.map(|(f, &v)| (f, f32::from(v) / 4.0)));
        }
        rows
    }

    #[test]
    fn a_feature_of_one_set_alone_separates_the_sets_at_any_activation() {
        let all = contrast_rows(
            &rows(&[[1, 0, 3, 0], [4, 0, 3, 0]]),
            &rows(&[[0, 2, 3, 0], [0, 9, 3, 0], [0, 1, 3, 0]]),
            Rank::Auroc,
        )
        .unwrap();
        let order: Vec<(u32, f64)> = all.iter().map(|c| (c.feature, c.auroc)).collect();
        // A feature that never fires is not listed; one that always fires alike separates nothing.
        assert_eq!(order, [(1, 0.0), (0, 1.0), (2, 0.5)]);
        assert!((all[0].difference + 1.0).abs() < 1e-12);
        assert_eq!((all[0].fires_positive, all[0].fires_negative), (0.0, 1.0));
    }

    #[test]
    fn an_empty_set_is_refused() {
        let some = rows(&[[1, 0, 0, 0]]);
        for (positive, negative) in [(&some, &rows(&[])), (&rows(&[]), &some)] {
            let refused = contrast_rows(positive, negative, Rank::Auroc);
            assert!(matches!(refused, Err(Error::Empty { .. })));
        }
    }

    #[test]
    fn every_rank_parses_from_its_name() {
        for rank in Rank::ALL {
            assert_eq!(rank.to_string().parse::<Rank>().unwrap(), rank);
            assert_eq!(serde_json::to_string(&rank).unwrap(), format!("\"{rank}\""));
        }
        assert!("mean".parse::<Rank>().is_err());
    }

    proptest! {
        /// Compares with a loop over every pair of prompts, and with dense means.
        #[test]
        fn every_number_agrees_with_its_definition(
            positive in prop::collection::vec(prop::array::uniform4(-2_i8..4), 1..9),
            negative in prop::collection::vec(prop::array::uniform4(-2_i8..4), 1..9),
            by_difference in any::<bool>(),
        ) {
            let rank = if by_difference { Rank::Difference } else { Rank::Auroc };
            let all = contrast_rows(&rows(&positive), &rows(&negative), rank).unwrap();
            let found: BTreeMap<u32, FeatureContrast> = all.iter().map(|c| (c.feature, *c)).collect();
            for feature in 0..4_usize {
                let value = |row: &[i8; 4]| f64::from(row[feature].max(0)) / 4.0;
                let (p, n): (Vec<f64>, Vec<f64>) =
                    (positive.iter().map(value).collect(), negative.iter().map(value).collect());
                let Some(c) = found.get(&(feature as u32)) else {
                    prop_assert!(p.iter().chain(&n).all(|v| *v == 0.0));
                    continue;
                };
                let mut won = 0.0;
                for a in &p {
                    for b in &n {
                        won += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
                    }
                }
                let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
                let fires = |v: &[f64]| v.iter().filter(|v| **v > 0.0).count() as f64 / v.len() as f64;
                prop_assert_eq!(c.auroc, won / (p.len() * n.len()) as f64);
                prop_assert!((c.difference - (mean(&p) - mean(&n))).abs() < 1e-12);
                prop_assert!((c.mean_positive - mean(&p)).abs() < 1e-12);
                prop_assert!((c.mean_negative - mean(&n)).abs() < 1e-12);
                prop_assert_eq!((c.fires_positive, c.fires_negative), (fires(&p), fires(&n)));
            }
            let distance = |c: &FeatureContrast| if by_difference { c.difference.abs() } else { (c.auroc - 0.5).abs() };
            prop_assert!(all.is_sorted_by(|a, b| distance(a) >= distance(b)));
        }
    }
}
