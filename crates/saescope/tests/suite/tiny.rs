//! Small models built in code, in milliseconds.

use saescope::model::{Config, Family, LayerConfig, MlpKind, Model, NormKind, Positions};
use saescope::{Activation, Precision};

fn gpt2() -> Config {
    let layer = LayerConfig::learned();
    Config {
        n_ctx: 64,
        d_vocab: 50,
        d_model: 16,
        n_heads: 2,
        n_kv_heads: 2,
        d_head: 8,
        d_mlp: 40,
        layers: vec![layer; 2],
        ..Config::gpt2_small()
    }
}

fn llama() -> Config {
    // Frequencies of 1, 0.3, 0.09 and 0.027, so that a few positions change the result.
    let layer = |window| LayerConfig::rotary(window, 0.3_f64.powi(-4), 8);
    Config {
        family: Family::Llama,
        n_kv_heads: 1,
        norm: NormKind::Rms { eps: 1e-5 },
        positions: Positions::Rotary { d_rot: 8 },
        mlp: MlpKind {
            activation: Activation::Silu,
            gated: true,
        },
        layers: vec![layer(None), layer(Some(5))],
        ..gpt2()
    }
}

fn random(config: Config) -> Model {
    // Larger weights than those of a trained model, so that every part changes the result.
    Model::random(config, Precision::F32, 7)
}

/// A model of the form of GPT-2, and one of the form of Llama and Mistral.
pub(crate) fn models() -> [Model; 2] {
    [random(gpt2()), random(llama())]
}

/// A model whose attention and MLP read the same residual stream.
pub(crate) fn parallel() -> Model {
    random(Config {
        parallel_residual: true,
        family: Family::GptNeox,
        ..llama()
    })
}
