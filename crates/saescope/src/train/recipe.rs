//! Recipes: configurations to start from. docs/training.md has the sources of their numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    Adam, AuxForm, AuxK, Dead, DecoderNorm, Init, InitBias, Input, JumpPenalty, Objective,
    Products, Reconstruction, TrainConfig, Transcoder, Treatment,
};
use crate::error::{Error, Result, by_name};

/// A configuration to start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// ReLU + L1 as in the article that started this project: no constraint on the decoder, dead
    /// features redrawn.
    Article,
    /// ReLU + L1 weighted by the decoder's norms (Conerly et al. 2024).
    L1,
    /// TopK with dead features explaining the residual (Gao et al. 2024).
    #[default]
    TopK,
    /// BatchTopK (Bussmann et al. 2024).
    BatchTopK,
    /// Matryoshka BatchTopK, five prefixes each twice the one before (Bussmann et al. 2025).
    Matryoshka,
    /// JumpReLU that aims at an L0 (Rajamanoharan et al. 2024; dictionary_learning).
    JumpRelu,
    /// Gated (Rajamanoharan et al. 2024).
    Gated,
}

impl Recipe {
    /// All recipes.
    pub const ALL: [Recipe; 7] = [
        Recipe::Article,
        Recipe::L1,
        Recipe::TopK,
        Recipe::BatchTopK,
        Recipe::Matryoshka,
        Recipe::JumpRelu,
        Recipe::Gated,
    ];

    /// The name in flags, files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::Article => "article",
            Recipe::L1 => "l1",
            Recipe::TopK => "topk",
            Recipe::BatchTopK => "batchtopk",
            Recipe::Matryoshka => "matryoshka",
            Recipe::JumpRelu => "jumprelu",
            Recipe::Gated => "gated",
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Recipe> {
        by_name("recipe", text, &Recipe::ALL, Recipe::name)
    }
}

/// Default number of active features per token.
const K: usize = 32;

/// Weight of the auxiliary loss (Gao et al. 2024, A.2).
const AUX_WEIGHT: f32 = 1.0 / 32.0;

impl TrainConfig {
    /// The recipe for activations of width `d_in`, `d_sae` features and `steps` steps.
    pub fn recipe(recipe: Recipe, d_in: usize, d_sae: usize, steps: u64) -> TrainConfig {
        let base = TrainConfig::base(recipe, d_in, d_sae, steps);
        match recipe {
            Recipe::Article => base.like_the_article(),
            Recipe::L1 => TrainConfig {
                sparsity_warmup_steps: steps / 20,
                decoder: DecoderNorm::Free,
                init: Init {
                    decoder_norm: 0.1,
                    b_dec: InitBias::Zero,
                    subtract_b_dec: false,
                    ..base.init
                },
                ..base
            },
            Recipe::JumpRelu | Recipe::Gated => TrainConfig {
                sparsity_warmup_steps: steps / 10,
                adam: Adam {
                    beta1: 0.0,
                    bias_lr_factor: if recipe == Recipe::JumpRelu {
                        (d_in as f32).sqrt()
                    } else {
                        1.0
                    },
                    ..base.adam
                },
                ..base
            },
            Recipe::TopK | Recipe::BatchTopK | Recipe::Matryoshka => base,
        }
    }

    /// The fields that most recipes share.
    fn base(recipe: Recipe, d_in: usize, d_sae: usize, steps: u64) -> TrainConfig {
        let objective = recipe.objective(d_in, d_sae);
        let batch_tokens = 4096;
        TrainConfig {
            d_sae,
            objective,
            reconstruction: Reconstruction::SquaredError,
            batch_tokens,
            steps,
            adam: Adam {
                lr: recipe.lr(d_sae, steps),
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                bias_lr_factor: 1.0,
            },
            lr_warmup_steps: (steps / 20).min(1000),
            lr_decay_steps: steps / 5,
            sparsity_warmup_steps: 0,
            grad_clip: Some(1.0),
            input: Input::Scale,
            decoder: DecoderNorm::Unit,
            init: Init {
                decoder_norm: 1.0,
                tied: true,
                b_dec: InitBias::GeometricMedian,
                subtract_b_dec: true,
            },
            dead: Dead {
                window_tokens: window(steps, batch_tokens),
                treatment: Treatment::None,
            },
            transcoder: None,
            products: Products::F32,
            log_every: (steps / 100).max(1),
            checkpoint_every: (steps / 10).max(1),
            seed: 0,
        }
    }

