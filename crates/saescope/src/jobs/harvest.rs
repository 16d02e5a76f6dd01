//! A harvest as a job: corpus, plan of memory and disk, one resumable pass, roles.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::cancel::Cancel;
use super::room::Needs;
use crate::corpus::{self, Corpus, CorpusConfig};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::harvest::{
    Block, BlockReader, CorpusEvidence, FeatureEvidence, HarvestConfig, HarvestHeader, Limits,
    Part, Saved, Sink, Vocabulary, norm_limit, roles,
};
use crate::model::{PASS_TOKENS, TextBatches};
use crate::origin::Origin;
use crate::sae::{NamedSae, Sae};
use crate::session::{Job, LanguageModel, Warning};

/// Tokens of a block, roughly: enough to divide work among threads, few enough to hold its activations.
const BLOCK_TOKENS: usize = 16_384;
/// Blocks of a small corpus, if each has enough tokens for a pass of the model: parts of it are to have equal
/// sizes.
const MIN_BLOCKS: u32 = 64;
/// Tokens that are promoted, and that are suppressed, by each feature.
const ROLE_TOKENS: usize = 20;
/// Nearest features of each feature.
const ROLE_NEIGHBOURS: usize = 20;
/// Seconds between two checkpoints at least, as a multiple of what one takes.
const CHECKPOINT_COST: f64 = 20.0;
/// Most values of labels that are taken for classes.
const MAX_CLASSES: usize = 1000;
/// Tokens whose active features predict the size of the index.
const SAMPLE_TOKENS: u64 = 1024;

/// A harvest.
#[derive(Clone, Debug)]
pub struct HarvestRequest {
    /// The texts.
    pub corpus: CorpusConfig,
    /// Tokens to read; by default all of the corpus.
    pub tokens: Option<u64>,
    /// Tokens whose activations are indexed, in random sequences.
    pub index_tokens: u64,
    /// The part of the corpus to read.
    pub part: Part,
    /// True if beginnings of sequences and positions of extreme norm count too.
    pub count_all: bool,
    /// How much is kept of each feature.
    pub limits: Limits,
    /// Seconds between two checkpoints at least; more where one takes longer than a twentieth of them.
    pub checkpoint_seconds: f64,
}

/// Seconds between two checkpoints by default.
pub const CHECKPOINT_SECONDS: f64 = 20.0;

/// Tokens that are indexed by default: enough for examples without the feature and for co-activation.
pub const INDEX_TOKENS: u64 = 1 << 17;

/// The size of a harvest, in bytes where nothing else is said.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HarvestPlan {
    /// Tokens of this part.
    pub tokens: u64,
    /// Tokens of the sequences that are indexed, roughly.
    pub index_tokens: u64,
    /// Memory at most, without the model and the autoencoder.
    pub memory: u64,
    /// Disk at most, without the index.
    pub disk: u64,
    /// Disk of the index, roughly.
    pub index: u64,
    /// Active features per token of a sample.
    pub l0: f64,
}

/// Progress of a harvest.
#[derive(Clone, Copy, Debug)]
pub enum HarvestProgress {
    /// So many tokens of this part are read.
    Reading(u64),
    /// The roles of so many features are known.
    Roles(usize),
}

/// The result of a harvest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HarvestReport {
    /// Tokens of this part.
    pub tokens: u64,
    /// Tokens that were there already when the pass began.
    pub resumed: u64,
    /// Features that fired.
    pub fired: usize,
    /// Features.
    pub d_sae: usize,
    /// Seconds that it took.
    pub seconds: f64,
    /// Seconds of model and encoder.
    pub seconds_model: f64,
}

/// How a harvest ended.
#[derive(Debug)]
pub enum Outcome {
    /// Everything is in the sink.
    Finished(HarvestReport),
    /// It was cancelled; another pass continues it.
    Cancelled {
        /// Tokens that are in the sink.
        tokens: u64,
    },
}

/// A harvest that is ready to run: everything is open and checked.
pub struct HarvestJob<'a> {
    lm: &'a LanguageModel,
    sae: &'a Sae,
    corpus: Corpus,
    header: HarvestHeader,
    plan: HarvestPlan,
    checkpoint_seconds: f64,
    /// Doubts found so far.
    pub warnings: Vec<Warning>,
}

