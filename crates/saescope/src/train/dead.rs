//! Features that are never active: counted in tokens, and brought back.

use saescope_kernels::{Matrix, row_norms, scale_rows_to_norm, scatter_rows, subtract_row};

use super::activity::Activity;
use super::random::{Draw, Random};
use super::{Objective, State, Treatment};

/// When features were active.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fires {
    /// Tokens since each feature's last activation, `[d_sae]`.
    pub(super) since: Vec<i64>,
    /// Tokens on which each was active since the last line of metrics, `[d_sae]`.
    pub(super) recent: Vec<i64>,
    /// Tokens since the last line of metrics.
    pub(super) recent_tokens: i64,
}

impl Fires {
    pub(super) fn new(d_sae: usize) -> Fires {
        Fires {
            since: vec![0; d_sae],
            recent: vec![0; d_sae],
            recent_tokens: 0,
        }
    }

    /// Counts a batch.
    pub(super) fn saw(&mut self, activity: &Activity) {
        let n = activity.tokens as i64;
        let features = self.since.iter_mut().zip(&mut self.recent);
        for ((since, recent), &count) in features.zip(&activity.counts) {
            *since = if count > 0 { 0 } else { *since + n };
            *recent += i64::from(count);
        }
        self.recent_tokens += n;
    }

    /// Features that were not active on as many tokens, ascending.
    pub(super) fn dead(&self, window_tokens: u64) -> Vec<u32> {
        let is_dead = |since: i64| since.cast_unsigned() >= window_tokens;
        let features = (0..).zip(&self.since);
        let dead = features.filter(|&(_, &since)| is_dead(since));
        dead.map(|(feature, _)| feature).collect()
    }
}

/// What a step leaves for the treatment of dead features.
pub(super) struct Leftovers<'a> {
    /// What was encoded, `[tokens, d_in]`.
    pub(super) inner: &'a Matrix,
    /// What was to be reconstructed, `[tokens, d_out]`.
    pub(super) target: &'a Matrix,
    pub(super) activity: &'a Activity,
    /// `|target - reconstruction|^2` of every token.
    pub(super) squared: &'a [f64],
}

/// Treats dead features after the step that `state` has just done. After the last there is nothing left
/// to train a new feature, so that it would only disturb.
pub(super) fn treat(state: &mut State, of: &Leftovers) {
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
    weights.update(config, |w_enc, _, small| {
        let d = w_enc.cols();
        let weak = activity.sums.iter().enumerate();
        let weak: Vec<usize> = weak
            .filter(|(_, sum)| **sum < limit)
            .map(|(feature, _)| feature)
            .collect();
        let mut values = vec![0.0; weak.len() * d];
        for (row, &feature) in values.chunks_exact_mut(d).zip(&weak) {
            Random::new(seed, draw, feature as u32).normal(row);
            reset(small, &config.objective, feature);
        }
        let mut rows = Matrix::from_vec(weak.len(), d, values);
        rows.scale(1.0 / (d as f32).sqrt());
        scatter_rows(&rows, w_enc, &weak);
    });
}

/// Dead features take the direction of tokens drawn in proportion to the square of their loss, the
/// encoder a fifth as long as those of living features are on average (Bricken et al. 2023).
fn resample(state: &mut State, of: &Leftovers) {
    let dead = state.fires.dead(state.config.dead.window_tokens);
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
        fires,
        ..
    } = state;
    let norm = config.init.decoder_norm;
    let b_dec = weights.small.b_dec.clone();
    weights.update(config, |w_enc, w_dec, small| {
        let features = dead.iter().map(|&feature| feature as usize);
        let features: Vec<usize> = features.take(tokens.len()).collect();
        let mut rows = of.inner.select_rows(&tokens); // [features, d_in]
        scale_rows_to_norm(&mut rows, 0.2 * alive);
        scatter_rows(&rows, w_enc, &features);
        let mut rows = of.target.select_rows(&tokens); // [features, d_out]
        subtract_row(&mut rows, &b_dec);
        scale_rows_to_norm(&mut rows, norm);
        scatter_rows(&rows, w_dec, &features);
        for feature in features {
            reset(small, &config.objective, feature);
            optimiser.forget(feature);
            fires.since[feature] = 0;
        }
    });
}

/// Starting values of what is one number for each feature.
fn reset(small: &mut super::weights::Small, objective: &Objective, feature: usize) {
    small.b_enc[feature] = 0.0;
    if let Objective::JumpRelu { threshold, .. } = objective {
        small.threshold[feature] = *threshold;
    }
    for part in [&mut small.r_mag, &mut small.b_mag] {
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
