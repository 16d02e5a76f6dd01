//! Weights that are packed again and again, in the same memory, as training changes them.

use half::bf16;
use rayon::prelude::*;

use super::packed::{Panels, Precision, Weight, panel_width};
use crate::buffer::Buffer;
use crate::isa::Isa;
use crate::matrix::Matrix;
#[cfg(target_arch = "x86_64")]
use crate::tile::dot;
use crate::transpose::transpose_words;

impl Weight {
    /// A weight of no outputs, to be packed with [`Weight::repack`].
    pub fn empty(precision: Precision) -> Weight {
        Weight::empty_on(Isa::current(), precision)
    }

    pub(crate) fn empty_on(isa: Isa, precision: Precision) -> Weight {
        let buffer = Buffer::default();
        let panels = match precision {
            Precision::F32 => Panels::F32(buffer),
            Precision::Bf16 => Panels::Bf16(buffer),
        };
        Weight {
            d_out: 0,
            d_in: 0,
            isa,
            panels,
        }
    }

    /// Replaces the packed values by `weight` `[d_out, d_in]`, of any shape.
    pub fn repack(&mut self, weight: &Matrix) {
        let (d_out, d_in) = (weight.rows(), weight.cols());
        let (isa, width) = (self.isa, panel_width(self.isa));
        let columns = |panel: usize| panel * width..((panel + 1) * width).min(d_out);
        let length = self.take_shape(d_out, d_in);
        match &mut self.panels {
            Panels::F32(values) => {
                let panels = values.as_mut_slice().par_chunks_mut(length).enumerate();
                panels.for_each(|(panel, out)| {
                    let columns = columns(panel);
                    if columns.len() < width {
                        out.fill(0.0);
                    }
                    let rows = &weight.data()[columns.start * d_in..columns.end * d_in];
                    // SAFETY: there are as many rows as columns, and the panel has room for
                    // `width`.
                    unsafe {
                        let (rows, out) = (rows.as_ptr().cast(), out.as_mut_ptr().cast());
                        transpose_words(isa, columns.len(), d_in, rows, d_in, out, width);
                    }
                });
            }
            Panels::Bf16(values) => {
                // A pair of bf16 is a word.
                let pairs = d_in.div_ceil(2);
                let rows = || vec![0_u32; width * pairs];
                let panels = values.as_mut_slice().par_chunks_mut(length / 2).enumerate();
                panels.for_each_init(rows, |rows, (panel, out)| {
                    let columns = columns(panel);
                    if columns.len() < width {
                        out.fill(0.0);
                    }
                    let n = columns.len();
                    for (row, column) in rows.chunks_exact_mut(pairs.max(1)).zip(columns) {
                        round_row(isa, weight.row(column), row);
                    }
                    // SAFETY: there are `n` rows of pairs, and the panel has room for `width`.
                    unsafe {
                        let out = out.as_mut_ptr().cast();
                        transpose_words(isa, n, pairs, rows.as_ptr(), pairs, out, width);
                    }
                });
            }
        }
    }

    /// Replaces the packed values by the transpose of `weight` `[d_in, d_out]`, of any shape.
    pub fn repack_transposed(&mut self, weight: &Matrix) {
        let (d_in, d_out) = (weight.rows(), weight.cols());
        let (isa, width) = (self.isa, panel_width(self.isa));
        let columns = |panel: usize| panel * width..((panel + 1) * width).min(d_out);
        let length = self.take_shape(d_out, d_in);
        match &mut self.panels {
            Panels::F32(values) => {
                let panels = values.as_mut_slice().par_chunks_mut(length).enumerate();
                panels.for_each(|(panel, out)| {
                    let columns = columns(panel);
                    for (k, out) in out.chunks_exact_mut(width).enumerate() {
                        let (out, rest) = out.split_at_mut(columns.len());
                        out.copy_from_slice(&weight.row(k)[columns.clone()]);
                        rest.fill(0.0);
                    }
                });
            }
            Panels::Bf16(values) => {
                let panels = values.as_bf16_mut().par_chunks_mut(length).enumerate();
                panels.for_each(|(panel, out)| {
                    let columns = columns(panel);
                    for (pair, out) in out.chunks_exact_mut(2 * width).enumerate() {
                        let (out, rest) = out.split_at_mut(2 * columns.len());
                        let row = |k| (k < d_in).then(|| &weight.row(k)[columns.clone()]);
                        round_pair(isa, row(2 * pair), row(2 * pair + 1), out);
                        rest.fill(0);
                    }
                });
            }
        }
    }

    /// Takes a shape, with unspecified values; returns the number of values of a panel, at least 1.
    fn take_shape(&mut self, d_out: usize, d_in: usize) -> usize {
        (self.d_out, self.d_in) = (d_out, d_in);
        let width = panel_width(self.isa);
        let n_panels = d_out.div_ceil(width);
        match &mut self.panels {
            Panels::F32(values) => {
                values.renew(n_panels * d_in * width);
                (d_in * width).max(1)
            }
            Panels::Bf16(values) => {
                let length = d_in.next_multiple_of(2) * width;
                values.renew(n_panels * length / 2);
                length.max(2)
            }
        }
    }
}

/// Rounds a row to pairs of bf16; the last pair is filled up with 0.
fn round_row(isa: Isa, row: &[f32], out: &mut [u32]) {
    if let Some(last) = out.last_mut() {
        *last = 0;
    }
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512Bf16 {
        // SAFETY: a word of any bits is a pair of bf16, `out` has room for the pairs of the row,
        // and the processor has the instruction set.
        unsafe {
            let out = std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), 2 * out.len());
            dot::round(row, out);
        }
        return;
    }
    let _ = isa;
    for (out, values) in out.iter_mut().zip(row.chunks(2)) {
        let bits = |at: usize| values.get(at).map_or(0, |&x| bf16::from_f32(x).to_bits());
        // The first value of a pair comes first in memory.
        *out = (u32::from(bits(1)) << 16 | u32::from(bits(0))).to_le();
    }
}

/// Rounds two rows to pairs of bf16, one value of each; a missing row counts as zeros.
fn round_pair(isa: Isa, first: Option<&[f32]>, second: Option<&[f32]>, out: &mut [u16]) {
    #[cfg(target_arch = "x86_64")]
    if let (Isa::Avx512Bf16, Some(first), Some(second)) = (isa, first, second) {
        // SAFETY: `out` has room for a pair for each value of a row, and the processor has the
        // instruction set.
        unsafe { dot::round_pairs(first, second, out) };
        return;
    }
    let _ = isa;
    for (at, row) in [first, second].into_iter().enumerate() {
        match row {
            Some(row) => {
                for (out, &x) in out[at..].iter_mut().step_by(2).zip(row) {
                    *out = bf16::from_f32(x).to_bits();
                }
            }
            None => out[at..].iter_mut().step_by(2).for_each(|out| *out = 0),
        }
    }
}
