//! The logit lens: the next token that a model would predict if a layer were its last
//! (nostalgebraist 2020).

use rayon::prelude::*;
use serde::Serialize;

use crate::distribution::exponentials;
use crate::error::{Error, Result};
use crate::hook::{Capture, Hook};
use crate::model::{Model, UNEMBED_ROWS};
use crate::site::Site;
use crate::tokenizer::Tokenizer;

/// A token predicted to come next.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// Its id.
    pub token: u32,
    /// Its text; bytes that are not a whole character are U+FFFD.
    pub piece: String,
    /// Its probability among all tokens.
    pub probability: f32,
}

/// The predictions at one site.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LensRow {
    /// The place in the residual stream that was read.
    pub site: Site,
    /// For each position the most likely tokens, the most likely first.
    pub positions: Vec<Vec<Prediction>>,
}

/// The `top` most likely next tokens at each position of `prompt`, read from each of `sites`, which are
/// places in the residual stream.
///
/// The final norm and the unembedding are applied as if the remaining layers added nothing. `hook`
/// precedes the reading, so its edits have effect.
///
/// # Errors
/// Those of [`Model::run`], and when the model lacks a site or a site is not as wide as the residual
/// stream.
pub fn lens(
    model: &Model,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    sites: &[Site],
    top: usize,
    hook: &mut dyn Hook,
) -> Result<Vec<LensRow>> {
    for &site in sites {
        model.check_site(site)?;
    }
    let mut capture = Capture::new(sites.iter().copied());
    model.run(&[prompt], &mut (hook, &mut capture))?;
    let mut rows = Vec::with_capacity(sites.len());
    for &site in sites {
        let resid = capture.take(site)?; // [tokens, d_model]
        let d_model = model.config().d_model;
        if resid.cols() != d_model {
            return Err(Error::Shape {
                what: format!("width of {site}, which is read as the residual stream"),
                expected: d_model.to_string(),
                found: resid.cols().to_string(),
            });
        }
        let mut positions = Vec::with_capacity(resid.rows());
        let all: Vec<usize> = (0..resid.rows()).collect();
        for chunk in all.chunks(UNEMBED_ROWS) {
            let logits = model.unembed(&resid.select_rows(chunk)); // [chunk, d_vocab]
            let predictions = (0..chunk.len()).into_par_iter();
            positions.par_extend(predictions.map(|row| predict(tokenizer, logits.row(row), top)));
        }
        rows.push(LensRow { site, positions });
    }
    Ok(rows)
}

/// The `top` most likely tokens by `logits`, `[d_vocab]`.
fn predict(tokenizer: &Tokenizer, logits: &[f32], top: usize) -> Vec<Prediction> {
    let likeliest = likeliest(logits, top).into_iter();
    likeliest
        .map(|(token, probability)| Prediction {
            token,
            piece: String::from_utf8_lossy(tokenizer.piece(token)).into_owned(),
            probability,
        })
        .collect()
}

/// The ids of the `top` largest of `logits` and their share in the softmax; of equal ones the lower id
/// comes first.
fn likeliest(logits: &[f32], top: usize) -> Vec<(u32, f32)> {
    let (max, sum) = exponentials(logits);
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(top + 1);
    for (token, &logit) in (0..).zip(logits) {
        if best.len() == top && best.last().is_none_or(|&(_, least)| logit <= least) {
            continue;
        }
        let at = best.partition_point(|&(_, better)| better >= logit);
        best.insert(at, (token, logit));
        best.truncate(top);
    }
    let share = |logit: f32| (f64::from(logit - max).exp() / sum) as f32;
    best.into_iter()
        .map(|(token, logit)| (token, share(logit)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_likeliest_come_first_with_their_probabilities() {
        let logits = [0.0, 2.0_f32.ln(), 0.0, 4.0_f32.ln()]; // softmax: 1/8, 2/8, 1/8, 4/8
        let found = likeliest(&logits, 3);
        for ((token, probability), expected) in found.iter().zip([(3, 0.5), (1, 0.25), (0, 0.125)])
        {
            assert_eq!(*token, expected.0);
            assert!((probability - expected.1).abs() < 1e-6);
        }
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn the_likeliest_none_are_none() {
        assert_eq!(likeliest(&[1.0, 2.0], 0), []);
        assert_eq!(likeliest(&[], 3), []);
    }

    proptest! {
        #[test]
        fn the_likeliest_are_the_first_of_a_full_sort(logits in prop::collection::vec(-3_i8..3, 1..40), top in 1_usize..50) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let mut sorted: Vec<u32> = (0..logits.len() as u32).collect();
            sorted.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
            sorted.truncate(top);
            let found: Vec<u32> = likeliest(&logits, top).iter().map(|&(token, _)| token).collect();
            prop_assert_eq!(found, sorted);
        }
    }
}
