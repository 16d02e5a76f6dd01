//! Activations as a model computes them, in an order by chance.

use std::time::Instant;

use saescope_kernels::{Matrix, copy_rows};
use serde::{Deserialize, Serialize};

use super::Batch;
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::hook::{Hook, Rows};
use crate::model::{Model, PASS_TOKENS};
use crate::shuffle;
use crate::site::Site;

/// Which activations, and how they are mixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    /// Where activations are taken.
    pub site: Site,
    /// Where a transcoder's targets are taken.
    pub out_site: Option<Site>,
    /// Tokens of a batch.
    pub batch_tokens: usize,
    /// Tokens that are mixed with each other: the largest multiple of `batch_tokens` that is not more,
    /// but one batch at least.
    pub buffer_tokens: usize,
    /// Whether the first token of every sequence is left out: its activation is like no other.
    pub skip_first: bool,
    /// Seed of the order within a buffer.
    pub seed: u64,
}

impl StreamConfig {
    /// Tokens of a buffer.
    fn fill_tokens(&self) -> usize {
        let batches = (self.buffer_tokens / self.batch_tokens.max(1)).max(1);
        batches * self.batch_tokens
    }
}

/// Batches of activations without end: behind the last sequence of a corpus its next epoch begins.
///
/// A buffer is filled with the activations of successive sequences, each at a place by chance, and
/// handed out. What fill `n` holds depends on the corpus, the seed and `n` alone, so that
/// [`Stream::seek`] goes anywhere at the price of one fill. A sequence that does not end with its
/// buffer is run again for the next one: no token is left out, and none comes twice in an epoch.
pub struct Stream<'a> {
    model: &'a Model,
    corpus: &'a Corpus,
    config: StreamConfig,
    /// Tokens of an epoch.
    epoch_tokens: u64,
    /// Number of the next batch.
    next: u64,
    /// Number of the fill in `buffer`, once there is one.
    filled: Option<u64>,
    buffer: Buffer,
    /// The order of the sequences in the epoch last read.
    order: Option<(u64, Vec<u32>)>,
    seconds_model: f64,
    seconds_buffer: f64,
}

/// The activations of a fill.
#[derive(Default)]
struct Buffer {
    /// `[tokens, d_in]`
    x: Matrix,
    /// `[tokens, d_out]`
    target: Option<Matrix>,
}

