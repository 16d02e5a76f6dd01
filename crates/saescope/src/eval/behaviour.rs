//! A model's predictions with an activation reconstructed, or ablated.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use saescope_kernels::Matrix;
use serde::Serialize;

use super::reconstruction::{ExplainedByToken, ReconstructionSums};
use super::{COUNTED, Counted, Walk, firsts};
use crate::distribution::Distributions;
use crate::edit::Span;
use crate::error::Result;
use crate::hook::{Capture, Hook, Rows};
use crate::model::{BatchText, Model, TextBatch, UNEMBED_ROWS};
use crate::sae::{Sae, Splice};
use crate::site::Site;

/// A model's predictions with an activation reconstructed, or ablated. `ce` is the mean of
/// `-ln p(next token)`, and `kl` the mean of `KL(unchanged || changed)` of the next-token distributions,
/// both in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Behaviour {
    /// Number of tokens predicted: the one after every token counted that is not the last of its text.
    pub predictions: usize,
    /// Of the unchanged model.
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
    /// `1 - ce_increase / ce_increase_with_zero_ablation`; none if ablation changes nothing.
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

/// Measurements of one autoencoder that need the second reading of the texts.
pub(super) struct Prediction {
    pub(super) behaviour: Behaviour,
    /// The mean over tokens of `1 - |x - y|^2 / |x - mean x|^2`.
    pub(super) explained_variance_of_tokens: f64,
}

/// A substitute for an activation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Substitute {
    /// The reconstruction of the autoencoder of this number.
    Sae(usize),
    /// Zeros.
    Zero(Site),
    /// The mean of the activation.
    Mean(Site),
}

/// Every substitute that is tried with `saes`, at either choice of positions.
fn changes(saes: &[&Sae]) -> Result<Vec<(Substitute, Counted)>> {
    let mut changes: Vec<Substitute> = (0..saes.len()).map(Substitute::Sae).collect();
    for sae in saes {
        let site = sae.out_site()?;
        if !changes.contains(&Substitute::Zero(site)) {
            changes.extend([Substitute::Zero(site), Substitute::Mean(site)]);
        }
    }
    let both = changes.into_iter();
    Ok(both
        .flat_map(|change| COUNTED.map(|counted| (change, counted)))
        .collect())
}

/// Number of times that the model reads every text.
pub(super) fn passes(saes: &[&Sae]) -> Result<u64> {
    Ok(1 + changes(saes)?.len() as u64)
}

/// Sums over tokens of the losses and divergences of predictions.
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

/// Reads all texts to the end, unchanged and with every substitute. Returns the measurements of each
/// autoencoder over all positions, and without the first of every text.
pub(super) fn measure(
    walk: &mut Walk,
    saes: &[&Sae],
    sums: &[ReconstructionSums],
    on_read: &mut dyn FnMut(usize),
) -> Result<Vec<[Prediction; 2]>> {
    let changes = changes(saes)?;
    let substitutes = SubstituteRows::new(saes, sums)?;
    let mut sites = substitutes.starts(walk.model, &changes)?;
    for sae in saes {
        sites.insert(sae.out_site()?);
    }
    let mut explained: Vec<ExplainedByToken> = sums.iter().map(ExplainedByToken::new).collect();
    let mut outcomes = Outcomes::new(&changes);
    for batch in walk.batches() {
        let rows = NextTokens::new(&batch);
        let plain = UnchangedBatch::run(walk, &batch, &sites)?;
        on_read(rows.next.len());
        for (sae, explained) in saes.iter().zip(&mut explained) {
            explained.add(&plain.at[&sae.out_site()?], &rows.firsts);
        }
        let mut changed = Vec::with_capacity(changes.len());
        for &(change, counted) in &changes {
            let mut hook = substitutes.hook(change, counted)?;
            changed.push(plain.changed(walk, &batch, &mut *hook)?);
            on_read(rows.next.len());
        }
        outcomes.add(walk.model, &rows, plain.final_norm(), &changed);
    }
    let results = saes.iter().zip(&explained).enumerate();
    results
        .map(|(number, (sae, explained))| {
            let site = sae.out_site()?;
            let prediction = |counted, explained| Prediction {
                behaviour: outcomes.behaviour(number, site, counted),
                explained_variance_of_tokens: explained,
            };
            let [all, without_first] = explained.means();
            Ok([
                prediction(Counted::All, all),
                prediction(Counted::WithoutFirst, without_first),
            ])
        })
        .collect()
}

/// A batch as the unchanged model reads it.
struct UnchangedBatch {
    /// The activations at some sites and after the final norm, `[tokens, width]` each.
    at: BTreeMap<Site, Matrix>,
}

impl UnchangedBatch {
    fn run(
        walk: &mut Walk,
        batch: &TextBatch<&[u32]>,
        sites: &BTreeSet<Site>,
    ) -> Result<UnchangedBatch> {
        let mut sites = sites.clone();
        sites.insert(Site::FinalNorm);
        let at = walk.activations(batch, &sites)?;
        Ok(UnchangedBatch { at })
    }

    /// The output of the final norm, `[tokens, d_model]`.
    fn final_norm(&self) -> &Matrix {
        &self.at[&Site::FinalNorm]
    }

