//! The logit lens: what a model would say next if a layer were its last (nostalgebraist 2020).

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::hook::{Capture, Hook};
use crate::model::{Model, UNEMBED_ROWS};
use crate::site::Site;

/// A token that might come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    /// Its id.
    pub token: u32,
    /// Its probability, among all tokens.
    pub probability: f32,
}

/// The guesses at one site.
#[derive(Clone, Debug, PartialEq)]
pub struct LensRow {
    /// Where the residual stream was read.
    pub site: Site,
    /// For each position the likeliest tokens, the likeliest first.
    pub positions: Vec<Vec<Guess>>,
}

/// For each of `sites`, which are places in the residual stream, and each position of `prompt` the
/// `top` likeliest next tokens: the final norm and the unembedding are applied as if the remaining
/// layers added nothing. `hook` comes before what is read, so that edits are seen.
///
/// # Errors
/// When the model lacks a site, or one is not as wide as the residual stream.
pub fn lens(
    model: &Model,
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
                what: format!("width of {site}, to be read as the residual stream"),
                expected: d_model.to_string(),
                found: resid.cols().to_string(),
            });
        }
        let mut positions = Vec::with_capacity(resid.rows());
        let all: Vec<usize> = (0..resid.rows()).collect();
        for chunk in all.chunks(UNEMBED_ROWS) {
            let logits = model.unembed(&resid.select_rows(chunk)); // [chunk, d_vocab]
            let guesses = (0..chunk.len()).into_par_iter();
            positions.par_extend(guesses.map(|row| likeliest(logits.row(row), top)));
        }
        rows.push(LensRow { site, positions });
    }
    Ok(rows)
}

/// The `top` largest of `logits` and their share in the softmax; ties keep the lower id.
fn likeliest(logits: &[f32], top: usize) -> Vec<Guess> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(top + 1);
    for (token, &logit) in (0..).zip(logits) {
        if best.len() == top && best.last().is_none_or(|&(_, least)| logit <= least) {
            continue;
        }
        let at = best.partition_point(|&(_, better)| better >= logit);
        best.insert(at, (token, logit));
        best.truncate(top);
    }
    let guess = |(token, logit): (u32, f32)| Guess {
        token,
        probability: (f64::from(logit - max).exp() / sum) as f32,
    };
    best.into_iter().map(guess).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_likeliest_come_first_with_their_probabilities() {
        let logits = [0.0, 2.0_f32.ln(), 0.0, 4.0_f32.ln()]; // softmax: 1/8, 2/8, 1/8, 4/8
        let guesses = likeliest(&logits, 3);
        let tokens: Vec<u32> = guesses.iter().map(|g| g.token).collect();
        assert_eq!(tokens, [3, 1, 0]);
        for (guess, expected) in guesses.iter().zip([0.5, 0.25, 0.125]) {
            assert!((guess.probability - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn none_are_asked_for_and_none_come() {
        assert_eq!(likeliest(&[1.0, 2.0], 0), []);
        assert_eq!(likeliest(&[], 3), []);
    }

    proptest! {
        #[test]
        fn as_a_full_sort_has_it(logits in prop::collection::vec(-3_i8..3, 1..40), top in 1_usize..50) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let mut sorted: Vec<u32> = (0..logits.len() as u32).collect();
            sorted.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
            sorted.truncate(top);
            let found: Vec<u32> = likeliest(&logits, top).iter().map(|g| g.token).collect();
            prop_assert_eq!(found, sorted);
        }
    }
}
