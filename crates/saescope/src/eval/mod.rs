//! The evaluation of autoencoders: their reconstructions, their cost to the model's predictions, and the
//! densities and directions of their features.
//!
//! The texts are read twice. The first time the model runs as far as the deepest site, for the
//! reconstructions; the second time it runs to the end, unchanged and with every autoencoder in its
//! place, for the predictions. Several autoencoders share the unchanged passes, and a changed pass begins
//! at its change. docs/metrics.md defines every number. All sums are in f64; only the logits of
//! [`UNEMBED_ROWS`](crate::model::UNEMBED_ROWS) rows are in memory at a time.

mod behaviour;
mod reconstruction;
mod report;
mod saebench;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Add;

use saescope_kernels::Matrix;
use serde::Serialize;

pub use behaviour::Behaviour;
pub use reconstruction::{Activity, Reconstruction};
pub use report::{EvalCorpus, EvalReport, EvalTexts};
pub use saebench::{Core, core, core_result};

use crate::activations::Batch;
use crate::direction::{Companion, Orthogonality, Pairs, companions, orthogonality};
use crate::error::{Error, Result};
use crate::features::check;
use crate::hook::Hook;
use crate::model::{Model, PASS_TOKENS, TextBatch, TextBatches};
use crate::sae::Sae;
use crate::site::Site;
use behaviour::Prediction;

/// The settings of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalConfig {
    /// Number of tokens that the model reads at once; a longer text is read alone.
    pub batch_tokens: usize,
    /// The most multiply-adds spent on the cosines of one matrix of directions; if all pairs cost more, a
    /// sample is drawn ([`Pairs::within`]).
    pub cosine_budget: u64,
    /// Number of closest pairs of features that are listed.
    pub top: usize,
    /// Seed of that sample.
    pub seed: u64,
}

impl Default for EvalConfig {
    fn default() -> EvalConfig {
        EvalConfig {
            batch_tokens: PASS_TOKENS,
            // All pairs of 16,384 directions of width 512, which take a second or two.
            cosine_budget: 1 << 37,
            top: 10,
            seed: 0,
        }
    }
}

/// The evaluation of one autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// The site that it reads.
    pub site: Site,
    /// The site that it writes.
    pub out_site: Site,
    /// Width of the activation that it reads.
    pub d_in: usize,
    /// Width of the activation that it writes.
    pub d_out: usize,
    /// Number of features.
    pub d_sae: usize,
    /// Number of texts read.
    pub sequences: usize,
    /// Over all positions.
    #[serde(flatten)]
    pub all: Quality,
    /// Without the first position of every text, which is neither counted nor replaced.
    pub without_first: Quality,
    /// Orthogonality of the decoder rows.
    pub decoder: Orthogonality,
    /// Orthogonality of the encoder rows.
    pub encoder: Orthogonality,
    /// The pairs of features that read and write the most similar, or the most opposite, directions.
    pub companions: Vec<Companion>,
}

/// The evaluation of one autoencoder on activations alone. Without texts, a model's predictions and the
/// first positions are unknown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnActivations {
    /// Width of the activation that it reads.
    pub d_in: usize,
    /// Width of the activation that it writes.
    pub d_out: usize,
    /// Number of features.
    pub d_sae: usize,
    /// Number of tokens counted.
    pub tokens: usize,
    /// Quality of the reconstructions.
    #[serde(flatten)]
    pub reconstruction: Reconstruction,
    /// Number and densities of active features.
    #[serde(flatten)]
    pub activity: Activity,
    /// Orthogonality of the decoder rows.
    pub decoder: Orthogonality,
    /// Orthogonality of the encoder rows.
    pub encoder: Orthogonality,
    /// The pairs of features that read and write the most similar, or the most opposite, directions.
    pub companions: Vec<Companion>,
}

