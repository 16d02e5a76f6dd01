//! The keys and values that a model remembers of the tokens before.

use saescope_kernels::KeysValues;

use super::config::Config;
use crate::error::{Error, Result};

/// What a model has seen of some sequences: with it, one more token costs one token.
pub struct Cache {
    /// `[layer][sequence]`; a cache of a single pass keeps one layer and uses it again for the next.
    layers: Vec<Vec<KeysValues>>,
    lens: Vec<usize>,
    capacity: usize,
    transient: bool,
}

impl Cache {
    /// Room for `capacity` tokens of each of `sequences` sequences.
    ///
    /// # Errors
    /// When the model cannot look back that far.
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

    /// Room for sequences of the given lengths for the time of a single pass.
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

    /// Tokens of a sequence that are remembered.
    pub fn len(&self, sequence: usize) -> usize {
        self.lens[sequence]
    }

    /// Forgets every token of a sequence from `len` on.
    pub fn truncate(&mut self, sequence: usize, len: usize) {
        self.lens[sequence] = self.lens[sequence].min(len);
        for layer in &mut self.layers {
            layer[sequence].truncate(len);
        }
    }

    /// Tokens of each sequence that there is room for.
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

    /// The same, to add the tokens of a pass to.
    pub(crate) fn layer_mut(&mut self, layer: usize) -> &mut [KeysValues] {
        if self.transient {
            self.layers[0]
                .iter_mut()
                .for_each(|sequence| sequence.truncate(0));
        }
        &mut self.layers[if self.transient { 0 } else { layer }]
    }
}
