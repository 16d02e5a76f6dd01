//! Whether an autoencoder is any good: what it reconstructs, what it costs the model, and how its
//! features are spread.
//!
//! Two walks over the texts. The first runs the model as far as the deepest site and looks at
//! reconstructions; the second runs it to the end, as it is and with every autoencoder in its place,
//! and looks at what it predicts. Several autoencoders share the model's own passes, and a pass with a
//! change begins where that does. Every number is defined in docs/metrics.md; all sums are in f64, and
//! no logits are held but those of [`UNEMBED_ROWS`](crate::model::UNEMBED_ROWS) rows.

mod behaviour;
mod reconstruction;
mod saebench;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Add;

use saescope_kernels::Matrix;
use serde::Serialize;

pub use behaviour::Behaviour;
pub use reconstruction::{Activity, Reconstruction};
pub use saebench::{Core, core};

use crate::activations::Batch;
use crate::direction::{Companion, Orthogonality, Pairs, companions, orthogonality};
use crate::error::{Error, Result};
use crate::features::check;
use crate::hook::Hook;
use crate::model::{Model, PASS_TOKENS, TextBatch, TextBatches};
use crate::sae::Sae;
use crate::site::Site;

/// How an evaluation is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalConfig {
    /// Tokens that the model reads at once, or one text where that has more.
    pub batch_tokens: usize,
    /// Multiply-adds that may be spent on the cosines of one matrix of directions; where all pairs take
    /// more, a sample is drawn ([`Pairs::within`]).
    pub cosine_budget: u64,
    /// How many pairs of features are listed that are closest to each other.
    pub top: usize,
    /// Seed of that sample.
    pub seed: u64,
}

impl Default for EvalConfig {
    fn default() -> EvalConfig {
        EvalConfig {
            batch_tokens: PASS_TOKENS,
            // All pairs of 16,384 directions of width 512: a second or two.
            cosine_budget: 1 << 37,
            top: 10,
            seed: 0,
        }
    }
}

/// What an evaluation found about one autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Where it reads.
    pub site: Site,
    /// Where it writes.
    pub out_site: Site,
    /// Width of what it reads.
    pub d_in: usize,
    /// Width of what it writes.
    pub d_out: usize,
    /// Number of features.
    pub d_sae: usize,
    /// Texts read.
    pub sequences: usize,
    /// Over all positions.
    #[serde(flatten)]
    pub all: Quality,
    /// The first position of every text left as it is: neither counted, nor replaced.
    pub without_first: Quality,
    /// How far decoder rows are from right angles.
    pub decoder: Orthogonality,
    /// How far encoder rows are from right angles.
    pub encoder: Orthogonality,
    /// The features that are most like another one, or opposed to it, in what they read and write.
    pub companions: Vec<Companion>,
}

/// What an evaluation found about one autoencoder on activations alone. Without texts nothing is known
/// of what a model would predict, nor of which tokens were the first of theirs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnActivations {
    /// Width of what it reads.
    pub d_in: usize,
    /// Width of what it writes.
    pub d_out: usize,
    /// Number of features.
    pub d_sae: usize,
    /// Tokens counted.
    pub tokens: usize,
    /// How well activations are reconstructed.
    #[serde(flatten)]
    pub reconstruction: Reconstruction,
    /// How many features are active, and how often.
    #[serde(flatten)]
    pub activity: Activity,
    /// How far decoder rows are from right angles.
    pub decoder: Orthogonality,
    /// How far encoder rows are from right angles.
    pub encoder: Orthogonality,
    /// The features that are most like another one, or opposed to it, in what they read and write.
    pub companions: Vec<Companion>,
}

