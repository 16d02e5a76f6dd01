//! A language model and its forward pass.
//!
//! One forward pass serves every family; the differences between families are data in [`Config`].
//! Activations are those of the raw checkpoint, neither folded nor centred. Nothing mutates a model: a
//! [`Hook`], an argument of the call, reads or changes activations. The model knows no autoencoder.

mod attention;
mod block;
mod cache;
mod config;
mod load;
mod mlp;
mod pass;
mod random;
mod step;
mod summary;
mod texts;

use std::path::Path;

use saescope_kernels::{
    Matrix, Precision, add_gathered_rows, centre_rows_in_f32, scale_columns, softcap,
};

use self::block::Weights;
pub use self::cache::Cache;
pub use self::config::{Config, Family, LayerConfig, MlpKind, NormKind, Positions};
pub use self::load::Source;
use self::pass::{BatchRows, Halt, Pass, Spare};
use self::step::step;
pub use self::summary::{ModelSummary, RotarySummary, Shapes, SiteKinds};
pub use self::texts::{BatchText, PASS_TOKENS, TextBatch, TextBatches};
use crate::error::{Error, Result};
use crate::hook::{Hook, RowSpan, Rows};
use crate::site::{self, Site, Sites};

/// A language model.
pub struct Model {
    config: Config,
    weights: Weights,
    source: Source,
    spare: Spare,
}

/// Number of rows to unembed at once: enough for an efficient product, few enough for the logits of a
/// large vocabulary to stay small.
pub const UNEMBED_ROWS: usize = 64;

/// The beginning of a pass.
enum Start {
    /// The embeddings of its tokens.
    Tokens,
    /// A place in the residual stream, with the activation there: `[rows, d_model]`.
    Resid(Site, Matrix),
}

/// The logits that a pass returns.
#[derive(Clone, Copy, PartialEq)]
enum Logits {
    /// None: the pass ends after the last wanted site.
    None,
    /// The logits at the last token of each sequence.
    Last,
    /// The logits at every token.
    All,
}

