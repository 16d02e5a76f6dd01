//! The innermost loop of every product: a tile of a few rows by one panel of columns, summed in
//! registers over the depth.
//!
//! A panel is a run of `NR` columns of the right-hand side, depth-major: `[depth][NR]` f32, or
//! `[depth / 2][NR][2]` bf16. Each output is one chain of multiply-adds in order of depth, whatever
//! the number of rows, so a row's result does not depend on the rows computed beside it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod dot;
mod float;
pub(crate) mod integer;
mod operands;

pub(crate) use float::Tiles;
pub(crate) use operands::{Panel, Tile, WIDE};