    /// The same configuration for a transcoder.
    #[must_use]
    pub fn transcode(self, transcoder: Transcoder) -> TrainConfig {
        TrainConfig {
            transcoder: Some(transcoder),
            init: Init {
                tied: false,
                subtract_b_dec: false,
                ..self.init
            },
            ..self
        }
    }

    fn like_the_article(self) -> TrainConfig {
        TrainConfig {
            batch_tokens: 2048,
            lr_warmup_steps: 0,
            lr_decay_steps: 0,
            grad_clip: None,
            input: Input::Raw,
            decoder: DecoderNorm::Free,
            init: Init {
                b_dec: InitBias::Zero,
                ..self.init
            },
            dead: Dead {
                window_tokens: window(self.steps, 2048),
                treatment: Treatment::Redraw {
                    every: 100,
                    below: 1e-5,
                },
            },
            ..self
        }
    }
}

/// A tenth of the run's tokens, at most the ten million of Gao et al. 2024 and at least 25 batches.
fn window(steps: u64, batch_tokens: usize) -> u64 {
    let batch = batch_tokens as u64;
    (steps.saturating_mul(batch) / 10).clamp(25 * batch, 10_000_000)
}

impl Recipe {
    fn objective(self, d_in: usize, d_sae: usize) -> Objective {
        let k = K.min(d_sae);
        let aux = Some(AuxK {
            // Half the width (Gao et al. 2024, B.1).
            k: (d_in / 2).max(1),
            coefficient: AUX_WEIGHT,
            form: AuxForm::Paper,
        });
        match self {
            Recipe::Article => Objective::L1 {
                coefficient: 0.1,
                decoder_norm: false,
            },
            Recipe::L1 => Objective::L1 {
                coefficient: 5.0,
                decoder_norm: true,
            },
            Recipe::TopK => Objective::TopK { k, aux },
            Recipe::BatchTopK => Objective::BatchTopK { k, aux },
            Recipe::Matryoshka => Objective::Matryoshka {
                k,
                prefixes: prefixes(d_sae),
                aux,
            },
            // Papers and libraries scale activations to a mean square of 1 per token; here it is 1 per
            // component. Thresholds, biases and their rate grow with it (`bias_lr_factor`).
            Recipe::JumpRelu => Objective::JumpRelu {
                penalty: JumpPenalty::Target {
                    coefficient: d_in as f32,
                    l0: k as f32,
                },
                bandwidth: 0.001 * (d_in as f32).sqrt(),
                threshold: 0.001 * (d_in as f32).sqrt(),
                pre_activation: 0.0,
            },
            Recipe::Gated => Objective::Gated {
                coefficient: 5.0,
                aux_trains_decoder: false,
            },
        }
    }

    fn lr(self, d_sae: usize, steps: u64) -> f32 {
        match self {
            Recipe::Article => 1e-3,
            // As in the libraries, but large enough for short runs: Adam moves a number by at most the
            // rate in a step, and biases and thresholds have to move by about 1.
            Recipe::L1 | Recipe::JumpRelu | Recipe::Gated => {
                (1.2 / steps.max(1) as f32).clamp(3e-4, 3e-3)
            }
            // The scaling law of Gao et al. 2024, figure 3.
            Recipe::TopK | Recipe::BatchTopK | Recipe::Matryoshka => {
                2e-4 / (d_sae as f32 / 16384.0).sqrt()
            }
        }
    }
}

/// A sixteenth, an eighth, a quarter, a half and all of the features.
fn prefixes(d_sae: usize) -> Vec<usize> {
    let mut prefixes: Vec<usize> = [16, 8, 4, 2, 1].map(|part| d_sae.div_ceil(part)).to_vec();
    prefixes.dedup();
    prefixes
}
