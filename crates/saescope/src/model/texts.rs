//! Many texts through a model, one batch at a time.
//!
//! This is the only loop over texts in the library. It owns which texts share a pass and which rows
//! of a pass belong to which text. It knows no autoencoder, and it holds the tokens of one batch and
//! the activations that its caller asks for, never more: texts may come from an endless iterator.
//!
//! A hook takes part in every pass of a batch. At each site that it wants it is called once, with the
//! rows of all texts of the batch one after another; [`Rows`](crate::hook::Rows) says where a text
//! begins and at which position each row stands. Every text begins at position 0. Activations are
//! returned as the hook leaves them. Batches are ragged, so the other texts of a batch change no bit
//! of a result, and neither does the number of tokens that a pass reads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::iter::Peekable;
use std::ops::Range;

use saescope_kernels::Matrix;

use super::Model;
use crate::error::Result;
use crate::hook::{Capture, Hook};
use crate::site::Site;

/// A good number of tokens per pass when there are many texts: enough for efficient products, few
/// enough for the activations that pass from one step of a block to the next to stay in the caches.
pub const PASS_TOKENS: usize = 512;

/// Groups successive texts, given as token ids, into batches of at most `tokens` tokens; a longer text
/// is a batch of its own.
///
/// ```
/// use saescope::model::TextBatches;
///
/// let texts: [&[u32]; 3] = [&[1, 2, 3], &[4], &[5, 6]];
/// let batches: Vec<_> = TextBatches::new(texts, 4).map(|batch| batch.numbers()).collect();
/// assert_eq!(batches, [0..2, 2..3]);
/// ```
pub struct TextBatches<I: Iterator> {
    texts: Peekable<I>,
    tokens: usize,
    /// Number of the next text.
    next: usize,
}

/// Successive texts that share a pass.
pub struct TextBatch<T> {
    /// Number of the first text.
    first: usize,
    texts: Vec<T>,
}

/// One text of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchText<'a> {
    /// Its number among all texts, from 0.
    pub number: usize,
    /// Its token ids.
    pub tokens: &'a [u32],
    /// Its rows in the activations of the batch; the first of them is at position 0 of the text.
    pub rows: Range<usize>,
}

impl<I: Iterator> TextBatches<I> {
    /// Batches of `texts`, which are numbered in their order.
    pub fn new(texts: impl IntoIterator<IntoIter = I>, tokens: usize) -> TextBatches<I> {
        TextBatches {
            texts: texts.into_iter().peekable(),
            tokens,
            next: 0,
        }
    }
}

impl<T: AsRef<[u32]>, I: Iterator<Item = T>> Iterator for TextBatches<I> {
    type Item = TextBatch<T>;

    fn next(&mut self) -> Option<TextBatch<T>> {
        let text = self.texts.next()?;
        let mut held = text.as_ref().len();
        let mut texts = vec![text];
        let most = self.tokens;
        while let Some(text) = self
            .texts
            .next_if(|text| held + text.as_ref().len() <= most)
        {
            held += text.as_ref().len();
            texts.push(text);
        }
        let first = self.next;
        self.next += texts.len();
        Some(TextBatch { first, texts })
    }
}

impl<T: AsRef<[u32]>> TextBatch<T> {
    /// The numbers of its texts.
    pub fn numbers(&self) -> Range<usize> {
        self.first..self.first + self.texts.len()
    }