/// The numbers that depend on which positions count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Number of tokens counted. A feature is dead if it is active on none of them.
    pub tokens: usize,
    /// Quality of the reconstructions.
    #[serde(flatten)]
    pub reconstruction: Reconstruction,
    /// The mean over tokens of `1 - |x - y|^2 / |x - mean x|^2`.
    pub explained_variance_of_tokens: f64,
    /// The model's predictions with the reconstruction in the activation's place.
    #[serde(flatten)]
    pub behaviour: Behaviour,
    /// Number and densities of active features.
    #[serde(flatten)]
    pub activity: Activity,
}

/// The positions that are counted and replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    All,
    WithoutFirst,
}

const COUNTED: [Counted; 2] = [Counted::All, Counted::WithoutFirst];

/// Separate sums over first positions and over the others.
#[derive(Clone, Debug, Default)]
struct ByPosition<T> {
    first: T,
    others: T,
}

impl<T> ByPosition<T> {
    fn at(&mut self, is_first: bool) -> &mut T {
        if is_first {
            &mut self.first
        } else {
            &mut self.others
        }
    }
}

impl<T: Clone + Add<Output = T>> ByPosition<T> {
    fn counted(&self, counted: Counted) -> T {
        match counted {
            Counted::All => self.first.clone() + self.others.clone(),
            Counted::WithoutFirst => self.others.clone(),
        }
    }
}

/// Evaluates `saes` on `texts`, which are token ids, each from its first token on; results are in the
/// order of `saes`. `hook` changes the model in every pass, also in the one without an autoencoder, and
/// before an autoencoder reads. `on_progress` receives the work done and its total, in passes times
/// tokens.
///
/// # Errors
/// When an autoencoder does not fit the model, a text is empty or too long, no text has two tokens, or
/// all activations are the same.
pub fn evaluate(
    model: &Model,
    saes: &[&Sae],
    texts: &[&[u32]],
    config: &EvalConfig,
    hook: &mut dyn Hook,
    on_progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Evaluation>> {
    saes.iter().try_for_each(|sae| check(model, sae))?;
    // Without the first position, the second is the only one of two, and it predicts nothing.
    if !texts.iter().any(|text| text.len() > 2) {
        let message = "an evaluation needs a text of three tokens or more";
        return Err(Error::Argument(message.to_owned()));
    }
    let mut walk = Walk {
        model,
        hook,
        texts,
        batch_tokens: config.batch_tokens,
    };
    let passes = 1 + behaviour::passes(saes)?;
    let tokens: usize = texts.iter().map(|text| text.len()).sum();
    let (total, mut done) = (tokens as u64 * passes, 0);
    let mut read = |tokens: usize| {
        done += tokens as u64;
        on_progress(done, total);
    };
    let sums = reconstruction::measure(&mut walk, saes, &mut read)?;
    let predictions = behaviour::measure(&mut walk, saes, &sums, &mut read)?;
    let all = saes.iter().zip(&sums).zip(predictions);
    all.map(|((sae, sums), [all, without_first])| {
        let quality = |counted, prediction: Prediction| -> Result<Quality> {
            Ok(Quality {
                tokens: sums.tokens(counted),
                reconstruction: sums.reconstruction(counted)?,
                explained_variance_of_tokens: prediction.explained_variance_of_tokens,
                behaviour: prediction.behaviour,
                activity: sums.activity(counted),
            })
        };
        let directions = Directions::of(sae, config);
        Ok(Evaluation {
            site: sae.site()?,
            out_site: sae.out_site()?,
            d_in: sae.d_in(),
            d_out: sae.d_out(),
            d_sae: sae.d_sae(),
            sequences: texts.len(),
            all: quality(Counted::All, all)?,
            without_first: quality(Counted::WithoutFirst, without_first)?,
            decoder: directions.decoder,
            encoder: directions.encoder,
            companions: directions.companions,
        })
    })
    .collect()
}

/// Evaluates `saes` on all of `batches`, which are activations at their sites; results are in the order
/// of `saes`.
///
/// # Errors
/// When a batch is an error or does not fit an autoencoder, or all activations are the same.
pub fn evaluate_activations(
    saes: &[&Sae],
    batches: impl Iterator<Item = Result<Batch>>,
    config: &EvalConfig,
) -> Result<Vec<OnActivations>> {
    let sums = reconstruction::measure_batches(saes, batches)?;
    let all = saes.iter().zip(&sums).map(|(sae, sums)| {
        let directions = Directions::of(sae, config);
        Ok(OnActivations {
            d_in: sae.d_in(),
            d_out: sae.d_out(),
            d_sae: sae.d_sae(),
            tokens: sums.tokens(Counted::All),
            reconstruction: sums.reconstruction(Counted::All)?,
            activity: sums.activity(Counted::All),
            decoder: directions.decoder,
            encoder: directions.encoder,
            companions: directions.companions,
        })
    });
    all.collect()
}

/// The cosines among an autoencoder's directions.
struct Directions {
    decoder: Orthogonality,
    encoder: Orthogonality,
    companions: Vec<Companion>,
}

impl Directions {
    fn of(sae: &Sae, config: &EvalConfig) -> Directions {
        let (encoder, decoder) = (sae.encoder().0, sae.decoder().0);
        let pairs = |width| Pairs::within(config.cosine_budget, sae.d_sae(), width, config.seed);
        let wider = pairs(sae.d_in().max(sae.d_out()));
        Directions {
            decoder: orthogonality(decoder, pairs(sae.d_out()), config.top),
            encoder: orthogonality(encoder, pairs(sae.d_in()), config.top),
            companions: closest(companions(encoder, decoder, wider), config.top),
        }
    }
}

/// The companions with the largest scores, the largest first; a pair of mutual companions is listed once.
fn closest(mut companions: Vec<Companion>, top: usize) -> Vec<Companion> {
    companions.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.feature.cmp(&b.feature)));
    let mut kept: Vec<Companion> = Vec::new();
    for companion in companions {
        let mirrored = |c: &Companion| (c.other, c.feature) == (companion.feature, companion.other);
        if kept.len() < top && !kept.iter().any(mirrored) {
            kept.push(companion);
        }
    }
    kept
}

