//! What a model predicts with an activation reconstructed, or taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use saescope_kernels::Matrix;
use serde::Serialize;

use super::reconstruction::{ByToken, Seen};
use super::{COUNTED, Counted, Walk, firsts};
use crate::distribution::Distributions;
use crate::edit::Span;
use crate::error::Result;
use crate::hook::{Capture, Hook, Rows};
use crate::model::{BatchText, Model, TextBatch, UNEMBED_ROWS};
use crate::sae::{Sae, Splice};
use crate::site::Site;

/// What a model predicts with an activation reconstructed, or taken away. `ce` is the mean of
/// `-ln p(next token)`, and `kl` the mean of `KL(plain || changed)` of the next-token distributions,
/// both in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Behaviour {
    /// Tokens predicted: behind every token counted that is not the last of its text.
    pub predictions: usize,
    /// Of the model as it is.
    pub ce_without_sae: f64,
    /// With the reconstruction in the activation's place.
    pub ce_with_sae: f64,
    /// With zeros in its place.
    pub ce_with_zero_ablation: f64,
    /// With its mean over the tokens counted in its place.
    pub ce_with_mean_ablation: f64,
    /// `ce_with_sae - ce_without_sae`
    pub ce_increase: f64,
    /// `ce_with_zero_ablation - ce_without_sae`
    pub ce_increase_with_zero_ablation: f64,
    /// `ce_with_mean_ablation - ce_without_sae`
    pub ce_increase_with_mean_ablation: f64,
    /// `1 - ce_increase / ce_increase_with_zero_ablation`; none where ablation changes nothing.
    pub ce_recovered: Option<f64>,
    /// The same against the mean.
    pub ce_recovered_from_mean: Option<f64>,
    /// With the reconstruction.
    pub kl_with_sae: f64,
    /// With zeros.
    pub kl_with_zero_ablation: f64,
    /// With the mean.
    pub kl_with_mean_ablation: f64,
    /// `1 - kl_with_sae / kl_with_zero_ablation`
    pub kl_score: Option<f64>,
    /// The same against the mean.
    pub kl_score_from_mean: Option<f64>,
}

/// Behaviour, and what is explained of each token on average.
pub(super) type Found = (Behaviour, f64);

/// What is put in the place of an activation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// What the autoencoder of this number makes of it.
    Sae(usize),
    /// Zeros.
    Zero(Site),
    /// Its mean.
    Mean(Site),
}

/// Every change that is tried with `saes`.
fn changes(saes: &[&Sae]) -> Result<Vec<(Change, Counted)>> {
    let mut changes: Vec<Change> = (0..saes.len()).map(Change::Sae).collect();
    for sae in saes {
        let site = sae.out_site()?;
        if !changes.contains(&Change::Zero(site)) {
            changes.extend([Change::Zero(site), Change::Mean(site)]);
        }
    }
    let both = changes.into_iter();
    Ok(both
        .flat_map(|change| COUNTED.map(|counted| (change, counted)))
        .collect())
}

/// How often the model reads every text.
pub(super) fn passes(saes: &[&Sae]) -> Result<u64> {
    Ok(1 + changes(saes)?.len() as u64)
}

/// Sums over tokens.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    ce: f64,
    kl: f64,
    predictions: usize,
    tokens: usize,
}

impl Sums {
    fn add(&mut self, loss: Option<f64>, kl: f64) {
        self.tokens += 1;
        self.kl += kl;
        if let Some(loss) = loss {
            self.ce += loss;
            self.predictions += 1;
        }
    }

    fn ce(&self) -> f64 {
        self.ce / self.predictions as f64
    }

    fn kl(&self) -> f64 {
        self.kl / self.tokens as f64
    }
}

