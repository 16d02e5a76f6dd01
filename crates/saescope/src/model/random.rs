//! Models with seeded random weights, for tests and for measuring shapes without a download.

use std::convert::Infallible;

use saescope_kernels::{Activation, Matrix, Precision, Weight};

use super::Model;
use super::block::{Block, Linear, Norm, Weights};
use super::config::{Config, Family, LayerConfig, MlpKind, NormKind, Positions};
use super::load::Source;
use super::pass::Spare;

impl Config {
    /// The shapes of GPT-2 small (124 million parameters).
    pub fn gpt2_small() -> Config {
        let layer = LayerConfig::learned();
        Config {
            family: Family::Gpt2,
            n_ctx: 1024,
            d_vocab: 50257,
            d_model: 768,
            n_heads: 12,
            n_kv_heads: 12,
            d_head: 64,
            d_mlp: 3072,
            norm: NormKind::Layer { eps: 1e-5 },
            positions: Positions::Learned,
            mlp: MlpKind {
                activation: Activation::GeluTanh,
                gated: false,
            },
            parallel_residual: false,
            attn_scale: 0.125,
            attn_scale_by_layer: false,
            attn_softcap: None,
            logit_softcap: None,
            embed_scale: None,
            layers: vec![layer; 12],
        }
    }
}

impl Model {
    /// A model of the given shapes with random weights, the same for the same seed, and tied embeddings.
    /// Weights are nearly normal with the standard deviation of GPT-2's initialisation, 0.02.
    pub fn random(config: Config, precision: Precision, seed: u64) -> Model {
        let mut random = Random { seed, precision };
        let weights = random.weights(&config);
        let source = Source {
            format: "random".to_owned(),
            files: Vec::new(),
            tied: true,
            bytes: weights.bytes() as u64,
            licence: None,
        };
        Model {
            config,
            weights,
            source,
            spare: Spare::default(),
        }
    }
}

struct Random {
    /// Seed of the next tensor.
    seed: u64,
    precision: Precision,
}

impl Random {
    fn weights(&mut self, config: &Config) -> Weights {
        let embed = self.weight(config.d_vocab, config.d_model);
        let positions = (config.positions == Positions::Learned).then(|| {
            let seed = self.next_seed();
            let mut positions = Matrix::zeros(config.n_ctx, config.d_model);
            fill(seed, 0, positions.data_mut());
            positions
        });
        let blocks = (0..config.n_layers()).map(|_| self.block(config)).collect();
        let final_norm = norm(config, config.d_model);
        Weights {
            embed,
            positions,
            blocks,
            final_norm,
            unembed: None,
        }
    }

    fn block(&mut self, config: &Config) -> Block {
        let Config {
            n_heads,
            n_kv_heads,
            d_head,
            d_model,
            d_mlp,
            ..
        } = *config;
        let d_up = if config.mlp.gated { 2 * d_mlp } else { d_mlp };
        Block {
            attn_norm: norm(config, d_model),
            qkv: self.linear((n_heads + 2 * n_kv_heads) * d_head, d_model),
            q_norm: None,
            k_norm: None,
            attn_out: self.linear(d_model, n_heads * d_head),
            attn_post_norm: None,
            mlp_norm: norm(config, d_model),
            mlp_in: self.linear(d_up, d_model),
            mlp_out: self.linear(d_model, d_mlp),
            mlp_post_norm: None,
        }
    }

    fn linear(&mut self, d_out: usize, d_in: usize) -> Linear {
        Linear {
            weight: self.weight(d_out, d_in),
            bias: Some(vec![0.0; d_out]),
        }
    }

    fn weight(&mut self, d_out: usize, d_in: usize) -> Weight {
        let seed = self.next_seed();
        let packed = Weight::pack(d_out, d_in, self.precision, |range, rows| {
            fill(seed, range.start * d_in, rows);
            Ok::<_, Infallible>(())
        });
        packed.unwrap_or_else(|never| match never {})
    }

    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(1);
        self.seed << 40
    }
}

fn norm(config: &Config, d: usize) -> Norm {
    let bias = matches!(config.norm, NormKind::Layer { .. }).then(|| vec![0.0; d]);
    Norm {
        weight: vec![1.0; d],
        bias,
    }
}

/// Fills `out` with the values of the sequence of `seed` from number `first` on. A value depends on its
/// number alone, so that threads may fill a tensor in any order.
fn fill(seed: u64, first: usize, out: &mut [f32]) {
    for (index, value) in (first as u64..).zip(out) {
        // SplitMix64 (Steele, Lea & Flood 2014).
        let mut bits = (seed ^ index).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        // Four uniform numbers of 16 bits: their sum has standard deviation sqrt(4 / 12).
        let sum: f32 = (0..4)
            .map(|i| (bits >> (16 * i) & 0xffff) as f32 / 65536.0 - 0.5)
            .sum();
        *value = sum * 0.02 * 3.0_f32.sqrt();
    }
}