impl<'a> HarvestJob<'a> {
    /// Opens the corpus of a harvest and checks all of it. `folder` is where its output will be, `origin`
    /// says how model and autoencoder were opened, `cache` keeps the tokens of texts for the next time,
    /// `on_reading` sees how far texts are read.
    ///
    /// # Errors
    /// When model and autoencoder do not fit, texts cannot be read, or the disk has too little room.
    pub fn prepare(
        (lm, named): (&'a LanguageModel, &'a NamedSae),
        request: &HarvestRequest,
        origin: Origin,
        (folder, cache): (&Path, Option<&Path>),
        on_reading: &mut dyn FnMut(corpus::Progress),
    ) -> Result<HarvestJob<'a>> {
        let sae = &named.sae;
        crate::features::check(&lm.model, sae)?;
        lm.check_context(request.corpus.context)?;
        let corpus = Corpus::open(&request.corpus, &lm.tokenizer, cache, on_reading)?;
        let config = config(lm, sae, &corpus, request)?;
        let header = HarvestHeader {
            saescope: env!("CARGO_PKG_VERSION").to_owned(),
            origin,
            sae_digest: weights_digest(sae),
            d_sae: sae.d_sae(),
            corpus: request.corpus.clone(),
            corpus_digest: corpus.digest().to_owned(),
            config,
            parts: vec![request.part],
        };
        let plan = plan(lm, sae, &corpus, &header)?;
        if plan.tokens == 0 {
            let part = request.part;
            return Err(Error::Argument(format!(
                "part {part} has no text: the corpus has {} sequences only; read it in fewer parts",
                header.config.sequences
            )));
        }
        let needs = Needs {
            job: Job::Harvest,
            memory: plan.memory,
            disk: plan.disk + plan.index,
        };
        let mut warnings: Vec<Warning> = needs.check(folder)?.into_iter().collect();
        let first: Vec<Vec<u32>> = corpus.first_sequences(SAMPLE_TOKENS);
        warnings.extend(named.check_sequences(lm, &first));
        Ok(HarvestJob {
            lm,
            sae,
            corpus,
            header,
            plan,
            checkpoint_seconds: request.checkpoint_seconds,
            warnings,
        })
    }

    /// Its size, memory and disk.
    pub fn plan(&self) -> &HarvestPlan {
        &self.plan
    }

    /// Everything that determines its result.
    pub fn header(&self) -> &HarvestHeader {
        &self.header
    }

    /// The corpus.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// The tokens of the model.
    pub fn vocabulary(&self) -> Vocabulary {
        Vocabulary::of(&self.lm.tokenizer)
    }

    /// Reads the corpus from where an earlier pass ended. Once `cancel` is raised, the pass ends with a
    /// checkpoint after the block at hand.
    ///
    /// # Errors
    /// When the model fails on a sequence, or the sink fails.
    pub fn run(
        &self,
        sink: &mut dyn Sink,
        cancel: &Cancel,
        on_progress: &mut dyn FnMut(HarvestProgress),
    ) -> Result<Outcome> {
        let start = Instant::now();
        let config = &self.header.config;
        let reader = BlockReader {
            model: &self.lm.model,
            sae: self.sae,
            corpus: &self.corpus,
            config,
        };
        let blocks = self.blocks(&reader);
        let saved = match sink.saved()? {
            Some(saved) => saved,
            None => self.nothing_saved(blocks.start),
        };
        let mut evidence = saved.evidence;
        let resumed = self.tokens(&reader, blocks.start..saved.next_block);
        let mut done = resumed;
        let mut seconds_model = 0.0;
        let mut pending: Vec<Block> = Vec::new();
        let mut checkpoints = Checkpoints::new(self.checkpoint_seconds);
        on_progress(HarvestProgress::Reading(done));
        for number in saved.next_block..blocks.end {
            let begun = Instant::now();
            let mut block = reader.read(number)?;
            seconds_model += begun.elapsed().as_secs_f64();
            evidence.add(&block);
            done += block
                .sequences
                .iter()
                .map(|s| s.tokens.len() as u64)
                .sum::<u64>();
            block.keep_indexed();
            pending.push(block);
            let last = number + 1 == blocks.end;
            if last || cancel.is_raised() || checkpoints.are_due() {
                evidence.trim();
                checkpoints.take(|| sink.checkpoint(&pending, &evidence))?;
                pending.clear();
            }
            on_progress(HarvestProgress::Reading(done));
            if cancel.is_raised() && !last {
                return Ok(Outcome::Cancelled { tokens: done });
            }
        }
        if !saved.finished {
            self.finish(sink, on_progress)?;
        }
        Ok(Outcome::Finished(HarvestReport {
            tokens: done,
            resumed,
            fired: fired(&evidence),
            d_sae: self.header.d_sae,
            seconds: start.elapsed().as_secs_f64(),
            seconds_model,
        }))
    }

    fn nothing_saved(&self, next_block: u32) -> Saved {
        let config = &self.header.config;
        Saved {
            next_block,
            evidence: CorpusEvidence::new(
                config.limits,
                self.header.d_sae,
                self.lm.tokenizer.d_vocab(),
                config.classes.len(),
            ),
            finished: false,
        }
    }

    /// Hands the roles of all features to the sink.
    fn finish(
        &self,
        sink: &mut dyn Sink,
        on_progress: &mut dyn FnMut(HarvestProgress),
    ) -> Result<()> {
        on_progress(HarvestProgress::Roles(0));
        let mut report = |features| on_progress(HarvestProgress::Roles(features));
        let model = &self.lm.model;
        let roles = roles(model, self.sae, ROLE_TOKENS, ROLE_NEIGHBOURS, &mut report)?;
        sink.finish(&roles)
    }

    fn blocks(&self, reader: &BlockReader) -> std::ops::Range<u32> {
        let part = self.header.parts.first().copied().unwrap_or_default();
        part.blocks(reader.blocks())
    }

    fn tokens(&self, reader: &BlockReader, blocks: std::ops::Range<u32>) -> u64 {
        tokens_of(&self.corpus, reader.config, blocks)
    }
}

