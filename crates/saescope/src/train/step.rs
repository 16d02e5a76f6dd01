//! One step of training.

use std::borrow::Cow;

use saescope_kernels::{AdamStep, Matrix, SparseRows, subtract_row};

use super::activity::{Activity, FiringCounts};
use super::dead::{BatchOutcome, treat};
use super::input::PreparedBatch;
use super::pass::{Loss, PassInput, PassResult, variance};
use super::plain::L1;
use super::state::{Learner, State};
use super::weights::Gradients;
use super::{Objective, TrainConfig, dense, gated, jump, plain, select};
use crate::activations::Batch;
use crate::error::{Error, Result};

/// Weight of a batch in the running mean of BatchTopK's threshold: a hundredth, as in SAELens, but more in
/// short runs, so that the mean spans at most a twentieth of the steps.
fn threshold_share(steps: u64) -> f64 {
    (20.0 / steps as f64).clamp(0.01, 0.2)
}

/// Measurements of one step.
pub(super) struct StepReport {
    pub(super) loss: Loss,
    /// Mean number of active features.
    pub(super) l0: f64,
    /// `1 - sum |x - y|^2 / sum |x - mean x|^2`, in the units of the target; 0 unless asked for.
    pub(super) explained_variance: f64,
    pub(super) grad_norm: f64,
    pub(super) lr: f32,
    pub(super) sparsity: f32,
}

impl TrainConfig {
    /// The learning rate of step `step`, counted from 0.
    pub(super) fn lr(&self, step: u64) -> f32 {
        let left = self.steps.saturating_sub(step);
        let rise = ramp(step + 1, self.lr_warmup_steps);
        let fall = ramp(left, self.lr_decay_steps);
        (f64::from(self.adam.lr) * rise.min(fall)) as f32
    }

    /// The factor of the sparsity penalty at step `step`, counted from 0.
    pub(super) fn sparsity(&self, step: u64) -> f32 {
        ramp(step + 1, self.sparsity_warmup_steps) as f32
    }
}

/// A straight line from 0 to 1 over `over` steps, then 1.
fn ramp(step: u64, over: u64) -> f64 {
    if step < over {
        step as f64 / over as f64
    } else {
        1.0
    }
}

/// Takes `state` one step further on `batch`; measures the explained variance if `explain` is set.
///
/// # Errors
/// [`Error::Training`] when the loss or the gradient is not finite.
pub(super) fn step(state: &mut State, batch: &Batch, explain: bool) -> Result<StepReport> {
    let State { setup, learner } = state;
    let config = &setup.config;
    let tokens = setup.transform.apply(config, batch);
    let encoder_input = encoder_input(config, &tokens, &learner.weights.vectors.b_dec);
    let dense = learner.is_dense(config);
    let found = if dense {
        SparseRows::default()
    } else {
        find(config, learner, &encoder_input)
    };
    let input = PassInput {
        config,
        weights: &learner.weights,
        tokens: &tokens,
        encoder_input: &encoder_input,
        sparsity: config.sparsity(learner.step),
    };
    let pass = match L1::of(&input).filter(|_| dense) {
        Some(penalty) => {
            let workspace = &mut learner.workspace;
            dense::pass(&input, &penalty, &mut learner.firing, workspace)
        }
        None => run(&input, found, &mut learner.firing),
    };
    let grad_norm = learn(config, learner, &pass.loss, &pass.gradients)?;
    learner.follow(config, &pass.activity);
    let report = StepReport {
        loss: pass.loss,
        l0: pass.activity.l0(),
        explained_variance: if explain {
            explained_variance(batch, &tokens, &pass.squared)
        } else {
            0.0
        },
        grad_norm,
        lr: config.lr(learner.step),
        sparsity: config.sparsity(learner.step),
    };
    learner.step += 1;
    learner.tokens += batch.x.rows() as u64;
    let outcome = BatchOutcome {
        encoder_input: &encoder_input,
        target: tokens.target(),
        activity: &pass.activity,
        squared: &pass.squared,
    };
    treat(config, learner, &outcome);
    Ok(report)
}

/// Takes one step of the optimiser; returns the norm of the gradients before clipping.
fn learn(
    config: &TrainConfig,
    learner: &mut Learner,
    loss: &Loss,
    gradients: &Gradients,
) -> Result<f64> {
    check(learner.step, "the loss", loss.total())?;
    let scale = match config.grad_clip {
        None => 1.0,
        Some(clip) => {
            let norm = gradients.norm(config, &learner.weights);
            check(learner.step, GRAD_NORM, norm)?;
            // As in torch.nn.utils.clip_grad_norm_.
            (f64::from(clip) / (norm + 1e-6)).min(1.0) as f32
        }
    };
    let (lr, adam) = (config.lr(learner.step), config.adam);
    let step = AdamStep::new(lr, adam.beta1, adam.beta2, adam.eps, learner.step + 1);
    let weights = &mut learner.weights;
    let norm = (learner.optimiser).step(config, weights, gradients, scale, step);
    check(learner.step, GRAD_NORM, norm)?;
    Ok(norm)
}

