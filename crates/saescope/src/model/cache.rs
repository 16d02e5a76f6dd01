//! The cache of keys and values, with which one more token costs the work of one token.

use saescope_kernels::KeysValues;

use super::config::Config;
use crate::error::{Error, Result};

/// Keys and values of the tokens that a model has read of some sequences.
pub struct Cache {
    /// `[layer][sequence]`; a transient cache has one layer, which every layer uses in turn.
    layers: Vec<Vec<KeysValues>>,
    /// Tokens read of each sequence.
    lens: Vec<usize>,
    /// Largest length of a sequence.
    capacity: usize,
    /// True if the cache serves a single pass.
    transient: bool,
}

impl Cache {
    /// An empty cache with room for `capacity` tokens of each of `sequences` sequences.
    ///
    /// # Errors
    /// When `capacity` exceeds the context of the model.
    pub fn new(config: &Config, sequences: usize, capacity: usize) -> Result<Cache> {
        Cache::check(config, capacity)?;
        let (n_kv_heads, d_head) = (config.n_kv_heads, config.d_head);
        let of_layer = |_| {
            (0..sequences)
                .map(|_| KeysValues::new(n_kv_heads, d_head, capacity))
                .collect()
        };
        Ok(Cache {
            layers: (0..config.n_layers()).map(of_layer).collect(),
            lens: vec![0; sequences],
            capacity,
            transient: false,
        })
    }

    /// A cache for a single pass over sequences of the given lengths.
    pub(crate) fn of_one_pass(config: &Config, lens: &[usize]) -> Result<Cache> {
        let capacity = lens.iter().copied().max().unwrap_or(0);
        Cache::check(config, capacity)?;
        let (n_kv_heads, d_head) = (config.n_kv_heads, config.d_head);
        let layer = lens
            .iter()
            .map(|&len| KeysValues::new(n_kv_heads, d_head, len))
            .collect();
        Ok(Cache {
            layers: vec![layer],
            lens: vec![0; lens.len()],
            capacity,
            transient: true,
        })
    }

    fn check(config: &Config, capacity: usize) -> Result<()> {
        if capacity > config.n_ctx {
            return Err(Error::ContextOverflow {
                needed: capacity,
                limit: config.n_ctx,
            });
        }
        Ok(())
    }

    /// Number of tokens held of a sequence.
    pub fn len(&self, sequence: usize) -> usize {
        self.lens[sequence]
    }

    /// Removes every token of a sequence from position `len` on.
    pub fn truncate(&mut self, sequence: usize, len: usize) {
        self.lens[sequence] = self.lens[sequence].min(len);
        for layer in &mut self.layers {
            layer[sequence].truncate(len);
        }
    }

    /// Largest number of tokens of a sequence.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn extend(&mut self, sequence: usize, tokens: usize) {
        self.lens[sequence] += tokens;
    }

    /// The keys and values of every sequence in a layer.
    pub(crate) fn layer(&self, layer: usize) -> &[KeysValues] {
        &self.layers[if self.transient { 0 } else { layer }]
    }

    /// The same, for the tokens of a pass to be appended. A transient cache is emptied first.
    pub(crate) fn layer_mut(&mut self, layer: usize) -> &mut [KeysValues] {
        if self.transient {
            self.layers[0]
                .iter_mut()
                .for_each(|sequence| sequence.truncate(0));
        }
        &mut self.layers[if self.transient { 0 } else { layer }]
    }
}