/// Reads all texts to the end: as they are, and with every change. For each autoencoder what is found
/// over all positions, and without the first of every text.
pub(super) fn measure(
    walk: &mut Walk,
    saes: &[&Sae],
    seen: &[Seen],
    on_read: &mut dyn FnMut(usize),
) -> Result<Vec<[Found; 2]>> {
    let changes = changes(saes)?;
    let replacements = Replacements::new(saes, seen)?;
    let mut sites = replacements.starts(walk.model, &changes)?;
    for sae in saes {
        sites.insert(sae.out_site()?);
    }
    let mut explained: Vec<ByToken> = seen.iter().map(ByToken::new).collect();
    let mut outcomes = Outcomes::new(&changes);
    for batch in walk.batches() {
        let rows = Predicted::new(&batch);
        let plain = Plain::run(walk, &batch, &sites)?;
        on_read(rows.next.len());
        for (sae, explained) in saes.iter().zip(&mut explained) {
            explained.add(&plain.at[&sae.out_site()?], &rows.firsts);
        }
        let mut changed = Vec::with_capacity(changes.len());
        for &(change, counted) in &changes {
            let mut hook = replacements.hook(change, counted)?;
            changed.push(plain.changed(walk, &batch, &mut *hook)?);
            on_read(rows.next.len());
        }
        outcomes.add(walk.model, &rows, (plain.ends(), &changed));
    }
    let found = saes.iter().zip(&explained).enumerate();
    let found = found.map(|(number, (sae, explained))| {
        let site = sae.out_site()?;
        let of = |counted| outcomes.behaviour((number, site), counted);
        let [all, without_first] = explained.means();
        Ok([
            (of(Counted::All), all),
            (of(Counted::WithoutFirst), without_first),
        ])
    });
    found.collect()
}

/// A batch as the model reads it.
struct Plain {
    /// What it is at some sites and behind the final norm, `[tokens, width]` each.
    at: BTreeMap<Site, Matrix>,
}

impl Plain {
    fn run(walk: &mut Walk, batch: &TextBatch<&[u32]>, sites: &BTreeSet<Site>) -> Result<Plain> {
        let mut sites = sites.clone();
        sites.insert(Site::FinalNorm);
        let at = walk.activations(batch, &sites)?;
        Ok(Plain { at })
    }

    fn ends(&self) -> &Matrix {
        &self.at[&Site::FinalNorm]
    }

    /// What the final norm makes of the batch with a change, from where it begins to matter.
    fn changed(
        &self,
        walk: &mut Walk,
        batch: &TextBatch<&[u32]>,
        change: &mut dyn Hook,
    ) -> Result<Matrix> {
        let mut capture = Capture::new([Site::FinalNorm]);
        let start = walk.model.restart(change);
        let start = start.filter(|&site| walk.is_done_before(site));
        let start = start.and_then(|site| Some((site, self.at.get(&site)?.clone())));
        walk.run(start, batch, &mut (change, &mut capture))?;
        capture.take(Site::FinalNorm)
    }
}

/// The logits of some rows.
fn project(model: &Model, ends: &Matrix, rows: Range<usize>) -> Matrix {
    model.project(&ends.select_rows(&rows.collect::<Vec<usize>>()))
}

/// The rows of a batch and what comes behind each.
struct Predicted {
    /// None behind the last token of a text.
    next: Vec<Option<u32>>,
    firsts: Vec<bool>,
}

impl Predicted {
    fn new(batch: &TextBatch<&[u32]>) -> Predicted {
        let next = |text: BatchText| {
            let next = text.tokens[1..].iter().copied().map(Some);
            next.chain([None]).collect::<Vec<_>>()
        };
        Predicted {
            next: batch.texts().flat_map(next).collect(),
            firsts: firsts(batch),
        }
    }

    /// Adds the rows of `range` that are counted; row 0 of the distributions is the first of them.
    fn add(
        &self,
        range: Range<usize>,
        counted: Counted,
        (before, after): (&Distributions, &Distributions),
        sums: &mut Sums,
    ) {
        let unchanged = std::ptr::eq(before, after);
        let kl = if unchanged {
            vec![0.0; range.len()]
        } else {
            before.kl(after)
        };
        for (at, (row, kl)) in range.zip(kl).enumerate() {
            if counted == Counted::All || !self.firsts[row] {
                sums.add(self.next[row].map(|next| after.loss(at, next)), kl);
            }
        }
    }
}

/// What changes put in the place of activations.
struct Replacements<'a> {
    saes: &'a [&'a Sae],
    /// By site: zeros, and the means over all positions and without the first.
    rows: BTreeMap<Site, [Vec<f32>; 3]>,
}

