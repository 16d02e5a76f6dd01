//! The treatment of features that are never active.

use saescope_kernels::{Matrix, row_norms, scale_rows_to_norm, scatter_rows, subtract_row};

use super::activity::Activity;
use super::random::{Draw, Random};
use super::state::Learner;
use super::weights::Vectors;
use super::{Objective, TrainConfig, Treatment};

/// The outcome of a step on its batch, from which dead features are treated.
pub(super) struct BatchOutcome<'a> {
    /// The input of the encoder, `[tokens, d_in]`.
    pub(super) encoder_input: &'a Matrix,
    /// The target of the reconstruction, `[tokens, d_out]`.
    pub(super) target: &'a Matrix,
    pub(super) activity: &'a Activity,
    /// `|target - reconstruction|^2` of every token.
    pub(super) squared: &'a [f64],
}

/// Treats dead features after a step, which `learner` counts already. After the last step nothing is left
/// to train a new feature, so that it would only disturb.
pub(super) fn treat(config: &TrainConfig, learner: &mut Learner, outcome: &BatchOutcome) {
    let last = learner.step >= config.steps;
    let due = |every: u64| !last && learner.step.is_multiple_of(every);
    match config.dead.treatment {
        Treatment::Redraw { every, below } if due(every) => {
            redraw(config, learner, outcome.activity, below);
        }
        Treatment::Resample { every, times } if due(every) && learner.resampled < times => {
            learner.resampled += 1;
            resample(config, learner, outcome);
        }
        _ => {}
    }
}

/// Features whose mean activation stays under `below` get an encoder row of normal numbers, of norm 1
/// on average, and no bias.
fn redraw(config: &TrainConfig, learner: &mut Learner, activity: &Activity, below: f32) {
    let limit = below * activity.tokens as f32;
    let (seed, draw) = (config.seed, Draw::Dead(learner.step));
    learner.weights.update(config, |w_enc, _, vectors| {
        let d = w_enc.cols();
        let weak = activity.sums.iter().enumerate();
        let weak: Vec<usize> = weak
            .filter(|(_, sum)| **sum < limit)
            .map(|(feature, _)| feature)
            .collect();
        let mut values = vec![0.0; weak.len() * d];
        for (row, &feature) in values.chunks_exact_mut(d).zip(&weak) {
            Random::new(seed, draw, feature as u32).normal(row);
            reset(vectors, &config.objective, feature);
        }
        let mut rows = Matrix::from_vec(weak.len(), d, values);
        rows.scale(1.0 / (d as f32).sqrt());
        scatter_rows(&rows, w_enc, &weak);
    });
}

/// Dead features take the directions of tokens drawn in proportion to the square of their loss; their
/// encoder rows are a fifth as long as those of living features on average (Bricken et al. 2023).
fn resample(config: &TrainConfig, learner: &mut Learner, outcome: &BatchOutcome) {
    let dead = learner.firing.dead(config.dead.window_tokens);
    let alive = alive_norm(&row_norms(learner.weights.w_enc()), &dead);
    let random = Random::new(config.seed, Draw::Dead(learner.step), 0);
    let tokens = draw_tokens(outcome.squared, dead.len(), random);
    let Learner {
        weights,
        optimiser,
        firing,
        ..
    } = learner;
    let norm = config.init.decoder_norm;
    let b_dec = weights.vectors.b_dec.clone();
    weights.update(config, |w_enc, w_dec, vectors| {
        let features = dead.iter().map(|&feature| feature as usize);
        let features: Vec<usize> = features.take(tokens.len()).collect();
        let mut rows = outcome.encoder_input.select_rows(&tokens); // [features, d_in]
        scale_rows_to_norm(&mut rows, 0.2 * alive);
        scatter_rows(&rows, w_enc, &features);
        let mut rows = outcome.target.select_rows(&tokens); // [features, d_out]
        subtract_row(&mut rows, &b_dec);
        scale_rows_to_norm(&mut rows, norm);
        scatter_rows(&rows, w_dec, &features);
        for feature in features {
            reset(vectors, &config.objective, feature);
            optimiser.forget(feature);
            firing.since[feature] = 0;
        }
    });
}

/// Gives a feature the starting values of its bias, threshold and gate.
fn reset(vectors: &mut Vectors, objective: &Objective, feature: usize) {
    vectors.b_enc[feature] = 0.0;
    if let Objective::JumpRelu { threshold, .. } = objective {
        vectors.threshold[feature] = *threshold;
    }
    for part in [&mut vectors.r_mag, &mut vectors.b_mag] {
        if let Some(value) = part.get_mut(feature) {
            *value = 0.0;
        }
    }
}

/// The mean norm of the features that are not in `dead`, which ascends; of all features if none is left.
fn alive_norm(norms: &[f32], dead: &[u32]) -> f32 {
    let alive = (0_u32..).zip(norms);
    let alive = alive.filter(|(feature, _)| dead.binary_search(feature).is_err());
    let alive: Vec<f64> = alive.map(|(_, &norm)| f64::from(norm)).collect();
    let (sum, n) = match alive.len() {
        0 => (norms.iter().map(|&norm| f64::from(norm)).sum(), norms.len()),
        n => (alive.iter().sum::<f64>(), n),
    };
    (sum / n.max(1) as f64) as f32
}

/// `count` different tokens, or all that have a loss, drawn in proportion to its square
/// (Efraimidis & Spirakis 2006).
fn draw_tokens(losses: &[f64], count: usize, mut random: Random) -> Vec<usize> {
    let keys = losses.iter().enumerate().filter_map(|(token, loss)| {
        let uniform = 1.0 - random.uniform();
        (*loss > 0.0).then(|| (uniform.ln() / (loss * loss), token))
    });
    let mut keys: Vec<(f64, usize)> = keys.collect();
    keys.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    keys.iter().take(count).map(|&(_, token)| token).collect()
}

#[cfg(test)]
mod tests {
    use super::{Draw, Random, draw_tokens};

    #[test]
    fn tokens_are_drawn_in_proportion_to_the_square_of_their_loss() {
        let losses = [1.0, 0.0, 3.0];
        let draw = |seed| draw_tokens(&losses, 1, Random::new(seed, Draw::Dead(1), 0))[0];
        let drawn: Vec<usize> = (0..4000).map(draw).collect();
        let share = |token| drawn.iter().filter(|&&drawn| drawn == token).count() as f64 / 4000.0;
        assert!((share(2) - 0.9).abs() < 0.02, "{}", share(2));
        assert_eq!(share(1).to_bits(), 0.0_f64.to_bits());
        let mut all = draw_tokens(&losses, 3, Random::new(1, Draw::Dead(1), 0));
        all.sort_unstable();
        assert_eq!(all, [0, 2]);
    }
}