    /// The output of the final norm under a change, computed from the first site that the change reaches.
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

/// The logits of some rows of the final norm's output.
fn project(model: &Model, final_norm: &Matrix, rows: Range<usize>) -> Matrix {
    model.project(&final_norm.select_rows(&rows.collect::<Vec<usize>>()))
}

/// The next token of every row of a batch.
struct NextTokens {
    /// None for the last token of a text.
    next: Vec<Option<u32>>,
    /// True for the first token of a text.
    firsts: Vec<bool>,
}

impl NextTokens {
    fn new(batch: &TextBatch<&[u32]>) -> NextTokens {
        let next = |text: BatchText| {
            let next = text.tokens[1..].iter().copied().map(Some);
            next.chain([None]).collect::<Vec<_>>()
        };
        NextTokens {
            next: batch.texts().flat_map(next).collect(),
            firsts: firsts(batch),
        }
    }

    /// Adds the counted rows of `range` to `sums`; row 0 of the distributions is the first of the range.
    fn add(
        &self,
        range: Range<usize>,
        counted: Counted,
        before: &Distributions,
        after: &Distributions,
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

/// The rows that substitutes put in the place of activations.
struct SubstituteRows<'a> {
    saes: &'a [&'a Sae],
    /// By site: zeros, and the means over all positions and without the first.
    rows: BTreeMap<Site, [Vec<f32>; 3]>,
}

impl<'a> SubstituteRows<'a> {
    fn new(saes: &'a [&'a Sae], sums: &[ReconstructionSums]) -> Result<SubstituteRows<'a>> {
        let mut rows = BTreeMap::new();
        for (sae, sums) in saes.iter().zip(sums) {
            let [all, without_first] = COUNTED.map(|counted| sums.mean(counted));
            rows.insert(
                sae.out_site()?,
                [vec![0.0; sae.d_out()], all, without_first],
            );
        }
        Ok(SubstituteRows { saes, rows })
    }

    /// The sites from which passes with these changes differ from the unchanged one.
    fn starts(&self, model: &Model, changes: &[(Substitute, Counted)]) -> Result<BTreeSet<Site>> {
        let mut starts = BTreeSet::new();
        for &(change, counted) in changes {
            starts.extend(model.restart(&*self.hook(change, counted)?));
        }
        Ok(starts)
    }

    fn hook(&self, change: Substitute, counted: Counted) -> Result<Box<dyn Hook + '_>> {
        let span = match counted {
            Counted::All => Span::All,
            Counted::WithoutFirst => Span::From(1),
        };
        let (site, which) = match (change, counted) {
            (Substitute::Sae(number), _) => {
                let splice = Splice::replace(self.saes[number], Vec::new())?;
                return Ok(Box::new(splice.within(span)));
            }
            (Substitute::Zero(site), _) => (site, 0),
            (Substitute::Mean(site), Counted::All) => (site, 1),
            (Substitute::Mean(site), Counted::WithoutFirst) => (site, 2),
        };
        let row = &self.rows[&site][which];
        Ok(Box::new(Ablate { site, row, span }))
    }
}

/// A hook that replaces every token of a span by one row.
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

/// The sums of the unchanged model and of every change.
struct Outcomes<'a> {
    changes: &'a [(Substitute, Counted)],
    plain: [Sums; 2],
    changed: Vec<Sums>,
}

impl<'a> Outcomes<'a> {
    fn new(changes: &'a [(Substitute, Counted)]) -> Outcomes<'a> {
        Outcomes {
            changes,
            plain: [Sums::default(); 2],
            changed: vec![Sums::default(); changes.len()],
        }
    }

    /// Adds a batch, given the outputs of the final norm of the unchanged model and under every change.
    fn add(&mut self, model: &Model, rows: &NextTokens, plain: &Matrix, changed: &[Matrix]) {
        for start in (0..rows.next.len()).step_by(UNEMBED_ROWS) {
            let range = start..(start + UNEMBED_ROWS).min(rows.next.len());
            let logits = project(model, plain, range.clone());
            let before = Distributions::new(&logits);
            for (sums, counted) in self.plain.iter_mut().zip(COUNTED) {
                rows.add(range.clone(), counted, &before, &before, sums);
            }
            let changes = self.changes.iter().zip(changed).zip(&mut self.changed);
            for ((&(_, counted), final_norm), sums) in changes {
                let logits = project(model, final_norm, range.clone());
                let after = Distributions::new(&logits);
                rows.add(range.clone(), counted, &before, &after, sums);
            }
        }
    }

    fn of(&self, change: Substitute, counted: Counted) -> Sums {
        let at = self
            .changes
            .iter()
            .position(|&key| key == (change, counted));
        at.map_or(Sums::default(), |at| self.changed[at])
    }

    /// The behaviour with the autoencoder of a number, which writes at `out_site`.
    fn behaviour(&self, number: usize, out_site: Site, counted: Counted) -> Behaviour {
        let plain = self.plain[usize::from(counted == Counted::WithoutFirst)];
        let sae = self.of(Substitute::Sae(number), counted);
        let zero = self.of(Substitute::Zero(out_site), counted);
        let mean = self.of(Substitute::Mean(out_site), counted);
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

/// The share of the ablation's damage that the autoencoder avoids; none if there is no damage.
fn recovered(with_sae: f64, ablated: f64) -> Option<f64> {
    let share = 1.0 - with_sae / ablated;
    share.is_finite().then_some(share)
}