impl<'a> Replacements<'a> {
    fn new(saes: &'a [&'a Sae], seen: &[Seen]) -> Result<Replacements<'a>> {
        let mut rows = BTreeMap::new();
        for (sae, seen) in saes.iter().zip(seen) {
            let [all, without_first] = COUNTED.map(|counted| seen.mean(counted));
            rows.insert(
                sae.out_site()?,
                [vec![0.0; sae.d_out()], all, without_first],
            );
        }
        Ok(Replacements { saes, rows })
    }

    /// Where passes with these changes part from the plain one.
    fn starts(&self, model: &Model, changes: &[(Change, Counted)]) -> Result<BTreeSet<Site>> {
        let mut starts = BTreeSet::new();
        for &(change, counted) in changes {
            starts.extend(model.restart(&*self.hook(change, counted)?));
        }
        Ok(starts)
    }

    fn hook(&self, change: Change, counted: Counted) -> Result<Box<dyn Hook + '_>> {
        let span = match counted {
            Counted::All => Span::All,
            Counted::WithoutFirst => Span::From(1),
        };
        let (site, which) = match (change, counted) {
            (Change::Sae(number), _) => {
                let splice = Splice::replace(self.saes[number], Vec::new())?;
                return Ok(Box::new(splice.within(span)));
            }
            (Change::Zero(site), _) => (site, 0),
            (Change::Mean(site), Counted::All) => (site, 1),
            (Change::Mean(site), Counted::WithoutFirst) => (site, 2),
        };
        let row = &self.rows[&site][which];
        Ok(Box::new(Ablate { site, row, span }))
    }
}

/// A hook that puts one row in the place of every token of a span.
struct Ablate<'a> {
    site: Site,
    row: &'a [f32],
    span: Span,
}

impl Hook for Ablate<'_> {
    fn wants(&self, site: Site) -> bool {
        site == self.site
    }

    fn at(&mut self, _: Site, rows: &Rows, mut x: Matrix) -> Result<Matrix> {
        for (row, position) in rows.positions().enumerate() {
            if self.span.contains(position) {
                x.row_mut(row).copy_from_slice(self.row);
            }
        }
        Ok(x)
    }
}

/// The sums of all changes.
struct Outcomes<'a> {
    changes: &'a [(Change, Counted)],
    plain: [Sums; 2],
    changed: Vec<Sums>,
}

impl<'a> Outcomes<'a> {
    fn new(changes: &'a [(Change, Counted)]) -> Outcomes<'a> {
        Outcomes {
            changes,
            plain: [Sums::default(); 2],
            changed: vec![Sums::default(); changes.len()],
        }
    }

    /// Adds a batch: what the final norm makes of it as it is, and with every change.
    fn add(&mut self, model: &Model, rows: &Predicted, (plain, changed): (&Matrix, &[Matrix])) {
        for start in (0..rows.next.len()).step_by(UNEMBED_ROWS) {
            let range = start..(start + UNEMBED_ROWS).min(rows.next.len());
            let logits = project(model, plain, range.clone());
            let before = Distributions::new(&logits);
            for (sums, counted) in self.plain.iter_mut().zip(COUNTED) {
                rows.add(range.clone(), counted, (&before, &before), sums);
            }
            let changes = self.changes.iter().zip(changed).zip(&mut self.changed);
            for ((&(_, counted), ends), sums) in changes {
                let logits = project(model, ends, range.clone());
                let after = Distributions::new(&logits);
                rows.add(range.clone(), counted, (&before, &after), sums);
            }
        }
    }

    fn of(&self, change: Change, counted: Counted) -> Sums {
        let at = self
            .changes
            .iter()
            .position(|&key| key == (change, counted));
        at.map_or(Sums::default(), |at| self.changed[at])
    }

    /// Of the autoencoder of a number, which writes at a site.
    fn behaviour(&self, (number, out_site): (usize, Site), counted: Counted) -> Behaviour {
        let plain = self.plain[usize::from(counted == Counted::WithoutFirst)];
        let sae = self.of(Change::Sae(number), counted);
        let zero = self.of(Change::Zero(out_site), counted);
        let mean = self.of(Change::Mean(out_site), counted);
        let increase = |sums: Sums| sums.ce() - plain.ce();
        Behaviour {
            predictions: plain.predictions,
            ce_without_sae: plain.ce(),
            ce_with_sae: sae.ce(),
            ce_with_zero_ablation: zero.ce(),
            ce_with_mean_ablation: mean.ce(),
            ce_increase: increase(sae),
            ce_increase_with_zero_ablation: increase(zero),
            ce_increase_with_mean_ablation: increase(mean),
            ce_recovered: recovered(increase(sae), increase(zero)),
            ce_recovered_from_mean: recovered(increase(sae), increase(mean)),
            kl_with_sae: sae.kl(),
            kl_with_zero_ablation: zero.kl(),
            kl_with_mean_ablation: mean.kl(),
            kl_score: recovered(sae.kl(), zero.kl()),
            kl_score_from_mean: recovered(sae.kl(), mean.kl()),
        }
    }
}

/// Which share of `ablated` does not occur with the autoencoder.
fn recovered(with_sae: f64, ablated: f64) -> Option<f64> {
    let share = 1.0 - with_sae / ablated;
    share.is_finite().then_some(share)
}