/// The texts, and the model that reads them.
struct Walk<'a> {
    model: &'a Model,
    hook: &'a mut dyn Hook,
    texts: &'a [&'a [u32]],
    batch_tokens: usize,
}

impl<'a> Walk<'a> {
    /// The texts, a batch at a time.
    fn batches(&self) -> impl Iterator<Item = TextBatch<&'a [u32]>> + use<'a> {
        TextBatches::new(self.texts.iter().copied(), self.batch_tokens)
    }

    /// The activations of a batch at `sites`, as the model's own hook leaves them.
    fn activations(
        &mut self,
        batch: &TextBatch<&[u32]>,
        sites: &BTreeSet<Site>,
    ) -> Result<BTreeMap<Site, Matrix>> {
        batch.activations_at(self.model, sites.iter().copied(), self.hook)
    }

    /// Reads a batch, from its tokens on or from its activations at a site; `then` follows the
    /// model's own hook.
    fn run(
        &mut self,
        start: Option<(Site, Matrix)>,
        batch: &TextBatch<&[u32]>,
        then: &mut dyn Hook,
    ) -> Result<()> {
        let mut hook = (&mut *self.hook, then);
        match start {
            Some((site, resid)) => batch.run_from(self.model, site, resid, &mut hook),
            None => batch.run(self.model, &mut hook),
        }
    }

    /// True if the model's own hook wants no site from `site` on, where a pass begins.
    fn is_done_before(&self, site: Site) -> bool {
        let mut rest = self.model.sites().skip_while(|&before| before != site);
        rest.all(|site| !self.hook.wants(site))
    }
}

/// For every row of a batch, true if it is the first of its text.
fn firsts(batch: &TextBatch<&[u32]>) -> Vec<bool> {
    batch.positions().map(|position| position == 0).collect()
}
