//! One row per text and site: texts run through a model in batches, their rows pooled.
//!
//! Rows are passed on batch by batch, so that no more than one batch is held. How rows become a
//! direction is the business of the parent module.

use std::collections::BTreeMap;

use saescope_kernels::Matrix;

use super::Contrast;
use super::question::Pair;
use crate::error::Result;
use crate::hook::{self, Hook};
use crate::model::{Cache, Model, PASS_TOKENS, TextBatches};
use crate::pooling::Pooling;
use crate::site::Site;

/// The set of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Positive,
    Negative,
}

/// The activations of successive texts at one site.
pub(super) struct Rows<'a> {
    /// Index of the site.
    pub(super) site: usize,
    pub(super) side: Side,
    /// The number of the first text in its set.
    pub(super) first: usize,
    /// One row per text: `[texts, d]`.
    pub(super) matrix: &'a Matrix,
}

/// Passes the activations of every text at every site, as `hook` leaves them, to `take`.
pub(super) fn gather(
    model: &Model,
    contrast: Contrast,
    sites: &[Site],
    hook: &mut dyn Hook,
    take: &mut dyn FnMut(Rows),
    on_done: &mut dyn FnMut(usize),
) -> Result<()> {
    match contrast {
        Contrast::Answers(pairs) => answers(model, pairs, sites, hook, take, on_done),
        Contrast::Texts(texts) => {
            let pool = Pool::new(sites, texts.pooling, texts.count_first);
            let positive = TextSet {
                side: Side::Positive,
                texts: texts.positive,
            };
            let negative = TextSet {
                side: Side::Negative,
                texts: texts.negative,
            };
            read(model, positive, &pool, hook, take, on_done)?;
            read(model, negative, &pool, hook, take, on_done)
        }
    }
}

/// One of the two sets, as tokens.
#[derive(Clone, Copy)]
struct TextSet<'a> {
    side: Side,
    texts: &'a [Vec<u32>],
}

/// Reads each question once, then each letter after it.
fn answers(
    model: &Model,
    pairs: &[Pair],
    sites: &[Site],
    hook: &mut dyn Hook,
    take: &mut dyn FnMut(Rows),
    on_done: &mut dyn FnMut(usize),
) -> Result<()> {
    let questions = pairs.iter().map(|pair| pair.shared.as_slice());
    for batch in TextBatches::new(questions, PASS_TOKENS) {
        let first = batch.numbers().start;
        let pairs = &pairs[batch.numbers()];
        let shared = batch.prompts();
        let longest = shared.iter().map(|text| text.len()).max().unwrap_or(0);
        let mut cache = read_into_cache(model, &shared, longest + 1, hook)?;
        for side in [Side::Positive, Side::Negative] {
            let letters: Vec<(usize, &[u32])> = pairs
                .iter()
                .map(|pair| match side {
                    Side::Positive => std::slice::from_ref(&pair.matching),
                    Side::Negative => std::slice::from_ref(&pair.other),
                })
                .enumerate()
                .collect();
            let mut pool = Pool::new(sites, Pooling::Last, false);
            model.extend(&mut cache, &letters, &mut (&mut *hook, &mut pool))?;
            pool.hand_out(side, first, take);
            for (slot, shared) in shared.iter().enumerate() {
                cache.truncate(slot, shared.len());
            }
        }
        on_done(pairs.len());
    }
    Ok(())
}

/// A cache that has read `texts` and has room for `capacity` tokens of each.
pub(super) fn read_into_cache(
    model: &Model,
    texts: &[&[u32]],
    capacity: usize,
    hook: &mut dyn Hook,
) -> Result<Cache> {
    let mut cache = Cache::new(model.config(), texts.len(), capacity)?;
    let full = texts.iter().copied().enumerate();
    let batch: Vec<(usize, &[u32])> = full.filter(|(_, text)| !text.is_empty()).collect();
    if !batch.is_empty() {
        model.extend(&mut cache, &batch, hook)?;
    }
    Ok(cache)
}

/// Reads the texts of one set; `pool` is empty and copied for each batch.
fn read(
    model: &Model,
    set: TextSet,
    pool: &Pool,
    hook: &mut dyn Hook,
    take: &mut dyn FnMut(Rows),
    on_done: &mut dyn FnMut(usize),
) -> Result<()> {
    for batch in TextBatches::new(set.texts, PASS_TOKENS) {
        let mut pool = pool.clone();
        batch.run(model, &mut (&mut *hook, &mut pool))?;
        pool.hand_out(set.side, batch.numbers().start, take);
        on_done(batch.numbers().len());
    }
    Ok(())
}

/// A hook that keeps one pooled row of every text, and no other row.
#[derive(Clone)]
struct Pool<'a> {
    sites: &'a [Site],
    pooling: Pooling,
    count_first: bool,
    /// `[texts, d]` by site.
    taken: BTreeMap<Site, Matrix>,
}

impl Pool<'_> {
    fn new(sites: &[Site], pooling: Pooling, count_first: bool) -> Pool<'_> {
        let empty = |&site: &Site| (site, Matrix::default());
        Pool {
            sites,
            pooling,
            count_first,
            taken: sites.iter().map(empty).collect(),
        }
    }

    fn hand_out(&self, side: Side, first: usize, take: &mut dyn FnMut(Rows)) {
        for (site, name) in self.sites.iter().enumerate() {
            if let Some(matrix) = self.taken.get(name) {
                take(Rows {
                    site,
                    side,
                    first,
                    matrix,
                });
            }
        }
    }
}

impl Hook for Pool<'_> {
    fn wants(&self, site: Site) -> bool {
        self.taken.contains_key(&site)
    }

    fn at(&mut self, site: Site, rows: &hook::Rows, x: Matrix) -> Result<Matrix> {
        let mut pooled = Matrix::zeros(rows.spans().len(), x.cols());
        let mut start = 0;
        for (text, span) in rows.spans().iter().enumerate() {
            let positions = self.pooling.positions(span.len, self.count_first);
            let rows = positions.map(|position| start + position);
            let pooled = pooled.row_mut(text); // [d]
            match self.pooling {
                Pooling::Last => rows.for_each(|row| pooled.copy_from_slice(x.row(row))),
                // `Vector::build` refuses `Max`.
                Pooling::Mean | Pooling::Max => mean(&x, rows, pooled),
            }
            start += span.len;
        }
        self.taken.insert(site, pooled);
        Ok(x)
    }
}

/// The mean of some rows, summed in f64.
fn mean(x: &Matrix, rows: impl ExactSizeIterator<Item = usize>, out: &mut [f32]) {
    let count = rows.len() as f64;
    let mut sums = vec![0.0_f64; out.len()];
    for row in rows {
        for (sum, x) in sums.iter_mut().zip(x.row(row)) {
            *sum += f64::from(*x);
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = (sum / count) as f32;
    }
}
