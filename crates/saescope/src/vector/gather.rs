//! Runs texts through a model and hands out what stands for each of them, a batch at a time.

use std::collections::BTreeMap;

use saescope_kernels::Matrix;

use super::question::Pair;
use super::{Contrast, Pooling};
use crate::error::Result;
use crate::hook::{self, Hook, pooled_positions};
use crate::model::{Cache, Model, PASS_TOKENS, TextBatches};
use crate::site::Site;

/// Which of the two sets a text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Positive,
    Negative,
}

/// The activations of successive texts at one site.
pub(super) struct Rows<'a> {
    /// Which of the sites, by its place among them.
    pub(super) site: usize,
    pub(super) side: Side,
    /// The number of the first text in its set.
    pub(super) first: usize,
    /// One row per text: `[texts, d]`.
    pub(super) matrix: &'a Matrix,
}

/// Hands the activations of every text at every site, as `hook` leaves them, to `take`.
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
            for (side, set) in [
                (Side::Positive, texts.positive),
                (Side::Negative, texts.negative),
            ] {
                let set = (texts.pooling, side, set);
                read(model, set, sites, hook, take, on_done)?;
            }
            Ok(())
        }
    }
}

/// Reads each question once, then either letter behind it.
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
            let mut pool = Pool::new(sites, Pooling::Last);
            model.extend(&mut cache, &letters, &mut (&mut *hook, &mut pool))?;
            pool.hand_out(sites, side, first, take);
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

/// Reads the texts of one set.
fn read(
    model: &Model,
    (pooling, side, set): (Pooling, Side, &[Vec<u32>]),
    sites: &[Site],
    hook: &mut dyn Hook,
    take: &mut dyn FnMut(Rows),
    on_done: &mut dyn FnMut(usize),
) -> Result<()> {
    for batch in TextBatches::new(set, PASS_TOKENS) {
        let mut pool = Pool::new(sites, pooling);
        batch.run(model, &mut (&mut *hook, &mut pool))?;
        pool.hand_out(sites, side, batch.numbers().start, take);
        on_done(batch.numbers().len());
    }
    Ok(())
}

/// Keeps of every text the row that stands for it, so that no more than that is held.
struct Pool {
    pooling: Pooling,
    /// `[texts, d]` by site.
    taken: BTreeMap<Site, Matrix>,
}

impl Pool {
    fn new(sites: &[Site], pooling: Pooling) -> Pool {
        Pool {
            pooling,
            taken: sites
                .iter()
                .map(|&site| (site, Matrix::default()))
                .collect(),
        }
    }

    fn hand_out(&self, sites: &[Site], side: Side, first: usize, take: &mut dyn FnMut(Rows)) {
        for (site, name) in sites.iter().enumerate() {
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

impl Hook for Pool {
    fn wants(&self, site: Site) -> bool {
        self.taken.contains_key(&site)
    }

    fn at(&mut self, site: Site, rows: &hook::Rows, x: Matrix) -> Result<Matrix> {
        let mut pooled = Matrix::zeros(rows.spans().len(), x.cols());
        let mut start = 0;
        for (text, span) in rows.spans().iter().enumerate() {
            let end = start + span.len;
            match self.pooling {
                Pooling::Last => pooled.row_mut(text).copy_from_slice(x.row(end - 1)),
                Pooling::Mean => {
                    let rows = pooled_positions(span.len).map(|position| start + position);
                    mean(&x, rows, pooled.row_mut(text));
                }
            }
            start = end;
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
