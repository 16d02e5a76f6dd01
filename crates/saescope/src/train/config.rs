//! How an autoencoder is trained: everything but the activations, as plain data.

use serde::{Deserialize, Serialize};

/// How an autoencoder is trained. It is written into the run before the first step, and the same
/// configuration, activations and seed give the same autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Number of features.
    pub d_sae: usize,
    /// What is minimised, and which features are active.
    pub objective: Objective,
    /// How the error of the reconstruction is measured.
    pub reconstruction: Reconstruction,
    /// Tokens of a step.
    pub batch_tokens: usize,
    /// Steps in all.
    pub steps: u64,
    /// The optimiser.
    pub adam: Adam,
    /// Steps over which the learning rate rises from zero.
    pub lr_warmup_steps: u64,
    /// Steps at the end over which the learning rate falls to zero.
    pub lr_decay_steps: u64,
    /// Steps over which the sparsity penalty rises from zero.
    pub sparsity_warmup_steps: u64,
    /// The gradient is scaled down to this norm.
    pub grad_clip: Option<f32>,
    /// What happens to activations before they are encoded.
    pub input: Input,
    /// What keeps the decoder's rows from growing.
    pub decoder: DecoderNorm,
    /// Where training starts.
    pub init: Init,
    /// What happens to features that are never active.
    pub dead: Dead,
    /// Whether it writes elsewhere than it reads.
    pub transcoder: Option<Transcoder>,
    /// How the numbers of dense products are rounded; sums are f32 whatever it is.
    pub products: Products,
    /// Steps between two lines of metrics.
    pub log_every: u64,
    /// Steps between two checkpoints; 0 for none but the last.
    pub checkpoint_every: u64,
    /// Seed of every random choice.
    pub seed: u64,
}

/// What is minimised besides the error of the reconstruction, and which features are active.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Objective {
    /// ReLU and `coefficient * sum f` (Bricken et al. 2023), or `sum f |d|` over decoder rows `d`
    /// (Conerly et al. 2024).
    L1 {
        /// Weight of the penalty.
        coefficient: f32,
        /// Whether each activation counts times the norm of its decoder row.
        decoder_norm: bool,
    },
    /// The `k` largest of a token (Gao et al. 2024).
    TopK {
        /// Active features of a token.
        k: usize,
        /// Dead features explain what is left.
        aux: Option<AuxK>,
    },
    /// The `k` largest of a token on average, chosen over the batch (Bussmann et al. 2024).
    BatchTopK {
        /// Mean number of active features of a token.
        k: usize,
        /// Dead features explain what is left.
        aux: Option<AuxK>,
    },
    /// BatchTopK whose first features reconstruct alone too (Bussmann et al. 2025).
    Matryoshka {
        /// Mean number of active features of a token.
        k: usize,
        /// Features of each prefix, ascending; the last is all of them.
        prefixes: Vec<usize>,
        /// Dead features explain what is left.
        aux: Option<AuxK>,
    },
    /// A learnt threshold for each feature (Rajamanoharan et al. 2024).
    JumpRelu {
        /// What is added for active features.
        penalty: JumpPenalty,
        /// Width of the kernel through which thresholds get gradients.
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
        /// Whether the decoder gets gradients through the gate's own reconstruction too, as in
        /// SAELens; the paper keeps it apart.
        aux_trains_decoder: bool,
    },
}

/// What JumpReLU adds for active features.
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
        /// The mean number of active features that is aimed at.
        l0: f32,
    },
}

/// Dead features are trained on what the others leave unexplained (Gao et al. 2024).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuxK {
    /// Dead features of a token.
    pub k: usize,
    /// Weight.
    pub coefficient: f32,
    /// Whose form of the loss.
    pub form: AuxForm,
}

/// Forms of the auxiliary loss; docs/training.md has their formulas. The decoder's bias is no part of
/// what dead features make, since the residual lacks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuxForm {
    /// The paper's: divided by the variance of the residual.
    #[default]
    Paper,
    /// SAELens': not divided, scaled by the share of dead features, whose negative pre-activations count
    /// too.
    Saelens,
    /// sparsify's: divided by the variance of the target, scaled by the share of dead features.
    Sparsify,
}

/// How the error of a reconstruction is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reconstruction {
    /// `sum |x - y|^2` of a token, the mean over tokens.
    #[default]
    SquaredError,
    /// The same as a mean over components.
    MeanSquaredError,
    /// `sum |x - y|^2 / sum |x - mean x|^2` over the batch.
    Fvu,
}

/// Kingma & Ba 2015.
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
}

/// What happens to activations before they are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Nothing.
    #[default]
    Raw,
    /// Times a constant, measured first, that brings their mean norm to `sqrt(d_in)`.
    Scale,
    /// The same after their mean, measured first, is taken off.
    CentreAndScale,
    /// Token by token to mean 0 and standard deviation 1, undone afterwards (Gao et al. 2024).
    LayerNorm,
}

/// What keeps the decoder's rows from growing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecoderNorm {
    /// Rows have norm 1: their gradient loses its part along the row, and they are renormalised after
    /// each step.
    #[default]
    Unit,
    /// Nothing but a penalty that counts the norm.
    Free,
}

/// Where training starts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// Norm of the decoder's rows.
    pub decoder_norm: f32,
    /// Whether the encoder starts as the decoder's transpose.
    pub tied: bool,
    /// The decoder's bias.
    pub b_dec: InitBias,
    /// Whether the decoder's bias is subtracted from what is encoded.
    pub subtract_b_dec: bool,
}

/// Where the decoder's bias starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitBias {
    /// At zero.
    Zero,
    /// At the mean of the first batch.
    Mean,
    /// At the geometric median of the first batch (Weiszfeld 1937).
    #[default]
    GeometricMedian,
}

/// When a feature counts as dead, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dead {
    /// Tokens without activation after which a feature is dead.
    pub window_tokens: u64,
    /// What happens to dead features, besides an objective's own auxiliary loss.
    pub treatment: Treatment,
}

/// What happens to dead features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Treatment {
    /// Nothing.
    #[default]
    None,
    /// Features whose mean activation over a batch stays under `below` get a new random encoder row
    /// and no bias, as in the article.
    Redraw {
        /// Steps between two draws.
        every: u64,
        /// The mean activation under which a feature is drawn anew.
        below: f32,
    },
    /// Dead features take the direction of a badly reconstructed token, and their optimiser starts
    /// anew (Bricken et al. 2023).
    Resample {
        /// Steps between two resamplings.
        every: u64,
        /// How often at most.
        times: u32,
    },
}

/// A transcoder reads at one site and reconstructs another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcoder {
    /// Whether a linear map passes by the features (Paulo et al. 2025).
    pub skip: bool,
}

/// How the numbers of dense products are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Products {
    /// Not at all.
    #[default]
    F32,
    /// To bf16; faster where the processor multiplies bf16.
    Bf16,
}
