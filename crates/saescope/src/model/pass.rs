//! A forward pass in progress: its hook, its last site, and the matrices that it writes to.
//!
//! Attention and MLP reach the hook and the kernels through [`Pass`], which decides what is fused:
//! an activation that the hook does not want need not exist.

use std::sync::{Mutex, MutexGuard, PoisonError};

use saescope_kernels::{Epilogue, Matrix, Operand, Rotation};

use super::block::{Linear, Norm};
use super::cache::Cache;
use super::config::Config;
use crate::error::{Error, Result};
use crate::hook::{Hook, Rows};
use crate::site::Site;

/// The reason why a pass stops early.
///
/// Reaching the last wanted site is a success, yet it travels as an error: `?` then ends the pass at
/// any depth, and no step between there and `Model::pass`, which turns it back into a result, has to
/// ask whether the pass goes on.
pub(crate) enum Halt {
    /// The pass reached the last wanted site.
    Done,
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Failed(error)
    }
}

/// The sequences of a batch and the rows that they have in it.
pub(crate) struct BatchRows<'a> {
    /// The sequence of the cache for each span of `rows`.
    pub(crate) slots: &'a [usize],
    pub(crate) rows: Rows,
}

/// The state that a pass carries from block to block.
pub(crate) struct Pass<'a> {
    pub(crate) config: &'a Config,
    pub(crate) cache: &'a mut Cache,
    /// The cache's number of each sequence of the batch, in row order.
    pub(crate) slots: &'a [usize],
    rows: Rows,
    hook: &'a mut dyn Hook,
    /// The site after which the pass ends; `None` to run to the logits.
    last: Option<Site>,
    /// The index in `rotations` of the rotation of every layer.
    rotation_of: Vec<Option<usize>>,
    rotations: Vec<Rotation>,
    /// Matrices no longer in use; a new allocation for every activation would touch fresh pages.
    spare: Vec<Matrix>,
    /// The model's store of spare matrices, from which those of this pass come.
    kept: &'a Spare,
    /// True if the spare matrices go back to `kept` after the pass.
    keeps: bool,
}

/// Largest matrix, in values, that one pass leaves to the next; the kernels keep one larger buffer.
const MOST_KEPT: usize = 8 << 20;

/// The matrices that one pass leaves to the next.
#[derive(Default)]
pub(crate) struct Spare(Mutex<Vec<Matrix>>);

impl Spare {
    /// The matrices; none while another pass has them.
    fn matrices(&self) -> MutexGuard<'_, Vec<Matrix>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.keeps {
            // Larger matrices come from passes of many more tokens, which are rare.
            self.spare.retain(|matrix| matrix.capacity() <= MOST_KEPT);
            *self.kept.matrices() = std::mem::take(&mut self.spare);
        }
    }
}