/// Number of features that fired.
fn fired(evidence: &CorpusEvidence) -> usize {
    let fired = |f: &&FeatureEvidence| f.counted.count + f.left_out.count > 0;
    evidence.features.iter().filter(fired).count()
}

/// Tokens of some blocks.
fn tokens_of(corpus: &Corpus, config: &HarvestConfig, blocks: std::ops::Range<u32>) -> u64 {
    let end = (blocks.end * config.block).min(config.sequences);
    let sequences = blocks.start * config.block..end;
    sequences
        .map(|sequence| corpus.sequence_len(sequence as usize) as u64)
        .sum()
}

/// The time of checkpoints: they shall take a small part of all time.
struct Checkpoints {
    /// Seconds between two at least.
    seconds: f64,
    last: Instant,
    cost: Duration,
}

impl Checkpoints {
    fn new(seconds: f64) -> Checkpoints {
        Checkpoints {
            seconds,
            last: Instant::now(),
            cost: Duration::ZERO,
        }
    }

    fn are_due(&self) -> bool {
        let wait = (CHECKPOINT_COST * self.cost.as_secs_f64()).max(self.seconds);
        self.last.elapsed().as_secs_f64() > wait
    }

    fn take<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.cost = begun.elapsed();
        self.last = Instant::now();
        done
    }
}

fn config(
    lm: &LanguageModel,
    sae: &Sae,
    corpus: &Corpus,
    request: &HarvestRequest,
) -> Result<HarvestConfig> {
    let classes = corpus.label_names();
    if classes.len() > MAX_CLASSES {
        return Err(Error::Argument(format!(
            "the labels have {} values, too many for classes (the limit is {MAX_CLASSES}); name a field \
             with few",
            classes.len()
        )));
    }
    let (sequences, tokens) = sequences_of(corpus, request.tokens);
    let bos = lm.tokenizer.bos().filter(|_| !request.count_all);
    let norm_limit = match request.count_all {
        true => None,
        false => Some(norm_limit(&lm.model, sae.site()?, corpus, bos)?),
    };
    let of_tokens = |tokens: usize| (tokens / corpus.context().max(1)).max(1) as u32;
    let (least, most) = (of_tokens(PASS_TOKENS), of_tokens(BLOCK_TOKENS));
    Ok(HarvestConfig {
        limits: request.limits,
        sequences,
        block: (sequences / MIN_BLOCKS).clamp(least, most),
        bos,
        norm_limit,
        indexed: (request.index_tokens as f64 / tokens.max(1) as f64).min(1.0),
        classes,
    })
}

