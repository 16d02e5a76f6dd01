//! The configuration of a training: everything but the activations, as plain data.

use serde::{Deserialize, Serialize};

/// The configuration of a training. It is written into the run before the first step. The same
/// configuration, activations and seed give the same autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Number of features.
    pub d_sae: usize,
    /// The loss besides the reconstruction error, and the activation function.
    pub objective: Objective,
    /// The measure of the reconstruction error.
    pub reconstruction: Reconstruction,
    /// Tokens per step.
    pub batch_tokens: usize,
    /// Number of steps.
    pub steps: u64,
    /// The optimiser.
    pub adam: Adam,
    /// Steps over which the learning rate rises from zero.
    pub lr_warmup_steps: u64,
    /// Steps at the end over which the learning rate falls to zero.
    pub lr_decay_steps: u64,
    /// Steps over which the sparsity penalty rises from zero.
    pub sparsity_warmup_steps: u64,
    /// Largest norm of the gradient, which is scaled down to it.
    pub grad_clip: Option<f32>,
    /// The transform of activations before they are encoded.
    pub input: Input,
    /// The constraint on the norms of decoder rows.
    pub decoder: DecoderNorm,
    /// The starting values.
    pub init: Init,
    /// The treatment of features that are never active.
    pub dead: Dead,
    /// Set for a transcoder, which reconstructs another site than it reads.
    pub transcoder: Option<Transcoder>,
    /// Rounding of the operands of dense products; sums are always f32.
    pub products: Products,
    /// Steps between two lines of metrics.
    pub log_every: u64,
    /// Steps between two checkpoints; 0 for the last one only.
    pub checkpoint_every: u64,
    /// Seed of every random choice.
    pub seed: u64,
}

/// The loss besides the reconstruction error, and the activation function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Objective {
    /// ReLU and `coefficient * sum f` (Bricken et al. 2023), or `sum f |d|` over decoder rows `d`
    /// (Conerly et al. 2024).
    L1 {
        /// Weight of the penalty.
        coefficient: f32,
        /// True if each activation is weighted by the norm of its decoder row.
        decoder_norm: bool,
    },
    /// The `k` largest activations of a token (Gao et al. 2024).
    TopK {
        /// Active features of a token.
        k: usize,
        /// The auxiliary loss of dead features.
        aux: Option<AuxK>,
    },
    /// The `k` largest activations per token on average, chosen over the batch (Bussmann et al. 2024).
    BatchTopK {
        /// Mean number of active features of a token.
        k: usize,
        /// The auxiliary loss of dead features.
        aux: Option<AuxK>,
    },
    /// BatchTopK whose prefixes of features also reconstruct alone (Bussmann et al. 2025).
    Matryoshka {
        /// Mean number of active features of a token.
        k: usize,
        /// Features of each prefix, ascending; the last is all of them.
        prefixes: Vec<usize>,
        /// The auxiliary loss of dead features.
        aux: Option<AuxK>,
    },
    /// A learnt threshold for each feature (Rajamanoharan et al. 2024).
    JumpRelu {
        /// The sparsity penalty.
        penalty: JumpPenalty,
        /// Width of the kernel that gives thresholds their gradients.
        bandwidth: f32,
        /// Thresholds at the start.
        threshold: f32,
        /// Weight of `relu(threshold - pre) |d|` over dead features (Conerly et al. 2025).
        pre_activation: f32,
    },
    /// A gate and a magnitude for each feature (Rajamanoharan et al. 2024).
    Gated {
        /// Weight of the penalty on the gate.
        coefficient: f32,
        /// True if the gate's own reconstruction trains the decoder too, as in SAELens; in the paper it does
        /// not.
        aux_trains_decoder: bool,
    },
}

/// The sparsity penalty of JumpReLU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum JumpPenalty {
    /// `coefficient * L0`
    Step {
        /// Weight of the penalty.
        coefficient: f32,
    },
    /// `coefficient * sum tanh(scale f |d|)` (Conerly et al. 2025)
    Tanh {
        /// Weight of the penalty.
        coefficient: f32,
        /// Steepness.
        scale: f32,
    },
    /// `coefficient * (L0 / l0 - 1)^2`
    Target {
        /// Weight of the penalty.
        coefficient: f32,
        /// The target of the mean number of active features.
        l0: f32,
    },
}

