//! Edits that grow with the token, at a first position that is many times as long as the others.

use std::collections::BTreeSet;

use saescope_kernels::{Matrix, norm};

use crate::edit::{DirectionOp, Edit, Op, Unit};
use crate::error::Result;
use crate::hook::Capture;
use crate::model::Model;
use crate::site::Site;

/// Ratio of norms above which the first position counts as long.
const LONG: f64 = 8.0;

/// A site at which the first position is much longer than the others and is edited in proportion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongFirstPosition {
    /// The site.
    pub site: Site,
    /// Norm of the first position, as a multiple of the median norm of the others.
    pub times: f64,
}

/// The sites at which `edits` add to the first position of `tokens` in proportion to its length, and at
/// which that position is many times as long as the others. What they add there is as large, and every
/// later token attends to it.
///
/// # Errors
/// When the model lacks a site, or the tokens do not fit the context.
pub fn long_first_positions<'a>(
    model: &Model,
    tokens: &[u32],
    edits: impl IntoIterator<Item = &'a Edit>,
) -> Result<Vec<LongFirstPosition>> {
    let in_proportion = |edit: &&Edit| {
        let adds = matches!(
            edit.op,
            Op::Direction(DirectionOp::Add { unit, scale, .. }) if unit != Unit::Raw && scale != 0.0
        );
        adds && edit.span.contains(0)
    };
    let edits = edits.into_iter().filter(in_proportion);
    let sites: BTreeSet<Site> = edits.map(|edit| edit.site).collect();
    if sites.is_empty() || tokens.len() < 2 {
        return Ok(Vec::new());
    }
    let mut capture = Capture::new(sites.iter().copied());
    model.run(&[tokens], &mut capture)?;
    let mut long = Vec::new();
    for site in sites {
        let times = first_over_median(&capture.take(site)?);
        if times > LONG {
            long.push(LongFirstPosition { site, times });
        }
    }
    Ok(long)
}

/// Norm of the first row of `x`, `[tokens, d]`, as a multiple of the median norm of the others.
fn first_over_median(x: &Matrix) -> f64 {
    let norm = |row| norm(x.row(row));
    let mut others: Vec<f64> = (1..x.rows()).map(norm).collect();
    others.sort_by(f64::total_cmp);
    norm(0) / others[others.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_is_measured_by_the_median_of_the_others() {
        let x = Matrix::from_vec(4, 2, vec![30.0, 40.0, 1.0, 0.0, 0.0, 5.0, 100.0, 0.0]);
        assert_eq!(first_over_median(&x), 10.0);
    }
}
