//! The nearest rows of every row.

use rayon::prelude::*;
use saescope_kernels::Matrix;
use serde::{Deserialize, Serialize};

use super::{for_each_block, inverse_norms, nonzero};

/// A row with a similar direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nearest {
    /// Number of the row.
    pub row: u32,
    /// Cosine of the two.
    pub cosine: f32,
}

/// For every row of `directions`, `[features, d]`, the `top` others with the largest cosine, the nearest
/// first, of equal ones the lower. Rows of zeros have none and are none.
pub fn nearest(directions: &Matrix, top: usize) -> Vec<Vec<Nearest>> {
    let inverse = inverse_norms(directions);
    let all = nonzero(&inverse);
    let mut found = vec![Vec::with_capacity(2 * top + 1); directions.rows()];
    let mut floors = vec![f32::NEG_INFINITY; all.len()];
    let mut of_rows: Vec<Vec<Nearest>> = vec![Vec::new(); all.len()];
    for_each_block(
        &[(directions, &inverse)],
        &all,
        &all,
        |at, others, cosines| {
            let rows = of_rows[at.clone()]
                .par_iter_mut()
                .zip(&mut floors[at.clone()]);
            rows.zip(&all[at])
                .enumerate()
                .for_each(|(row, ((found, floor), &own))| {
                    for (&other, &cosine) in others.iter().zip(cosines[0].row(row)) {
                        if cosine > *floor && other != own {
                            found.push(Nearest { row: other, cosine });
                            if found.len() > 2 * top {
                                keep(found, top);
                                *floor = found.last().map_or(f32::INFINITY, |last| last.cosine);
                            }
                        }
                    }
                });
        },
    );
    for (row, mut nearest) in all.into_iter().zip(of_rows) {
        keep(&mut nearest, top);
        found[row as usize] = nearest;
    }
    found
}

fn keep(found: &mut Vec<Nearest>, top: usize) {
    found.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.row.cmp(&b.row)));
    found.truncate(top);
}
