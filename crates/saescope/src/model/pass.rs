//! One forward pass under way: where it stands, who looks, and where it ends.

use std::sync::{Mutex, MutexGuard, PoisonError};

use saescope_kernels::{Epilogue, Matrix, Operand, Rotation};

use super::block::{Linear, Norm};
use super::cache::Cache;
use super::config::Config;
use crate::error::{Error, Result};
use crate::hook::{Hook, Rows};
use crate::site::Site;

/// Why a pass went no further.
pub(crate) enum Halt {
    /// The last wanted site was reached.
    Done,
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Failed(error)
    }
}

/// What a pass carries from block to block.
pub(crate) struct Pass<'a> {
    pub(crate) config: &'a Config,
    pub(crate) cache: &'a mut Cache,
    /// The cache's slots of the sequences in the batch, in row order.
    pub(crate) slots: &'a [usize],
    rows: Rows,
    hook: &'a mut dyn Hook,
    /// The site behind which nothing is needed; `None` to run to the end.
    last: Option<Site>,
    /// For every layer its rotation in `rotations`.
    rotation_of: Vec<Option<usize>>,
    rotations: Vec<Rotation>,
    /// Matrices no longer in use: allocating anew would touch fresh pages for every activation.
    spare: Vec<Matrix>,
    /// Where they come from, and go for the next pass if they are kept.
    kept: &'a Spare,
    keeps: bool,
}

/// Values of the largest matrix that one pass leaves to the next; of larger buffers the kernels keep one.
const MOST_KEPT: usize = 8 << 20;

/// The matrices that one pass leaves to the next.
#[derive(Default)]
pub(crate) struct Spare(Mutex<Vec<Matrix>>);

impl Spare {
    /// What is there; nothing while another pass has it.
    fn matrices(&self) -> MutexGuard<'_, Vec<Matrix>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.keeps {
            // What passes of many more tokens leave would be held for little.
            self.spare.retain(|matrix| matrix.capacity() <= MOST_KEPT);
            *self.kept.matrices() = std::mem::take(&mut self.spare);
        }
    }
}

impl<'a> Pass<'a> {
    pub(crate) fn new(
        config: &'a Config,
        cache: &'a mut Cache,
        (slots, rows): (&'a [usize], Rows),
        hook: &'a mut dyn Hook,
        last: Option<Site>,
        kept: &'a Spare,
    ) -> Pass<'a> {
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
        let turn = |frequencies: &&[f32]| Rotation::new(frequencies, rows.positions());
        let rotations = distinct.iter().map(turn).collect();
        let spare = std::mem::take(&mut *kept.matrices());
        // Beside logits, which are the largest of all, nothing is kept.
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

    /// Shows an activation to the hook, if it wants it, and ends the pass behind the last site.
    pub(crate) fn at(&mut self, site: Site, x: Matrix) -> Result<Matrix, Halt> {
        let x = if self.hook.wants(site) {
            let shape = (x.rows(), x.cols());
            let x = self.hook.at(site, &self.rows, x)?;
            if (x.rows(), x.cols()) != shape {
                return Err(Halt::Failed(Error::Shape {
                    what: format!("what a hook returned at {site}"),
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

    /// Whether the hook is to see `site`.
    pub(crate) fn wants(&self, site: Site) -> bool {
        self.hook.wants(site)
    }

    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// What turns the queries and keys of a layer.
    pub(crate) fn rotation(&self, layer: usize) -> Option<&Rotation> {
        self.rotation_of[layer].map(|index| &self.rotations[index])
    }

    /// A matrix to write `[rows of the batch, cols]` to: the smallest spare one with room for it, or the
    /// largest, which grows, so that passes of many sizes leave no more of them than one pass needs.
    pub(crate) fn take(&mut self, cols: usize) -> Matrix {
        let len = self.rows.len() * cols;
        let spare = || self.spare.iter().map(Matrix::capacity).enumerate();
        let fitting = spare().filter(|&(_, capacity)| capacity >= len);
        let best = fitting.min_by_key(|&(_, capacity)| capacity);
        let best = best.or_else(|| spare().max_by_key(|&(_, capacity)| capacity));
        match best.map(|(index, _)| index) {
            Some(index) => self.spare.swap_remove(index),
            None => Matrix::default(),
        }
    }

    /// Keeps a matrix for the next `take`.
    pub(crate) fn give(&mut self, matrix: Matrix) {
        self.spare.push(matrix);
    }

    pub(crate) fn norm(&mut self, norm: &Norm, x: &Matrix) -> Matrix {
        let mut out = self.take(x.cols());
        norm.of(self.config.norm).apply(x, &mut out);
        out
    }

    /// Whether what stands at `site`, and enters `linear` behind it, need not be formed: nobody looks,
    /// and rows are rounded as they enter.
    pub(crate) fn skips(&self, site: Site, linear: &Linear) -> bool {
        linear.weight.rounds() && !self.wants(site)
    }

    /// What `linear` makes of the norm of `x`, which is what stands at `site`.
    pub(crate) fn linear_of_norm(
        &mut self,
        site: Site,
        (norm, linear): (&Norm, &Linear),
        x: &Matrix,
        epilogue: Epilogue,
    ) -> Result<Matrix, Halt> {
        if self.skips(site, linear) {
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

    /// `x` plus what `linear` makes of `input`, normed where the family does so: the step by which
    /// attention and MLP write to the residual stream. `site` is what they write.
    pub(crate) fn write(
        &mut self,
        site: Site,
        (linear, post_norm): (&Linear, Option<&Norm>),
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
        // In this order as in the fused product, so that looking changes no bit.
        sum.add(&x);
        self.give(x);
        Ok(sum)
    }
}
