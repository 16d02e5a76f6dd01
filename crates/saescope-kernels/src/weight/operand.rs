//! What enters a product, as its tiles read it.

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

/// The left-hand side of a product, `[rows, d_in]`. Where rows are rounded as they enter
/// ([`Weight::rounds`]), what has to be computed first is never written in f32; elsewhere it takes
/// a matrix of its own.
///
/// [`Weight::rounds`]: super::Weight::rounds
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// Rows as they are.
    Rows(&'a Matrix),
    /// Rows normed.
    Normed(Norm<'a>, &'a Matrix),
    /// `activation(gate) * up` of rows that hold gate and up, `[rows, 2 d_in]`, as [`gated`] has it.
    ///
    /// [`gated`]: crate::gated
    Gated(Activation, &'a Matrix),
}

impl<'a> From<&'a Matrix> for Operand<'a> {
    fn from(rows: &'a Matrix) -> Operand<'a> {
        Operand::Rows(rows)
    }
}

/// The left-hand side as it is multiplied.
pub(super) enum Packed<'a> {
    Rows(&'a Matrix),
    Computed(Matrix),
    /// bf16, each row padded to an even length.
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

    /// The rows in f32.
    pub(super) fn enter(self, isa: Isa) -> Packed<'a> {
        let mut computed = Matrix::default();
        match self {
            Operand::Rows(x) => return Packed::Rows(x),
            Operand::Normed(norm, x) => norm.apply_on(isa, x, &mut computed),
            Operand::Gated(activation, both) => gated_on(isa, activation, both, &mut computed),
        }
        Packed::Computed(computed)
    }

    /// The rows as bf16.
    ///
    /// # Safety
    /// The processor has AVX512_BF16.
    #[cfg(target_arch = "x86_64")]
    pub(super) unsafe fn enter_rounded(self) -> Packed<'a> {
        let d_in = self.cols();
        let stride = d_in.next_multiple_of(2);
        let mut rounded = Scratch::new(self.rows() * stride / 2);
        let rows = rounded.as_bf16_mut().par_chunks_exact_mut(stride.max(1));
        let room = || match self {
            Operand::Rows(_) => Vec::new(),
            _ => vec![0.0; d_in],
        };
        let rows = rows.with_min_len(16).enumerate();
        rows.for_each_init(room, |room, (row, to)| {
            to[d_in..].fill(0);
            // SAFETY: `room` is as long as a row where one is computed, and `to` as long or longer; the
            // rest the caller promises.
            unsafe { crate::tile::dot::round(self.row(row, room), to) }
        });
        Packed::Rounded(rounded)
    }

    /// Row `row`, written to `room` where it has to be computed.
    ///
    /// # Safety
    /// The processor has AVX512_BF16.
    #[cfg(target_arch = "x86_64")]
    unsafe fn row<'b>(&'b self, row: usize, room: &'b mut [f32]) -> &'b [f32] {
        // The same bits as on any other with vectors of this width.
        const ISA: Isa = Isa::Avx512Bf16;
        match self {
            Operand::Rows(x) => x.row(row),
            Operand::Normed(norm, x) => {
                norm.row(ISA, x.row(row), room);
                room
            }
            Operand::Gated(activation, both) => {
                let (gate, up) = both.row(row).split_at(room.len());
                assert_eq!(up.len(), room.len(), "gate and up of a row");
                let (gate, up) = (gate.as_ptr(), up.as_ptr());
                // SAFETY: the three are of one length; the rest the caller promises.
                unsafe { gated_row(ISA, *activation, gate, up, room.as_mut_ptr(), room.len()) };
                room
            }
        }
    }
}