impl<'a> Pass<'a> {
    pub(crate) fn new(
        config: &'a Config,
        cache: &'a mut Cache,
        batch: BatchRows<'a>,
        hook: &'a mut dyn Hook,
        last: Option<Site>,
        kept: &'a Spare,
    ) -> Pass<'a> {
        let BatchRows { slots, rows } = batch;
        let mut distinct: Vec<&[f32]> = Vec::new();
        let mut index_of = |frequencies: &'a [f32]| {
            if frequencies.is_empty() {
                return None;
            }
            let known = distinct.iter().position(|known| *known == frequencies);
            Some(known.unwrap_or_else(|| {
                distinct.push(frequencies);
                distinct.len() - 1
            }))
        };
        let layers = config.layers.iter();
        let rotation_of = layers
            .map(|layer| index_of(&layer.rope_frequencies))
            .collect();
        let rotations = distinct
            .iter()
            .map(|frequencies| Rotation::new(frequencies, rows.positions()))
            .collect();
        let spare = std::mem::take(&mut *kept.matrices());
        // A pass to the logits keeps nothing, since they take more memory than everything else.
        let keeps = last.is_some();
        Pass {
            config,
            cache,
            slots,
            rows,
            hook,
            last,
            rotation_of,
            rotations,
            spare,
            kept,
            keeps,
        }
    }

    /// Passes an activation through the hook if it wants `site`, and ends the pass after the last site.
    pub(crate) fn at(&mut self, site: Site, x: Matrix) -> Result<Matrix, Halt> {
        let x = if self.hook.wants(site) {
            let shape = (x.rows(), x.cols());
            let x = self.hook.at(site, &self.rows, x)?;
            if (x.rows(), x.cols()) != shape {
                return Err(Halt::Failed(Error::Shape {
                    what: format!("activation that a hook returned at {site}"),
                    expected: format!("{} x {}", shape.0, shape.1),
                    found: format!("{} x {}", x.rows(), x.cols()),
                }));
            }
            x
        } else {
            x
        };
        if self.last == Some(site) {
            Err(Halt::Done)
        } else {
            Ok(x)
        }
    }

    /// True if the hook wants `site`.
    pub(crate) fn wants(&self, site: Site) -> bool {
        self.hook.wants(site)
    }

    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The rotation of the queries and keys of a layer; none with learned positions.
    pub(crate) fn rotation(&self, layer: usize) -> Option<&Rotation> {
        self.rotation_of[layer].map(|index| &self.rotations[index])
    }

    /// A matrix to write `[rows of the batch, cols]` to: the smallest spare one with room for it. If none
    /// has room, the largest grows, so that passes of many sizes leave no more matrices than one pass
    /// needs.
    pub(crate) fn take(&mut self, cols: usize) -> Matrix {
        let len = self.rows.len() * cols;
        let capacities = || self.spare.iter().map(Matrix::capacity).enumerate();
        let smallest_with_room = capacities()
            .filter(|&(_, capacity)| capacity >= len)
            .min_by_key(|&(_, capacity)| capacity);
        let largest = || capacities().max_by_key(|&(_, capacity)| capacity);
        match smallest_with_room.or_else(largest) {
            Some((index, _)) => self.spare.swap_remove(index),
            None => Matrix::default(),
        }
    }

    /// Returns a matrix for the next `take`.
    pub(crate) fn give(&mut self, matrix: Matrix) {
        self.spare.push(matrix);
    }

    pub(crate) fn norm(&mut self, norm: &Norm, x: &Matrix) -> Matrix {
        let mut out = self.take(x.cols());
        norm.of(self.config.norm).apply(x, &mut out);
        out
    }

    /// True if the activation at `site` can be fused into `linear`: the hook does not want it, and the
    /// product rounds its input anyway.
    pub(crate) fn fuses(&self, site: Site, linear: &Linear) -> bool {
        linear.weight.rounds() && !self.wants(site)
    }

    /// `linear` of the norm of `x`, which is the activation at `site`: `[rows, d_out]`.
    pub(crate) fn linear_of_norm(
        &mut self,
        site: Site,
        norm: &Norm,
        linear: &Linear,
        x: &Matrix,
        epilogue: Epilogue,
    ) -> Result<Matrix, Halt> {
        if self.fuses(site, linear) {
            let normed = Operand::Normed(norm.of(self.config.norm), x);
            return Ok(self.linear(linear, normed, epilogue));
        }
        let normed = self.norm(norm, x);
        let normed = self.at(site, normed)?;
        let out = self.linear(linear, &normed, epilogue);
        self.give(normed);
        Ok(out)
    }

    pub(crate) fn linear<'b>(
        &mut self,
        linear: &Linear,
        x: impl Into<Operand<'b>>,
        epilogue: Epilogue,
    ) -> Matrix {
        let mut out = self.take(linear.weight.d_out());
        linear
            .weight
            .product(x, linear.bias.as_deref(), epilogue, &mut out);
        out
    }

    /// `x` plus `linear` of `input`, normed if the family has a `post_norm`: the step by which attention
    /// and MLP write to the residual stream, `[rows, d_model]`. `site` is the summand.
    pub(crate) fn write(
        &mut self,
        site: Site,
        linear: &Linear,
        post_norm: Option<&Norm>,
        input: Operand,
        x: Matrix,
    ) -> Result<Matrix, Halt> {
        if post_norm.is_none() && !self.wants(site) {
            let sum = self.linear(linear, input, Epilogue::Add(&x));
            self.give(x);
            return Ok(sum);
        }
        let mut written = self.linear(linear, input, Epilogue::Keep);
        if let Some(norm) = post_norm {
            let normed = self.norm(norm, &written);
            self.give(std::mem::replace(&mut written, normed));
        }
        let mut sum = self.at(site, written)?;
        // The order of the fused product, so that a hook that only reads changes no bit.
        sum.add(&x);
        self.give(x);
        Ok(sum)
    }
}
