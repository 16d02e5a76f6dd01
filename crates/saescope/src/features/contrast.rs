//! Which features tell two sets of prompts apart.

use saescope_kernels::SparseRows;

use super::{Reading, pooled};
use crate::error::{Error, Result};
use crate::hook::Hook;
use crate::model::Model;
use crate::sae::Sae;

/// What features are ranked by; the further from telling nothing, the earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rank {
    /// How far the AUROC is from a half.
    #[default]
    Auroc,
    /// How far the difference of the means is from zero.
    Difference,
}

/// How one feature behaves on two sets of prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contrasted {
    /// Which.
    pub feature: u32,
    /// Chance that a positive prompt has a larger activation than a negative one, equal ones counted
    /// as half: 1 and 0 tell the sets apart, a half tells nothing (Hanley & McNeil 1982).
    pub auroc: f64,
    /// Mean activation on the positive prompts less that on the negative ones.
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

/// Every feature that is active on one of the prompts at least, by how well it tells `positive` from
/// `negative`. Each prompt counts once, with the row that `reading` asks for. Activations are as `hook`
/// leaves them.
///
/// # Errors
/// When a set is empty, and as for [`pooled`].
pub fn contrast(
    model: &Model,
    sae: &Sae,
    (positive, negative): (&[&[u32]], &[&[u32]]),
    reading: Reading,
    rank: Rank,
    hook: &mut dyn Hook,
) -> Result<Vec<Contrasted>> {
    let positive = pooled(model, sae, positive, reading, hook)?;
    let negative = pooled(model, sae, negative, reading, hook)?;
    contrast_rows(&positive, &negative, rank)
}

/// The same of rows that are there already: activations, none below 0, of one prompt each.
///
/// # Errors
/// When a set is empty.
pub fn contrast_rows(
    positive: &SparseRows,
    negative: &SparseRows,
    rank: Rank,
) -> Result<Vec<Contrasted>> {
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
    let sizes = (positive.rows(), negative.rows());
    let same_feature = entries.chunk_by(|a, b| a.0 == b.0);
    let mut all: Vec<Contrasted> = same_feature
        .map(|active| of_feature(active, sizes))
        .collect();
    let told = |c: &Contrasted| match rank {
        Rank::Auroc => ((c.auroc - 0.5).abs(), c.difference.abs()),
        Rank::Difference => (c.difference.abs(), (c.auroc - 0.5).abs()),
    };
    all.sort_by(|a, b| {
        let (a_told, b_told) = (told(a), told(b));
        let first = b_told.0.total_cmp(&a_told.0);
        let second = b_told.1.total_cmp(&a_told.1);
        first.then(second).then(a.feature.cmp(&b.feature))
    });
    Ok(all)
}

/// `active` are the activations of one feature in ascending order, those of the positive set marked;
/// `sizes` the prompts of both sets.
fn of_feature(active: &[(u32, f32, bool)], (positive, negative): (usize, usize)) -> Contrasted {
    let count = |of: bool| active.iter().filter(|(.., is)| *is == of).count();
    let sum = |of: bool| -> f64 {
        let values = active.iter().filter(|(.., is)| *is == of);
        // Not `sum`, which is -0 of nothing.
        values.fold(0.0, |sum, &(_, value, _)| sum + f64::from(value))
    };
    let (fired_positive, fired_negative) = (count(true), count(false));
    let mean_positive = sum(true) / positive as f64;
    let mean_negative = sum(false) / negative as f64;
    // Twice the number of pairs won by the positive side, a tie being half a pair: whole numbers, so
    // that no order of the prompts changes the result.
    let mut below = (negative - fired_negative) as u128;
    let ties_at_zero = (positive - fired_positive) as u128 * below;
    let mut won = ties_at_zero;
    for equal in active.chunk_by(|a, b| a.1 == b.1) {
        let of_positive = equal.iter().filter(|(.., is)| *is).count() as u128;
        let of_negative = equal.len() as u128 - of_positive;
        won += of_positive * (2 * below + of_negative);
        below += of_negative;
    }
    Contrasted {
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
    fn a_feature_of_one_set_alone_tells_it_whatever_its_size() {
        let all = contrast_rows(
            &rows(&[[1, 0, 3, 0], [4, 0, 3, 0]]),
            &rows(&[[0, 2, 3, 0], [0, 9, 3, 0], [0, 1, 3, 0]]),
            Rank::Auroc,
        )
        .unwrap();
        let order: Vec<(u32, f64)> = all.iter().map(|c| (c.feature, c.auroc)).collect();
        // One that never fires is not listed, one that always fires alike tells nothing.
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

    proptest! {
        /// Against every pair of prompts, and dense means.
        #[test]
        fn everything_is_as_defined(
            positive in prop::collection::vec(prop::array::uniform4(-2_i8..4), 1..9),
            negative in prop::collection::vec(prop::array::uniform4(-2_i8..4), 1..9),
            by_difference in any::<bool>(),
        ) {
            let rank = if by_difference { Rank::Difference } else { Rank::Auroc };
            let all = contrast_rows(&rows(&positive), &rows(&negative), rank).unwrap();
            let found: BTreeMap<u32, Contrasted> = all.iter().map(|c| (c.feature, *c)).collect();
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
            let told = |c: &Contrasted| if by_difference { c.difference.abs() } else { (c.auroc - 0.5).abs() };
            prop_assert!(all.is_sorted_by(|a, b| told(a) >= told(b)));
        }
    }
}