    /// Its texts, in row order.
    pub fn texts(&self) -> impl Iterator<Item = BatchText<'_>> {
        let mut end = 0;
        self.texts.iter().enumerate().map(move |(index, text)| {
            let tokens = text.as_ref();
            let start = end;
            end += tokens.len();
            BatchText {
                number: self.first + index,
                tokens,
                rows: start..end,
            }
        })
    }

    /// The position in its text of every row, in row order.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.texts.iter().flat_map(|text| 0..text.as_ref().len())
    }

    /// The number of its tokens, which is the number of rows of its activations.
    pub fn rows(&self) -> usize {
        self.texts.iter().map(|text| text.as_ref().len()).sum()
    }

    /// The token ids of its texts, as the methods of [`Model`] take them.
    pub fn prompts(&self) -> Vec<&[u32]> {
        self.texts.iter().map(AsRef::as_ref).collect()
    }

    /// Runs `model` as far as the last site that `hook` wants.
    ///
    /// A hook that reduces each activation as it comes, to a mean say, holds less than
    /// [`TextBatch::activations_at`] when there are many sites.
    ///
    /// # Errors
    /// Those of [`Model::run`].
    pub fn run(&self, model: &Model, hook: &mut dyn Hook) -> Result<()> {
        model.run(&self.prompts(), hook)
    }

    /// Runs `model` from `site` on, where a pass of this batch had `resid`, `[rows, d_model]`.
    ///
    /// # Errors
    /// Those of [`Model::run_from`].
    pub fn run_from(
        &self,
        model: &Model,
        site: Site,
        resid: Matrix,
        hook: &mut dyn Hook,
    ) -> Result<()> {
        model.run_from(site, resid, &self.prompts(), hook)
    }

    /// The activations at `site` as `hook` leaves them, `[rows, width]`.
    ///
    /// # Errors
    /// Those of [`Model::activations`].
    pub fn activations(&self, model: &Model, site: Site, hook: &mut dyn Hook) -> Result<Matrix> {
        model.activations(&self.prompts(), site, hook)
    }

    /// The activations at each of `sites` as `hook` leaves them, `[rows, width]` each, of one pass.
    ///
    /// Ask for [`Site::FinalNorm`] where logits are needed and unembed a few rows at a time with
    /// [`Model::project`]: the logits of a whole batch may take more memory than everything else.
    ///
    /// # Errors
    /// Those of [`Model::run`], and when the model lacks a site.
    pub fn activations_at(
        &self,
        model: &Model,
        sites: impl IntoIterator<Item = Site>,
        hook: &mut dyn Hook,
    ) -> Result<BTreeMap<Site, Matrix>> {
        let sites: Vec<Site> = sites.into_iter().collect();
        let mut capture = Capture::new(sites.iter().copied());
        self.run(model, &mut (hook, &mut capture))?;
        let mut activations = BTreeMap::new();
        for site in sites {
            if let Entry::Vacant(entry) = activations.entry(site) {
                entry.insert(capture.take(site)?);
            }
        }
        Ok(activations)
    }
}

impl Model {
    /// The activations of `prompts` at `site` as `hook` leaves them, `[all tokens, width]`.
    ///
    /// # Errors
    /// Those of [`Model::run`], and when the model lacks the site.
    pub fn activations(
        &self,
        prompts: &[&[u32]],
        site: Site,
        hook: &mut dyn Hook,
    ) -> Result<Matrix> {
        let mut capture = Capture::new([site]);
        self.run(prompts, &mut (hook, &mut capture))?;
        capture.take(site)
    }
}

#[cfg(test)]
mod tests {
    use saescope_kernels::Precision;

    use super::*;
    use crate::model::{Config, LayerConfig};

    fn texts(lens: &[u32]) -> Vec<Vec<u32>> {
        lens.iter().map(|&len| (0..len).collect()).collect()
    }

    fn batches(lens: &[u32], tokens: usize) -> Vec<Range<usize>> {
        let batches = TextBatches::new(texts(lens), tokens);
        batches.map(|batch| batch.numbers()).collect()
    }

    #[test]
    fn a_batch_holds_the_texts_that_fit_and_at_least_one() {
        assert_eq!(batches(&[3, 4, 9, 1, 5, 2], 7), [0..2, 2..3, 3..5, 5..6]);
        assert!(batches(&[], 7).is_empty());
    }

    #[test]
    fn an_endless_iterator_is_read_one_batch_and_one_text_ahead() {
        let mut read = 0;
        let endless = std::iter::from_fn(|| {
            read += 1;
            Some([1_u32, 2, 3])
        });
        let batch = TextBatches::new(endless, 7).next().unwrap();
        assert_eq!(batch.numbers(), 0..2);
        assert_eq!(read, 3);
    }

    #[test]
    fn the_batches_of_texts_change_no_bit_and_their_rows_are_told_apart() {
        let config = Config {
            n_ctx: 16,
            d_vocab: 20,
            d_model: 16,
            n_heads: 2,
            n_kv_heads: 2,
            d_head: 8,
            d_mlp: 24,
            layers: vec![LayerConfig::learned(); 2],
            ..Config::gpt2_small()
        };
        let model = Model::random(config, Precision::F32, 1);
        let texts = texts(&[3, 4, 9, 1, 5, 2]);
        let sites = [Site::ResidPre(1), Site::FinalNorm];
        for tokens in [1, 7, 100] {
            for batch in TextBatches::new(&texts, tokens) {
                let together = batch.activations_at(&model, sites, &mut ()).unwrap();
                let positions: Vec<usize> = batch.positions().collect();
                assert_eq!(positions.len(), batch.rows());
                for text in batch.texts() {
                    assert_eq!(text.tokens, texts[text.number]);
                    assert_eq!(positions[text.rows.start], 0);
                    let rows: Vec<usize> = text.rows.collect();
                    for site in sites {
                        let alone = model.activations(&[text.tokens], site, &mut ()).unwrap();
                        assert_eq!(together[&site].select_rows(&rows), alone, "{site}");
                    }
                }
            }
        }
    }
}
