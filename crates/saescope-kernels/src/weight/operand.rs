//! The left operand of a product, packed for the tiles.

#[cfg(target_arch = "x86_64")]
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use crate::activation::gated_row;
use crate::activation::{Activation, gated_on};
#[cfg(target_arch = "x86_64")]
use crate::buffer::Scratch;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::norm::Norm;

/// The left operand of a product, `[rows, d_in]`. If the product rounds its rows to bf16
/// ([`Weight::rounds`]), a norm or a gate is computed while they are rounded and never written in
/// f32; otherwise it takes a matrix of its own.
///
/// [`Weight::rounds`]: super::Weight::rounds
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// Rows as they are.
    Rows(&'a Matrix),
    /// Normed rows.
    Normed(Norm<'a>, &'a Matrix),
    /// `activation(gate) * up` of rows that hold gate and up, `[rows, 2 d_in]`, as in [`gated`].
    ///
    /// [`gated`]: crate::gated
    Gated(Activation, &'a Matrix),
}

impl<'a> From<&'a Matrix> for Operand<'a> {
    fn from(rows: &'a Matrix) -> Operand<'a> {
        Operand::Rows(rows)
    }
}

/// The left operand as the tiles read it.
pub(super) enum Packed<'a> {
    /// Rows that needed no packing.
    Rows(&'a Matrix),
    /// Rows computed in f32.
    Computed(Matrix),
    /// Rows of bf16, each padded to an even length.
    #[cfg(target_arch = "x86_64")]
    Rounded(Scratch),
}

impl<'a> Operand<'a> {
    pub(super) fn rows(&self) -> usize {
        match self {
            Operand::Rows(x) | Operand::Normed(_, x) | Operand::Gated(_, x) => x.rows(),
        }
    }

    pub(super) fn cols(&self) -> usize {
        match self {
            Operand::Rows(x) | Operand::Normed(_, x) => x.cols(),
            Operand::Gated(_, both) => both.cols() / 2,
        }
    }

    /// Packs the rows as f32.
    pub(super) fn pack(self, isa: Isa) -> Packed<'a> {
        let mut computed = Matrix::default();
        match self {
            Operand::Rows(x) => return Packed::Rows(x),
            Operand::Normed(norm, x) => norm.apply_on(isa, x, &mut computed),
            Operand::Gated(activation, both) => gated_on(isa, activation, both, &mut computed),
        }
        Packed::Computed(computed)
    }

    /// Packs the rows as bf16.
    ///
    /// # Safety
    /// The processor has AVX512_BF16.
    #[cfg(target_arch = "x86_64")]
    pub(super) unsafe fn pack_rounded(self) -> Packed<'a> {
        let d_in = self.cols();
        let stride = d_in.next_multiple_of(2);
        let mut rounded = Scratch::new(self.rows() * stride / 2);
        let rows = rounded.as_bf16_mut().par_chunks_exact_mut(stride.max(1));
        let scratch = || match self {
            Operand::Rows(_) => Vec::new(),
            _ => vec![0.0; d_in],
        };
        let rows = rows.with_min_len(16).enumerate();
        rows.for_each_init(scratch, |scratch, (row, to)| {
            to[d_in..].fill(0);
            // SAFETY: `scratch` is as long as a row if one is computed, `to` is at least as long as
            // a row, and the caller promises the instruction set.
            unsafe { crate::tile::dot::round(self.row(row, scratch), to) }
        });
        Packed::Rounded(rounded)
    }

    /// Row `row`, written to `scratch` if it has to be computed.
    ///
    /// # Safety
    /// The processor has AVX512_BF16.
    #[cfg(target_arch = "x86_64")]
    unsafe fn row<'b>(&'b self, row: usize, scratch: &'b mut [f32]) -> &'b [f32] {
        // Any instruction set with vectors of this width computes the same bits.
        const ISA: Isa = Isa::Avx512Bf16;
        match self {
            Operand::Rows(x) => x.row(row),
            Operand::Normed(norm, x) => {
                norm.row(ISA, x.row(row), scratch);
                scratch
            }
            Operand::Gated(activation, both) => {
                let (gate, up) = both.row(row).split_at(scratch.len());
                assert_eq!(up.len(), scratch.len(), "gate and up of a row");
                let (gate, up) = (gate.as_ptr(), up.as_ptr());
                // SAFETY: the three have one length, and the caller promises the instruction set.
                unsafe {
                    gated_row(
                        ISA,
                        *activation,
                        gate,
                        up,
                        scratch.as_mut_ptr(),
                        scratch.len(),
                    )
                };
                scratch
            }
        }
    }
}