/// The numbers that depend on which positions count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Tokens counted. Features are dead that were not active on one of them.
    pub tokens: usize,
    /// How well activations are reconstructed.
    #[serde(flatten)]
    pub reconstruction: Reconstruction,
    /// The mean over tokens of `1 - |x - y|^2 / |x - mean x|^2`.
    pub explained_variance_of_tokens: f64,
    /// What the model predicts with the reconstruction in the activation's place.
    #[serde(flatten)]
    pub behaviour: Behaviour,
    /// How many features are active, and how often.
    #[serde(flatten)]
    pub activity: Activity,
}

/// Which positions count, and are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    All,
    WithoutFirst,
}

const COUNTED: [Counted; 2] = [Counted::All, Counted::WithoutFirst];

/// Sums over first positions and over the others, apart.
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
/// order of `saes`. `hook` belongs to the model: what it changes is changed in every pass, the one
/// without an autoencoder too, and before an autoencoder reads. `on_progress` is told how much of the
/// work, in passes times tokens, is done, and of how much.
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
    if !texts.iter().any(|text| text.len() > 1) {
        let message = "an evaluation needs a text of two tokens or more";
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
    let seen = reconstruction::measure(&mut walk, saes, &mut read)?;
    let behaviours = behaviour::measure(&mut walk, saes, &seen, &mut read)?;
    let all = saes.iter().zip(&seen).zip(behaviours);
    all.map(|((sae, seen), [all, without_first])| {
        let quality = |counted, (behaviour, explained)| -> Result<Quality> {
            Ok(Quality {
                tokens: seen.tokens(counted),
                reconstruction: seen.reconstruction(counted)?,
                explained_variance_of_tokens: explained,
                behaviour,
                activity: seen.activity(counted),
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

/// Evaluates `saes` on `batches`, activations at their sites, of which all are read; results are in the
/// order of `saes`.
///
/// # Errors
/// When a batch cannot be had or does not fit an autoencoder, or all activations are the same.
pub fn evaluate_activations(
    saes: &[&Sae],
    batches: impl Iterator<Item = Result<Batch>>,
    config: &EvalConfig,
) -> Result<Vec<OnActivations>> {
    let seen = reconstruction::measure_batches(saes, batches)?;
    let all = saes.iter().zip(&seen).map(|(sae, seen)| {
        let directions = Directions::of(sae, config);
        Ok(OnActivations {
            d_in: sae.d_in(),
            d_out: sae.d_out(),
            d_sae: sae.d_sae(),
            tokens: seen.tokens(Counted::All),
            reconstruction: seen.reconstruction(Counted::All)?,
            activity: seen.activity(Counted::All),
            decoder: directions.decoder,
            encoder: directions.encoder,
            companions: directions.companions,
        })
    });
    all.collect()
}

/// How an autoencoder's directions lie to each other.
struct Directions {
    decoder: Orthogonality,
    encoder: Orthogonality,
    companions: Vec<Companion>,
}

impl Directions {
    fn of(sae: &Sae, config: &EvalConfig) -> Directions {
        let (encoder, decoder) = (sae.encoder().0, sae.decoder().0);
        let pairs = |width| Pairs::within(config.cosine_budget, (sae.d_sae(), width), config.seed);
        let wider = pairs(sae.d_in().max(sae.d_out()));
        Directions {
            decoder: orthogonality(decoder, pairs(sae.d_out()), config.top),
            encoder: orthogonality(encoder, pairs(sae.d_in()), config.top),
            companions: closest(companions(encoder, decoder, wider), config.top),
        }
    }
}

/// The companions with the largest scores, the largest first; of a pair that is each other's only one.
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

/// Texts, as a model reads them.
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

    /// Whether the model's own hook has done all it does where a pass begins at `site`.
    fn is_done_before(&self, site: Site) -> bool {
        let mut rest = self.model.sites().skip_while(|&before| before != site);
        rest.all(|site| !self.hook.wants(site))
    }
}

/// For every row of a batch, true if it is the first of its text.
fn firsts(batch: &TextBatch<&[u32]>) -> Vec<bool> {
    batch.positions().map(|position| position == 0).collect()
}
