//! One step of training.

use std::borrow::Cow;

use saescope_kernels::{AdamStep, Matrix, SparseRows, subtract_row};

use super::activity::Activity;
use super::dead::{Leftovers, treat};
use super::input::Tokens;
use super::pass::{Job, Loss, Pass, variance};
use super::plain::L1;
use super::weights::Gradients;
use super::{Objective, State, TrainConfig, dense, gated, jump, plain, select};
use crate::activations::Batch;
use crate::error::{Error, Result};

/// Share that a batch has in the running mean of BatchTopK's threshold: a hundredth, as in SAELens, but in
/// short runs so much that the mean spans no more than a twentieth of them.
fn threshold_share(steps: u64) -> f64 {
    (20.0 / steps as f64).clamp(0.01, 0.2)
}

/// What a step tells.
pub(super) struct Told {
    pub(super) loss: Loss,
    /// Mean number of active features.
    pub(super) l0: f64,
    /// `1 - sum |x - y|^2 / sum |x - mean x|^2`, in the units of the target; found when asked for.
    pub(super) explained_variance: f64,
    pub(super) grad_norm: f64,
    pub(super) lr: f32,
    pub(super) sparsity: f32,
}

impl TrainConfig {
    /// The learning rate of the step number `step`, from 0.
    pub(super) fn lr(&self, step: u64) -> f32 {
        let left = self.steps.saturating_sub(step);
        let rise = ramp(step + 1, self.lr_warmup_steps);
        let fall = ramp(left, self.lr_decay_steps);
        (f64::from(self.adam.lr) * rise.min(fall)) as f32
    }

    /// What the sparsity penalty of the step number `step`, from 0, is multiplied with.
    pub(super) fn sparsity(&self, step: u64) -> f32 {
        ramp(step + 1, self.sparsity_warmup_steps) as f32
    }
}

/// From 0 to 1 over `over` steps.
fn ramp(step: u64, over: u64) -> f64 {
    if step < over {
        step as f64 / over as f64
    } else {
        1.0
    }
}

/// Takes `state` one step on; `explain` asks for the explained variance.
pub(super) fn step(state: &mut State, batch: &Batch, explain: bool) -> Result<Told> {
    let config = state.config.clone();
    let entrance = state.entrance.clone();
    let tokens = entrance.enter(&config, batch);
    let inner = inner(&config, &tokens, &state.weights.small.b_dec);
    let dense = state.is_dense();
    let found = if dense {
        SparseRows::default()
    } else {
        find(state, &inner)
    };
    let job = Job {
        config: &config,
        weights: &state.weights,
        tokens: &tokens,
        inner: &inner,
        sparsity: config.sparsity(state.step),
    };
    let pass = match L1::of(&job).filter(|_| dense) {
        Some(penalty) => dense::pass(&job, &penalty, &mut state.fires, &mut state.room),
        None => run(&job, found, &mut state.fires),
    };
    let grad_norm = learn(state, &config, &pass.loss, &pass.gradients)?;
    state.note(&pass.activity);
    let told = Told {
        loss: pass.loss,
        l0: pass.activity.l0(),
        explained_variance: match explain {
            true => explained_variance(batch, &tokens, &pass.squared),
            false => 0.0,
        },
        grad_norm,
        lr: config.lr(state.step),
        sparsity: config.sparsity(state.step),
    };
    state.step += 1;
    state.tokens += batch.x.rows() as u64;
    treat(
        state,
        &Leftovers {
            inner: &inner,
            target: tokens.target(),
            activity: &pass.activity,
            squared: &pass.squared,
        },
    );
    Ok(told)
}

/// Follows the gradients; returns their norm before clipping.
fn learn(
    state: &mut State,
    config: &TrainConfig,
    loss: &Loss,
    gradients: &Gradients,
) -> Result<f64> {
    check(state.step, "the loss", loss.total())?;
    let scale = match config.grad_clip {
        None => 1.0,
        Some(clip) => {
            let norm = gradients.norm(config, &state.weights);
            check(state.step, GRAD_NORM, norm)?;
            // As torch has it.
            (f64::from(clip) / (norm + 1e-6)).min(1.0) as f32
        }
    };
    let (lr, adam) = (config.lr(state.step), config.adam);
    let step = AdamStep::new(lr, adam.beta1, adam.beta2, adam.eps, state.step + 1);
    let weights = &mut state.weights;
    let norm = (state.optimiser).step(config, weights, gradients, scale, step);
    check(state.step, GRAD_NORM, norm)?;
    Ok(norm)
}

const GRAD_NORM: &str = "the norm of the gradient";

/// What is encoded, `[tokens, d_in]`.
pub(super) fn inner<'a>(
    config: &TrainConfig,
    tokens: &'a Tokens,
    b_dec: &[f32],
) -> Cow<'a, Matrix> {
    if !config.init.subtract_b_dec {
        return Cow::Borrowed(&tokens.x);
    }
    let mut inner = tokens.x.clone().into_owned();
    subtract_row(&mut inner, b_dec);
    Cow::Owned(inner)
}

/// The entries that the step has to look at.
pub(super) fn find(state: &mut State, inner: &Matrix) -> SparseRows {
    match &state.config.objective {
        Objective::BatchTopK { k, .. } | Objective::Matryoshka { k, .. } => {
            let count = k * inner.rows();
            let encoder = &mut state.weights.encoder;
            select::largest(encoder, inner, count, &mut state.guess)
        }
        _ => state.weights.encoder.encode(inner),
    }
}

pub(super) fn run<'x>(
    job: &Job<'_, 'x>,
    found: SparseRows,
    fires: &mut super::dead::Fires,
) -> Pass<'x> {
    match job.config.objective {
        Objective::JumpRelu { .. } => jump::pass(job, &found, fires),
        Objective::Gated { .. } => gated::pass(job, &found, fires),
        _ => plain::pass(job, found, fires),
    }
}

impl State {
    /// Whether the step works on dense activations. What decides is part of the state, since the two
    /// ways round differently.
    fn is_dense(&self) -> bool {
        matches!(self.config.objective, Objective::L1 { .. }) && self.share > dense::WORTH_DENSE
    }

    /// Notes the share of active features, and the smallest activation of a batch: the threshold that
    /// takes BatchTopK's place when no batch is there to choose from follows that.
    fn note(&mut self, activity: &Activity) {
        self.share = activity.l0() / self.config.d_sae as f64;
        let by_batch = matches!(
            self.config.objective,
            Objective::BatchTopK { .. } | Objective::Matryoshka { .. }
        );
        let least = f64::from(activity.least);
        if by_batch && least.is_finite() {
            let share = threshold_share(self.config.steps);
            let before = self.threshold.unwrap_or(least);
            self.threshold = Some(before + share * (least - before));
        }
    }
}

/// # Errors
/// When the number is none.
fn check(step: u64, what: &str, number: f64) -> Result<()> {
    if number.is_finite() {
        return Ok(());
    }
    Err(Error::Training {
        step,
        reason: format!("{what} is {number}; a lower learning rate or clipped gradients may help"),
    })
}

fn explained_variance(batch: &Batch, tokens: &Tokens, squared: &[f64]) -> f64 {
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