/// The number of the first sequences that have `tokens` tokens together, and their tokens.
fn sequences_of(corpus: &Corpus, tokens: Option<u64>) -> (u32, u64) {
    let wanted = tokens.unwrap_or(u64::MAX);
    let (mut sequences, mut found) = (0, 0);
    while found < wanted && sequences < corpus.sequences() {
        found += corpus.sequence_len(sequences) as u64;
        sequences += 1;
    }
    (sequences as u32, found)
}

/// SHA-256 of an autoencoder's weights.
pub fn weights_digest(sae: &Sae) -> String {
    let ((w_enc, b_enc), (w_dec, b_dec)) = (sae.encoder(), sae.decoder());
    let mut digest = Digest::new();
    for numbers in [w_enc.data(), b_enc, w_dec.data(), b_dec] {
        for numbers in numbers.chunks(1 << 16) {
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            digest.add(&bytes);
        }
    }
    digest.hex()
}

fn plan(
    lm: &LanguageModel,
    sae: &Sae,
    corpus: &Corpus,
    header: &HarvestHeader,
) -> Result<HarvestPlan> {
    /// Bytes in memory of a firing, before the next trim twice as many as are kept.
    const FIRING: u64 = 2 * 12;
    /// Bytes of a feature without its firings: in memory, and in the file with its role.
    const FEATURE: u64 = 1200;
    const FEATURE_ON_DISK: u64 = 1600;
    /// Bytes of a firing, of a token and of an indexed activation in the file.
    const FIRING_ON_DISK: u64 = 7;
    const TOKEN_ON_DISK: u64 = 16;
    const INDEXED: f64 = 6.0;
    /// Bytes of a token in memory at the end of the pass, and of an empty file.
    const TOKEN: u64 = 12;
    const EMPTY: u64 = 300_000;

    let config = &header.config;
    let blocks = config.sequences.div_ceil(config.block);
    let part = header.parts.first().copied().unwrap_or_default();
    let tokens = tokens_of(corpus, config, part.blocks(blocks));
    let l0 = l0(lm, sae, corpus)?;
    let limits = &config.limits;
    // About a hundred bins of a histogram are in use, and each kept position has two others around it.
    let kept = 3 * (limits.top + limits.sample + 100 * limits.per_bin) as u64;
    let firings = (kept * header.d_sae as u64).min((tokens as f64 * l0) as u64 + 1);
    let block = u64::from(config.block) * corpus.context() as u64;
    let index_tokens = (tokens as f64 * config.indexed) as u64;
    let d_vocab = lm.tokenizer.d_vocab() as u64;
    Ok(HarvestPlan {
        tokens,
        index_tokens,
        memory: header.d_sae as u64 * FEATURE
            + firings * FIRING
            + 24 * d_vocab
            + tokens * TOKEN
            + (block as f64 * l0 * 20.0) as u64,
        disk: EMPTY
            + header.d_sae as u64 * FEATURE_ON_DISK
            + firings * FIRING_ON_DISK
            + tokens * TOKEN_ON_DISK
            + 8 * d_vocab,
        index: (index_tokens as f64 * l0 * INDEXED) as u64,
        l0,
    })
}

/// Active features per token of the first sequences.
fn l0(lm: &LanguageModel, sae: &Sae, corpus: &Corpus) -> Result<f64> {
    let sequences = corpus.first_sequences(SAMPLE_TOKENS);
    let (mut active, mut tokens) = (0, 0);
    for batch in TextBatches::new(&sequences, PASS_TOKENS) {
        let x = batch.activations(&lm.model, sae.site()?, &mut ())?; // [tokens, d_in]
        let features = sae.encode(&x)?.features;
        active += features.len();
        tokens += features.rows();
    }
    Ok(active as f64 / tokens.max(1) as f64)
}