/// The auxiliary loss: dead features reconstruct the residual (Gao et al. 2024).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuxK {
    /// Number of dead features per token.
    pub k: usize,
    /// Weight of the loss.
    pub coefficient: f32,
    /// Form of the loss.
    pub form: AuxForm,
}

/// Forms of the auxiliary loss; docs/training.md has their formulas. None adds the decoder's bias, which
/// the residual lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuxForm {
    /// The paper's: divided by the variance of the residual.
    #[default]
    Paper,
    /// SAELens': not divided, scaled by the share of dead features, with negative pre-activations.
    Saelens,
    /// sparsify's: divided by the variance of the target, scaled by the share of dead features.
    Sparsify,
}

/// The measure of the reconstruction error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reconstruction {
    /// `sum |x - y|^2` per token, averaged over tokens.
    #[default]
    SquaredError,
    /// `SquaredError` divided by the number of components.
    MeanSquaredError,
    /// `sum |x - y|^2 / sum |x - mean x|^2` over the batch.
    Fvu,
}

/// The optimiser Adam (Kingma & Ba 2015).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adam {
    /// The learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// The learning rate of biases and thresholds, as a multiple of `lr`. They grow with the length of a
    /// token, `sqrt(d)` after scaling, while a step of Adam does not.
    #[serde(default = "one")]
    pub bias_lr_factor: f32,
}

fn one() -> f32 {
    1.0
}

/// The transform of activations before they are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// None.
    #[default]
    Raw,
    /// A constant factor, measured on the first batch, that gives activations the mean norm `sqrt(d_in)`.
    Scale,
    /// The same after the mean of the first batch is subtracted.
    CentreAndScale,
    /// Every token to mean 0 and standard deviation 1, undone after decoding (Gao et al. 2024).
    LayerNorm,
}

/// The constraint on the norms of decoder rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecoderNorm {
    /// Rows have norm 1: their gradient loses its part along the row, and they are renormalised after
    /// each step.
    #[default]
    Unit,
    /// No constraint; a penalty that weighs activations by the norm keeps rows from growing.
    Free,
}

/// The starting values of a training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// Norm of the decoder's rows.
    pub decoder_norm: f32,
    /// True if the encoder starts as the decoder's transpose.
    pub tied: bool,
    /// Start of the decoder's bias.
    pub b_dec: InitBias,
    /// True if the decoder's bias is subtracted from the input of the encoder.
    pub subtract_b_dec: bool,
}

/// The start of the decoder's bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitBias {
    /// Zero.
    Zero,
    /// The mean of the first batch.
    Mean,
    /// The geometric median of the first batch (Weiszfeld 1937).
    #[default]
    GeometricMedian,
}

/// The definition of dead features, and their treatment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dead {
    /// Tokens without activation after which a feature is dead.
    pub window_tokens: u64,
    /// The treatment of dead features, besides the auxiliary loss of an objective.
    pub treatment: Treatment,
}

/// A treatment of dead features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Treatment {
    /// No treatment.
    #[default]
    None,
    /// Features whose mean activation over a batch stays under `below` get a new random encoder row
    /// and no bias, as in the article.
    Redraw {
        /// Steps between two draws.
        every: u64,
        /// The mean activation below which a feature is redrawn.
        below: f32,
    },
    /// Dead features take the direction of a badly reconstructed token, and the optimiser
    /// restarts for them (Bricken et al. 2023).
    Resample {
        /// Steps between two resamplings.
        every: u64,
        /// Largest number of resamplings.
        times: u32,
    },
}

/// A transcoder reads at one site and reconstructs another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcoder {
    /// True if a linear map bypasses the features (Paulo et al. 2025).
    pub skip: bool,
}

/// The rounding of the operands of dense products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Products {
    /// No rounding.
    #[default]
    F32,
    /// To bf16; faster where the processor multiplies bf16.
    Bf16,
}
