//! Activations as a model computes them, in random order.

use std::time::Instant;

use saescope_kernels::{Matrix, copy_rows};
use serde::{Deserialize, Serialize};

use super::batch::{Batch, Batches, Clocks};
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::hook::{Hook, Rows};
use crate::model::{Model, PASS_TOKENS, TextBatches};
use crate::shuffle;
use crate::site::Site;

/// The activations of a stream, and how they are mixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    /// The site of the activations.
    pub site: Site,
    /// The site of a transcoder's targets.
    pub out_site: Option<Site>,
    /// Tokens of a batch.
    pub batch_tokens: usize,
    /// Tokens that are mixed with each other, rounded down to a multiple of `batch_tokens`, but at least
    /// one batch.
    pub buffer_tokens: usize,
    /// True if the first token of every sequence is omitted: its activation is like no other.
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

/// Batches of activations without end: after the last sequence of a corpus its next epoch begins.
///
/// A buffer is filled with the activations of successive sequences, each at a random place, and handed
/// out. The contents of fill `n` depend on the corpus, the seed and `n` alone, so that
/// [`Batches::seek`] costs one fill wherever it goes. A sequence that does not end with its buffer is
/// run again for the next one: every token comes once in an epoch.
pub struct Stream<'a> {
    model: &'a Model,
    corpus: &'a Corpus,
    config: StreamConfig,
    /// Tokens of an epoch.
    epoch_tokens: u64,
    /// Number of the next batch.
    next: u64,
    /// Number of the fill that is in `buffer`; none before the first.
    filled: Option<u64>,
    buffer: Buffer,
    /// The epoch that was read last, and the order of its sequences.
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
    /// A stream of the activations of `corpus` in `model`.
    ///
    /// # Errors
    /// When the model lacks a site, the site has no fixed width, or a batch or an epoch would be empty.
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
                "every sequence has a single token; do not set `skip_first`".to_owned(),
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

    /// The configuration.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// Width of the activations that an autoencoder reads.
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

    /// Number of epochs that were handed out, as a fraction.
    pub fn epochs(&self) -> f64 {
        self.next as f64 * self.config.batch_tokens as f64 / self.epoch_tokens as f64
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
        let segments = self.segments(number, tokens as u64);
        self.seconds_buffer += start.elapsed().as_secs_f64();
        self.run(&segments, &places)
    }

    /// Runs the sequences of `segments` and scatters their activations over `places`.
    fn run(&mut self, segments: &[Segment], places: &[u32]) -> Result<()> {
        let start = Instant::now();
        let (model, corpus) = (self.model, self.corpus);
        let mut scatter = Scatter {
            site: self.config.site,
            out_site: self.config.out_site,
            buffer: &mut self.buffer,
            segments: &[],
            places,
            seconds: 0.0,
        };
        let sequences = segments.iter().map(|segment| {
            let mut tokens = corpus.sequence(segment.sequence as usize);
            // Tokens after the last wanted one are not needed.
            tokens.truncate(segment.first + segment.rows);
            tokens
        });
        for batch in TextBatches::new(sequences, PASS_TOKENS) {
            scatter.segments = &segments[batch.numbers()];
            batch.run(model, &mut scatter)?;
            let rows: usize = scatter.segments.iter().map(|segment| segment.rows).sum();
            scatter.places = &scatter.places[rows..];
        }
        let copying = scatter.seconds;
        self.seconds_model += start.elapsed().as_secs_f64() - copying;
        self.seconds_buffer += copying;
        Ok(())
    }

    /// The parts of sequences that make up a fill.
    fn segments(&mut self, fill: u64, tokens: u64) -> Vec<Segment> {
        let skip = usize::from(self.config.skip_first);
        let mut epoch = fill * tokens / self.epoch_tokens;
        let mut before = fill * tokens % self.epoch_tokens;
        let mut missing = tokens as usize;
        let mut segments = Vec::new();
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
                segments.push(Segment {
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
        segments
    }
}

impl Batches for Stream<'_> {
    fn seek(&mut self, batches_done: u64) {
        self.next = batches_done;
    }

    fn clocks(&self) -> Clocks {
        Clocks {
            seconds_model: self.seconds_model,
            seconds_buffer: self.seconds_buffer,
        }
    }

    /// Bytes of the buffer, a batch, and roughly a forward pass.
    fn predicted_bytes(&self) -> u64 {
        let config = self.model.config();
        let row = self.d_in() + self.d_out().unwrap_or(0);
        let rows = self.config.fill_tokens() + self.config.batch_tokens;
        // A pass uses at most eight matrices as wide as the residual stream, and two hidden ones.
        let pass = PASS_TOKENS.max(self.corpus.context());
        let pass_row = 8 * config.d_model + 2 * config.d_mlp;
        4 * (rows * row + self.config.fill_tokens() + pass * pass_row) as u64
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
        reason: "it is as wide as there are tokens, so that it has no fixed width".to_owned(),
    })
}

/// Successive tokens of a sequence.
struct Segment {
    sequence: u32,
    /// Position of the first token.
    first: usize,
    rows: usize,
}

/// A hook that scatters activations over their places in a buffer.
struct Scatter<'a> {
    site: Site,
    out_site: Option<Site>,
    buffer: &'a mut Buffer,
    segments: &'a [Segment],
    places: &'a [u32],
    seconds: f64,
}

impl Hook for Scatter<'_> {
    fn wants(&self, site: Site) -> bool {
        site == self.site || Some(site) == self.out_site
    }

    fn at(&mut self, site: Site, rows: &Rows, x: Matrix) -> Result<Matrix> {
        let start = Instant::now();
        if site == self.site {
            scatter(&x, rows, self.segments, self.places, &mut self.buffer.x);
        }
        if Some(site) == self.out_site
            && let Some(target) = &mut self.buffer.target
        {
            scatter(&x, rows, self.segments, self.places, target);
        }
        self.seconds += start.elapsed().as_secs_f64();
        Ok(x)
    }
}

/// Copies the rows of `segments` out of `x`, `[tokens, d]`, to `places` in `to`.
fn scatter(x: &Matrix, rows: &Rows, segments: &[Segment], places: &[u32], to: &mut Matrix) {
    let mut start = 0;
    let mut wanted = Vec::new();
    for (span, segment) in rows.spans().iter().zip(segments) {
        wanted.extend(start + segment.first..start + span.len);
        start += span.len;
    }
    // Later places belong to later passes.
    let places = places[..wanted.len()].iter();
    let places: Vec<usize> = places.map(|&place| place as usize).collect();
    copy_rows(x, &wanted, to, &places);
}