impl<'a> Stream<'a> {
    /// Activations of `corpus` in `model`.
    ///
    /// # Errors
    /// When the model lacks a site, or nothing is to be had.
    pub fn new(model: &'a Model, corpus: &'a Corpus, config: StreamConfig) -> Result<Stream<'a>> {
        for site in std::iter::once(config.site).chain(config.out_site) {
            model.check_site(site)?;
            width(model, site)?;
        }
        if config.batch_tokens == 0 {
            return Err(Error::Argument(
                "a batch needs at least one token".to_owned(),
            ));
        }
        if config.fill_tokens() > u32::MAX as usize {
            return Err(Error::Argument(
                "a buffer holds at most 2^32 tokens".to_owned(),
            ));
        }
        let skipped = u64::from(config.skip_first) * corpus.sequences() as u64;
        let epoch_tokens = corpus.tokens() - skipped;
        if epoch_tokens == 0 {
            return Err(Error::Argument(
                "no sequence has a token behind its first; do not skip the first".to_owned(),
            ));
        }
        Ok(Stream {
            model,
            corpus,
            config,
            epoch_tokens,
            next: 0,
            filled: None,
            buffer: Buffer::default(),
            order: None,
            seconds_model: 0.0,
            seconds_buffer: 0.0,
        })
    }

    /// Goes to where `batches_done` batches were handed out.
    pub fn seek(&mut self, batches_done: u64) {
        self.next = batches_done;
    }

    /// What is streamed.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// Width of what is read.
    pub fn d_in(&self) -> usize {
        self.model.width(self.config.site).unwrap_or(0)
    }

    /// Width of a transcoder's targets.
    pub fn d_out(&self) -> Option<usize> {
        self.model.width(self.config.out_site?)
    }

    /// Tokens of an epoch.
    pub fn epoch_tokens(&self) -> u64 {
        self.epoch_tokens
    }

    /// How often the corpus was handed out, as a fraction.
    pub fn epochs(&self) -> f64 {
        self.next as f64 * self.config.batch_tokens as f64 / self.epoch_tokens as f64
    }

    /// Seconds that the model took so far.
    pub fn seconds_model(&self) -> f64 {
        self.seconds_model
    }

    /// Seconds that mixing and copying took so far.
    pub fn seconds_buffer(&self) -> f64 {
        self.seconds_buffer
    }

    /// Bytes that are held besides the model's weights and the corpus: the buffer, a batch, and
    /// roughly what a forward pass takes.
    pub fn predicted_bytes(&self) -> u64 {
        let config = self.model.config();
        let row = self.d_in() + self.d_out().unwrap_or(0);
        let rows = self.config.fill_tokens() + self.config.batch_tokens;
        // Eight matrices as wide as the residual stream are in use at most, and two hidden ones.
        let pass = PASS_TOKENS.max(self.corpus.context());
        let pass_row = 8 * config.d_model + 2 * config.d_mlp;
        4 * (rows * row + self.config.fill_tokens() + pass * pass_row) as u64
    }

    /// The next batch.
    fn batch(&mut self) -> Result<Batch> {
        let (batch, fill) = (self.config.batch_tokens, self.config.fill_tokens());
        let batches = (fill / batch) as u64;
        let wanted = self.next / batches;
        if self.filled != Some(wanted) {
            self.filled = None;
            self.fill(wanted)?;
            self.filled = Some(wanted);
        }
        let start = Instant::now();
        let first = (self.next % batches) as usize * batch;
        let cut = |matrix: &Matrix| matrix.copy_of_rows(first..first + batch);
        let batch = Batch {
            x: cut(&self.buffer.x),
            target: self.buffer.target.as_ref().map(cut),
        };
        self.next += 1;
        self.seconds_buffer += start.elapsed().as_secs_f64();
        Ok(batch)
    }

    /// Computes the activations of a fill.
    fn fill(&mut self, number: u64) -> Result<()> {
        let start = Instant::now();
        let tokens = self.config.fill_tokens();
        let mut random = shuffle::random(self.config.seed, number);
        let places = shuffle::permutation(tokens as u32, &mut random);
        self.buffer.x.reshape(tokens, self.d_in());
        if let Some(d_out) = self.d_out() {
            let target = self.buffer.target.get_or_insert_default();
            target.reshape(tokens, d_out);
        }
        let stretches = self.stretches(number, tokens as u64);
        self.seconds_buffer += start.elapsed().as_secs_f64();
        let mut places = places.as_slice();
        let mut rest = stretches.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(pass_len(self.corpus, rest));
            let rows = now.iter().map(|stretch| stretch.rows).sum();
            let (here, further) = places.split_at(rows);
            self.run(now, here)?;
            (rest, places) = (later, further);
        }
        Ok(())
    }

    /// Runs some sequences and puts their activations in their places.
    fn run(&mut self, stretches: &[Stretch], places: &[u32]) -> Result<()> {
        let start = Instant::now();
        let sequences: Vec<Vec<u32>> = stretches
            .iter()
            // Nothing behind the last wanted token is needed.
            .map(|stretch| {
                let mut tokens = self.corpus.sequence(stretch.sequence as usize);
                tokens.truncate(stretch.first + stretch.rows);
                tokens
            })
            .collect();
        let prompts: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
        let mut scatter = Scatter {
            sites: (self.config.site, self.config.out_site),
            buffer: &mut self.buffer,
            stretches,
            places,
            seconds: 0.0,
        };
        self.model.run(&prompts, &mut scatter)?;
        let copying = scatter.seconds;
        self.seconds_model += start.elapsed().as_secs_f64() - copying;
        self.seconds_buffer += copying;
        Ok(())
    }

    /// The stretches of sequences that make a fill.
    fn stretches(&mut self, fill: u64, tokens: u64) -> Vec<Stretch> {
        let skip = usize::from(self.config.skip_first);
        let mut epoch = fill * tokens / self.epoch_tokens;
        let mut before = fill * tokens % self.epoch_tokens;
        let mut missing = tokens as usize;
        let mut stretches = Vec::new();
        while missing > 0 {
            if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
                self.order = Some((epoch, self.corpus.order(epoch)));
            }
            let order = self.order.iter().flat_map(|(_, order)| order);
            for &sequence in order {
                let len = self.corpus.sequence_len(sequence as usize) - skip;
                if before >= len as u64 {
                    before -= len as u64;
                    continue;
                }
                let rows = (len - before as usize).min(missing);
                stretches.push(Stretch {
                    sequence,
                    first: skip + before as usize,
                    rows,
                });
                missing -= rows;
                before = 0;
                if missing == 0 {
                    break;
                }
            }
            epoch += 1;
        }
        stretches
    }
}

impl Iterator for Stream<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        Some(self.batch())
    }
}

fn width(model: &Model, site: Site) -> Result<usize> {
    model.width(site).ok_or_else(|| Error::Site {
        site: site.to_string(),
        reason: "it is as wide as there are tokens, so that no batch can be made of it".to_owned(),
    })
}

/// Successive tokens of a sequence.
struct Stretch {
    sequence: u32,
    /// Position of the first.
    first: usize,
    rows: usize,
}

/// How many of the sequences go through the model at once.
fn pass_len(corpus: &Corpus, stretches: &[Stretch]) -> usize {
    let mut tokens = 0;
    let fits = |stretch: &&Stretch| {
        tokens += corpus.sequence_len(stretch.sequence as usize);
        tokens <= PASS_TOKENS
    };
    stretches.iter().take_while(fits).count().max(1)
}

/// Puts activations in their places in a buffer.
struct Scatter<'a> {
    sites: (Site, Option<Site>),
    buffer: &'a mut Buffer,
    stretches: &'a [Stretch],
    places: &'a [u32],
    seconds: f64,
}

impl Hook for Scatter<'_> {
    fn wants(&self, site: Site) -> bool {
        site == self.sites.0 || Some(site) == self.sites.1
    }

    fn at(&mut self, site: Site, rows: &Rows, x: Matrix) -> Result<Matrix> {
        let start = Instant::now();
        if site == self.sites.0 {
            scatter(&x, rows, (self.stretches, self.places), &mut self.buffer.x);
        }
        if let (Some(out), Some(target)) = (self.sites.1, &mut self.buffer.target)
            && site == out
        {
            scatter(&x, rows, (self.stretches, self.places), target);
        }
        self.seconds += start.elapsed().as_secs_f64();
        Ok(x)
    }
}

fn scatter(x: &Matrix, rows: &Rows, (stretches, places): (&[Stretch], &[u32]), to: &mut Matrix) {
    let mut start = 0;
    let mut wanted = Vec::with_capacity(places.len());
    for (span, stretch) in rows.spans().iter().zip(stretches) {
        wanted.extend(start + stretch.first..start + span.len);
        start += span.len;
    }
    let places: Vec<usize> = places.iter().map(|&place| place as usize).collect();
    copy_rows(x, &wanted, to, &places);
}