impl Model {
    /// Opens the model in a file or folder, its weights kept as `precision`.
    ///
    /// # Errors
    /// When the family or a configuration key is not supported, a tensor is missing, or a file is
    /// broken.
    pub fn open(path: &Path, precision: Precision) -> Result<Model> {
        let (config, weights, source) = load::load(path, precision)?;
        Ok(Model {
            config,
            weights,
            source,
            spare: Spare::default(),
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The checkpoint it came from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Bytes of memory that its weights take.
    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Number of parameters.
    pub fn n_params(&self) -> usize {
        self.weights.n_params()
    }

    /// The sites of this model, in the order of the forward pass.
    pub fn sites(&self) -> impl DoubleEndedIterator<Item = Site> {
        let parallel = self.config.parallel_residual;
        Site::all(self.config.n_layers())
            .filter(move |site| !(parallel && matches!(site, Site::ResidMid(_))))
    }

    /// Checks that this model has `site`.
    ///
    /// # Errors
    /// When it does not; the message says why.
    pub fn check_site(&self, site: Site) -> Result<()> {
        let reason = match site.layer() {
            Some(layer) if layer >= self.config.n_layers() => {
                format!("the model has layers 0 to {}", self.config.n_layers() - 1)
            }
            _ if self.config.parallel_residual && matches!(site, Site::ResidMid(_)) => {
                let family = self.config.family;
                format!("in {family}, attention and MLP read the same residual stream")
            }
            _ => return Ok(()),
        };
        Err(Error::Site {
            site: site.to_string(),
            reason,
        })
    }

    /// The sites that any of `patterns` selects, in the order of the forward pass, each once.
    ///
    /// # Errors
    /// When a pattern selects no site of this model, with the reason.
    pub fn select_sites(&self, patterns: &[Sites]) -> Result<Vec<Site>> {
        for pattern in patterns {
            if let Sites::One(site) = pattern {
                self.check_site(*site)?;
            }
        }
        site::select(patterns, self.sites())
    }

    /// Width of the activation at `site`; none for attention patterns, whose width depends on the number
    /// of tokens.
    pub fn width(&self, site: Site) -> Option<usize> {
        match site {
            Site::AttnPattern(_) => None,
            Site::AttnZ(_) => Some(self.config.n_heads * self.config.d_head),
            Site::MlpAct(_) => Some(self.config.d_mlp),
            _ => Some(self.config.d_model),
        }
    }

    /// Runs `prompts`, each from its first token, as far as the last site that `hook` wants.
    ///
    /// # Errors
    /// When a prompt is empty or too long, a token is unknown, or the hook fails.
    pub fn run(&self, prompts: &[&[u32]], hook: &mut dyn Hook) -> Result<()> {
        self.pass_once(prompts, Start::Tokens, hook, Logits::None)
            .map(drop)
    }

    /// Runs `prompts` as [`Model::run`] does, but only from `site` on, a place in the residual stream at
    /// which a pass of these prompts had `resid`, `[all tokens, d_model]`.
    ///
    /// The results have the bits of a whole pass if `hook` wants no site before; [`Model::restart`] finds
    /// the last such `site`.
    ///
    /// # Errors
    /// Those of [`Model::run`], and when `site` is not a place in the residual stream of this model or
    /// `resid` has another shape.
    pub fn run_from(
        &self,
        site: Site,
        resid: Matrix,
        prompts: &[&[u32]],
        hook: &mut dyn Hook,
    ) -> Result<()> {
        self.check_site(site)?;
        if !site.is_residual() {
            return Err(Error::Site {
                site: site.to_string(),
                reason: "a pass can only begin in the residual stream".to_owned(),
            });
        }
        let rows = prompts.iter().map(|prompt| prompt.len()).sum();
        let expected = (rows, self.config.d_model);
        if (resid.rows(), resid.cols()) != expected {
            return Err(Error::Shape {
                what: format!("activation with which a pass begins at {site}"),
                expected: format!("{} x {}", expected.0, expected.1),
                found: format!("{} x {}", resid.rows(), resid.cols()),
            });
        }
        let start = Start::Resid(site, resid);
        self.pass_once(prompts, start, hook, Logits::None).map(drop)
    }

    /// The last place in the residual stream at which a pass can begin and still reach every site that
    /// `hook` wants; none if `hook` wants the embeddings, or nothing.
    pub fn restart(&self, hook: &dyn Hook) -> Option<Site> {
        let first = self.sites().position(|site| hook.wants(site))?;
        let before = self.sites().take(first + 1);
        before.filter(|site| site.is_residual()).last()
    }

    /// The logits at every token of `prompts`: `[all tokens, d_vocab]`.
    ///
    /// # Errors
    /// Those of [`Model::run`].
    pub fn logits(&self, prompts: &[&[u32]], hook: &mut dyn Hook) -> Result<Matrix> {
        self.pass_once(prompts, Start::Tokens, hook, Logits::All)
    }

    /// The logits at the last token of each prompt: `[prompts, d_vocab]`.
    ///
    /// # Errors
    /// Those of [`Model::run`].
    pub fn last_logits(&self, prompts: &[&[u32]], hook: &mut dyn Hook) -> Result<Matrix> {
        self.pass_once(prompts, Start::Tokens, hook, Logits::Last)
    }

    /// Appends tokens to sequences of `cache`, each given by its number there, and returns the
    /// logits at the last token of each: `[batch, d_vocab]`.
    ///
    /// # Errors
    /// Those of [`Model::run`]; the cache is then as it was before.
    pub fn extend(
        &self,
        cache: &mut Cache,
        batch: &[(usize, &[u32])],
        hook: &mut dyn Hook,
    ) -> Result<Matrix> {
        self.pass(cache, batch, Start::Tokens, hook, Logits::Last)
    }

    /// The logits of `resid`, a place in the residual stream, as if no further block followed: final norm
    /// and unembedding, `[rows, d_model]` to `[rows, d_vocab]` (the logit lens, nostalgebraist 2020).
    pub fn unembed(&self, resid: &Matrix) -> Matrix {
        let mut normed = Matrix::default();
        let norm = self.weights.final_norm.of(self.config.norm);
        norm.apply(resid, &mut normed);
        self.project(&normed)
    }

    /// The change of the logits per unit of each direction, `[rows, d_model]` to `[rows, d_vocab]`: the
    /// derivative of [`Model::unembed`] along the direction, at a residual of unit size that is orthogonal
    /// to it.
    ///
    /// The gain of the final norm and the centring of a layer norm apply. Its division by the size of its
    /// input, biases and a cap on logits do not.
    pub fn logit_effect(&self, directions: &Matrix) -> Matrix {
        let mut scaled = directions.clone();
        let norm = &self.weights.final_norm;
        if matches!(self.config.norm, NormKind::Layer { .. }) {
            centre_rows_in_f32(&mut scaled);
        }
        scale_columns(&mut scaled, &norm.weight);
        let mut effect = Matrix::default();
        let weight = match &self.weights.unembed {
            Some(linear) => &linear.weight,
            None => &self.weights.embed,
        };
        weight.product(&scaled, None, saescope_kernels::Epilogue::Keep, &mut effect);
        effect
    }

    fn pass_once(
        &self,
        prompts: &[&[u32]],
        start: Start,
        hook: &mut dyn Hook,
        logits: Logits,
    ) -> Result<Matrix> {
        let lens: Vec<usize> = prompts.iter().map(|prompt| prompt.len()).collect();
        let mut cache = Cache::of_one_pass(&self.config, &lens)?;
        let batch: Vec<(usize, &[u32])> = prompts.iter().copied().enumerate().collect();
        self.pass(&mut cache, &batch, start, hook, logits)
    }

    fn pass(
        &self,
        cache: &mut Cache,
        batch: &[(usize, &[u32])],
        start: Start,
        hook: &mut dyn Hook,
        logits: Logits,
    ) -> Result<Matrix> {
        let before: Vec<usize> = batch.iter().map(|&(slot, _)| cache.len(slot)).collect();
        // The whole pass runs on a thread of the pool: products can then be shared out without waking the
        // pool for each.
        let result = rayon::scope(|_| self.pass_in_pool(cache, batch, start, hook, logits));
        match result {
            Ok(logits) => {
                for &(slot, tokens) in batch {
                    cache.extend(slot, tokens.len());
                }
                Ok(logits)
            }
            Err(halt) => {
                for (&(slot, _), len) in batch.iter().zip(before) {
                    cache.truncate(slot, len);
                }
                match halt {
                    Halt::Done => Ok(Matrix::default()),
                    Halt::Failed(error) => Err(error),
                }
            }
        }
    }

    fn pass_in_pool(
        &self,
        cache: &mut Cache,
        batch: &[(usize, &[u32])],
        start: Start,
        hook: &mut dyn Hook,
        logits: Logits,
    ) -> Result<Matrix, Halt> {
        let rows = self.check_batch(cache, batch)?;
        let last = match logits {
            Logits::None => {
                let last = self.sites().rev().find(|&site| hook.wants(site));
                Some(last.ok_or(Halt::Done)?)
            }
            _ => None,
        };
        let slots: Vec<usize> = batch.iter().map(|&(slot, _)| slot).collect();
        let batch_rows = BatchRows {
            slots: &slots,
            rows,
        };
        let mut pass = Pass::new(&self.config, cache, batch_rows, hook, last, &self.spare);
        let (site, x) = match start {
            Start::Tokens => (Site::ResidPre(0), self.embed(batch, &mut pass)?),
            Start::Resid(site, x) => (site, x),
        };
        let mut x = self.blocks(site, &mut pass, x)?; // [rows, d_model]
        if logits == Logits::Last && !pass.wants(Site::FinalNorm) {
            x = x.select_rows(&last_rows(pass.rows()));
        }
        let normed = pass.norm(&self.weights.final_norm, &x);
        let mut normed = pass.at(Site::FinalNorm, normed)?;
        if logits == Logits::Last && normed.rows() != batch.len() {
            normed = normed.select_rows(&last_rows(pass.rows()));
        }
        // Spare matrices are released before the logits, the largest matrix of all, are allocated.
        drop((pass, x));
        Ok(self.project(&normed))
    }

    /// Checks a batch and returns the sequences and positions of its rows.
    fn check_batch(&self, cache: &Cache, batch: &[(usize, &[u32])]) -> Result<Rows> {
        let mut spans = Vec::with_capacity(batch.len());
        for (at, &(slot, tokens)) in batch.iter().enumerate() {
            if batch[..at].iter().any(|&(before, _)| before == slot) {
                return Err(Error::Argument(format!("sequence {slot} is given twice")));
            }
            if tokens.is_empty() {
                return Err(Error::Empty {
                    what: "a prompt".to_owned(),
                });
            }
            if let Some(token) = tokens
                .iter()
                .find(|&&token| token as usize >= self.config.d_vocab)
            {
                let last = self.config.d_vocab - 1;
                let message = format!("unknown token {token}; the model has tokens 0 to {last}");
                return Err(Error::Argument(message));
            }
            let start = cache.len(slot);
            if start + tokens.len() > cache.capacity() {
                let needed = start + tokens.len();
                return Err(Error::ContextOverflow {
                    needed,
                    limit: cache.capacity(),
                });
            }
            spans.push(RowSpan {
                start,
                len: tokens.len(),
            });
        }
        Ok(Rows::new(spans))
    }

    /// The residual stream after the last block, `[rows, d_model]`, of `x` at `site`.
    fn blocks(&self, mut site: Site, pass: &mut Pass, mut x: Matrix) -> Result<Matrix, Halt> {
        let blocks = &self.weights.blocks;
        loop {
            x = pass.at(site, x)?;
            let layer = site.layer().unwrap_or_default();
            (site, x) = match site {
                Site::ResidPost(_) if layer + 1 == blocks.len() => return Ok(x),
                Site::ResidPost(_) => (Site::ResidPre(layer + 1), x),
                _ => step(&blocks[layer], site, pass, x)?,
            };
        }
    }

    /// Token embeddings and learned positions, `[rows, d_model]`.
    fn embed(&self, batch: &[(usize, &[u32])], pass: &mut Pass) -> Result<Matrix, Halt> {
        let tokens: Vec<u32> = batch
            .iter()
            .flat_map(|(_, tokens)| *tokens)
            .copied()
            .collect();
        let mut x = pass.take(self.config.d_model);
        self.weights.embed.gather_rows(&tokens, &mut x);
        if let Some(scale) = self.config.embed_scale {
            x.scale(scale);
        }
        let mut x = pass.at(Site::Embed, x)?;
        if let Some(learned) = &self.weights.positions {
            let positions: Vec<usize> = pass.rows().positions().collect();
            add_gathered_rows(&mut x, learned, &positions);
        }
        Ok(x)
    }

    /// The logits of rows at [`Site::FinalNorm`], `[rows, d_model]` to `[rows, d_vocab]`: the unembedding,
    /// and Gemma 2's soft cap on logits. The logits of a row do not depend on the other rows, so many
    /// rows can be unembedded [`UNEMBED_ROWS`] at a time.
    pub fn project(&self, normed: &Matrix) -> Matrix {
        let mut logits = Matrix::default();
        let (weight, bias) = match &self.weights.unembed {
            Some(linear) => (&linear.weight, linear.bias.as_deref()),
            None => (&self.weights.embed, None),
        };
        weight.product(normed, bias, saescope_kernels::Epilogue::Keep, &mut logits);
        if let Some(cap) = self.config.logit_softcap {
            softcap(cap, &mut logits);
        }
        logits
    }
}

/// The row of the last token of every sequence.
fn last_rows(rows: &Rows) -> Vec<usize> {
    let ends = rows.spans().iter().scan(0, |end, span| {
        *end += span.len;
        Some(*end - 1)
    });
    ends.collect()
}