const GRAD_NORM: &str = "the norm of the gradient";

/// The input of the encoder, `[tokens, d_in]`.
pub(super) fn encoder_input<'a>(
    config: &TrainConfig,
    tokens: &'a PreparedBatch,
    b_dec: &[f32],
) -> Cow<'a, Matrix> {
    if !config.init.subtract_b_dec {
        return Cow::Borrowed(&tokens.x);
    }
    let mut encoder_input = tokens.x.clone().into_owned();
    subtract_row(&mut encoder_input, b_dec);
    Cow::Owned(encoder_input)
}

/// The entries that the step has to compute.
pub(super) fn find(
    config: &TrainConfig,
    learner: &mut Learner,
    encoder_input: &Matrix,
) -> SparseRows {
    let encoder = &mut learner.weights.encoder;
    match &config.objective {
        Objective::BatchTopK { k, .. } | Objective::Matryoshka { k, .. } => {
            let count = k * encoder_input.rows();
            select::largest(encoder, encoder_input, count, &mut learner.guess)
        }
        Objective::L1 { .. }
        | Objective::TopK { .. }
        | Objective::JumpRelu { .. }
        | Objective::Gated { .. } => encoder.encode(encoder_input),
    }
}

pub(super) fn run<'x>(
    input: &PassInput<'_, 'x>,
    found: SparseRows,
    firing: &mut FiringCounts,
) -> PassResult<'x> {
    match input.config.objective {
        Objective::JumpRelu { .. } => jump::pass(input, &found, firing),
        Objective::Gated { .. } => gated::pass(input, &found, firing),
        Objective::L1 { .. }
        | Objective::TopK { .. }
        | Objective::BatchTopK { .. }
        | Objective::Matryoshka { .. } => plain::pass(input, found, firing),
    }
}

impl Learner {
    /// True if the step works on dense activations. The share that decides is part of the state, since
    /// the two ways round differently.
    fn is_dense(&self, config: &TrainConfig) -> bool {
        matches!(config.objective, Objective::L1 { .. }) && self.share > dense::WORTH_DENSE
    }

    /// Updates the share of active features, and the running mean of the smallest activation of a batch:
    /// the threshold that replaces BatchTopK's choice where there is no batch to choose from.
    fn follow(&mut self, config: &TrainConfig, activity: &Activity) {
        self.share = activity.l0() / config.d_sae as f64;
        let by_batch = matches!(
            config.objective,
            Objective::BatchTopK { .. } | Objective::Matryoshka { .. }
        );
        let least = f64::from(activity.least);
        if by_batch && least.is_finite() {
            let share = threshold_share(config.steps);
            let before = self.threshold.unwrap_or(least);
            self.threshold = Some(before + share * (least - before));
        }
    }
}

/// # Errors
/// [`Error::Training`] when the number is not finite.
fn check(step: u64, what: &str, number: f64) -> Result<()> {
    if number.is_finite() {
        return Ok(());
    }
    Err(Error::Training {
        step,
        reason: format!("{what} is {number}; a lower `adam.lr` or a `grad_clip` may help"),
    })
}

fn explained_variance(batch: &Batch, tokens: &PreparedBatch, squared: &[f64]) -> f64 {
    let (error, whole) = if tokens.units.is_empty() {
        (squared.iter().sum(), variance(tokens.target()))
    } else {
        let pairs = squared.iter().zip(&tokens.units);
        let in_units = pairs.map(|(squared, &unit)| squared * f64::from(unit).powi(2));
        (in_units.sum::<f64>(), variance(&batch.x))
    };
    if whole > 0.0 {
        1.0 - error / whole
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use crate::train::{Recipe, TrainConfig};

    #[test]
    fn rates_rise_and_fall_in_straight_lines() {
        let mut config = TrainConfig::recipe(Recipe::TopK, 8, 16, 10);
        config.adam.lr = 1.0;
        (config.lr_warmup_steps, config.lr_decay_steps) = (4, 2);
        config.sparsity_warmup_steps = 5;
        let rates: Vec<f32> = (0..10).map(|step| config.lr(step)).collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]);
        let scales: Vec<f32> = (0..6).map(|step| config.sparsity(step)).collect();
        assert_eq!(scales, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]);
        (config.lr_warmup_steps, config.lr_decay_steps) = (0, 0);
        assert_eq!((config.lr(0), config.lr(9)), (1.0, 1.0));
    }
}
