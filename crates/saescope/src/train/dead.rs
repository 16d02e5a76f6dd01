//! Features that are never active: counted in tokens, and brought back.

use saescope_kernels::Matrix;

use super::activity::Activity;
use super::random::{Draw, Random, scale_to};
use super::{Objective, State, Treatment};
use crate::sae::row_norms;

/// What a step leaves for the treatment of dead features.
pub(super) struct BatchOutcome<'a> {
    /// What was encoded, `[tokens, d_in]`.
    pub(super) encoder_input: &'a Matrix,
    /// What was to be reconstructed, `[tokens, d_out]`.
    pub(super) target: &'a Matrix,
    pub(super) activity: &'a Activity,
    /// `|target - reconstruction|^2` of every token.
    pub(super) squared: &'a [f64],
}

/// Treats dead features after the step that `state` has just done. After the last there is nothing left
/// to train a new feature, so that it would only disturb.
pub(super) fn treat(state: &mut State, of: &BatchOutcome) {
    let last = state.step >= state.config.steps;
    let due = |every: u64| !last && state.step.is_multiple_of(every);
    match state.config.dead.treatment {
        Treatment::Redraw { every, below } if due(every) => redraw(state, of.activity, below),
        Treatment::Resample { every, times } if due(every) && state.resampled < times => {
            state.resampled += 1;
            resample(state, of);
        }
        _ => {}
    }
}

/// Features whose mean activation stays under `below` get an encoder row of normal numbers, of norm 1
/// on average, and no bias.
fn redraw(state: &mut State, activity: &Activity, below: f32) {
    let limit = below * activity.tokens as f32;
    let (seed, draw) = (state.config.seed, Draw::Dead(state.step));
    let State {
        weights, config, ..
    } = state;
    weights.update(config, |w_enc, _, vectors| {
        let factor = 1.0 / (w_enc.cols() as f32).sqrt();
        for (feature, _) in activity
            .sums
            .iter()
            .enumerate()
            .filter(|(_, sum)| **sum < limit)
        {
            let row = w_enc.row_mut(feature);
            Random::new(seed, draw, feature as u32).normal(row);
            row.iter_mut().for_each(|w| *w *= factor);
            reset(vectors, &config.objective, feature);
        }
    });
}

/// Dead features take the direction of tokens drawn in proportion to the square of their loss, the
/// encoder a fifth as long as those of living features are on average (Bricken et al. 2023).
fn resample(state: &mut State, of: &BatchOutcome) {
    let dead = state.firing.dead(state.config.dead.window_tokens);
    let alive = alive_norm(&row_norms(state.weights.w_enc()), &dead);
    let draw = Draw::Dead(state.step);
    let tokens = draw_tokens(
        of.squared,
        dead.len(),
        Random::new(state.config.seed, draw, 0),
    );
    let State {
        weights,
        config,
        optimiser,
        firing,
        ..
    } = state;
    let norm = config.init.decoder_norm;
    let b_dec = weights.vectors.b_dec.clone();
    weights.update(config, |w_enc, w_dec, vectors| {
        for (&feature, &token) in dead.iter().zip(&tokens) {
            let feature = feature as usize;
            w_enc
                .row_mut(feature)
                .copy_from_slice(of.encoder_input.row(token));
            scale_to(w_enc.row_mut(feature), 0.2 * alive);
            let direction = of.target.row(token).iter().zip(&b_dec);
            for (w, (x, b)) in w_dec.row_mut(feature).iter_mut().zip(direction) {
                *w = x - b;
            }
            scale_to(w_dec.row_mut(feature), norm);
            reset(vectors, &config.objective, feature);
            optimiser.forget(feature);
            firing.since[feature] = 0;
        }
    });
}

/// Starting values of what is one number for each feature.
fn reset(vectors: &mut super::weights::Vectors, objective: &Objective, feature: usize) {
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

/// The mean of the norms of features that are not `dead`, which ascend; of all where none is left.
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

/// `count` different tokens, or all, drawn in proportion to the square of their loss
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
