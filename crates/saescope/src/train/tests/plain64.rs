//! Every loss written down plainly in f64, over dense activations.

use super::*;

pub(super) type Rows = Vec<Vec<f64>>;

/// Weights, biases in the order of [`weights::VECTOR_NAMES`].
#[derive(Clone)]
pub(super) struct Params {
    pub(super) w_enc: Rows,
    pub(super) w_dec: Rows,
    pub(super) vectors: [Vec<f64>; 6],
}

impl Params {
    pub(super) fn of(weights: &weights::Weights) -> Params {
        let vectors = weights.vectors.parts();
        Params {
            w_enc: rows(weights.w_enc()),
            w_dec: rows(&weights.w_dec),
            vectors: vectors.map(|part| part.iter().map(|&x| f64::from(x)).collect()),
        }
    }

    fn b_enc(&self) -> &[f64] {
        &self.vectors[0]
    }

    fn b_dec(&self) -> &[f64] {
        &self.vectors[1]
    }

    fn threshold(&self) -> &[f64] {
        &self.vectors[2]
    }

    fn norm(&self, feature: usize) -> f64 {
        dot(&self.w_dec[feature], &self.w_dec[feature]).sqrt()
    }
}

pub(super) fn rows(matrix: &Matrix) -> Rows {
    let row = |row| matrix.row(row).iter().map(|&x| f64::from(x)).collect();
    (0..matrix.rows()).map(row).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A loss of weights.
pub(super) struct Plain<'a> {
    pub(super) config: &'a TrainConfig,
    pub(super) x: Rows,
    pub(super) target: Rows,
    pub(super) dead: Vec<usize>,
    /// The weights that get no gradient.
    pub(super) stopped: Params,
}

impl Plain<'_> {
    pub(super) fn loss(&self, p: &Params) -> f64 {
        let f = self.activations(p);
        let on = self.on(p);
        self.loss_of(p, &f, &on)
    }

    /// The loss of given activations, and of given values of the step function.
    pub(super) fn loss_of(&self, p: &Params, f: &Rows, on: &Rows) -> f64 {
        let one = vec![self.config.d_sae];
        let prefixes = match &self.config.objective {
            Objective::Matryoshka { prefixes, .. } => prefixes,
            _ => &one,
        };
        let errors = prefixes.iter().map(|&end| {
            let y = self.decode(p, f, end);
            self.error(&y)
        });
        errors.sum::<f64>() + self.sparsity(p, f, on) + self.aux(p)
    }

    pub(super) fn pre(&self, p: &Params) -> Rows {
        let subtract = f64::from(u8::from(self.config.init.subtract_b_dec));
        let row = |x: &Vec<f64>| -> Vec<f64> {
            let encoder_input: Vec<f64> = match subtract > 0.0 {
                true => x.iter().zip(p.b_dec()).map(|(x, b)| x - b).collect(),
                false => x.clone(),
            };
            let features = p.w_enc.iter().zip(p.b_enc());
            features
                .map(|(row, b)| dot(row, &encoder_input) + b)
                .collect()
        };
        self.x.iter().map(row).collect()
    }

    pub(super) fn activations(&self, p: &Params) -> Rows {
        let pre = self.pre(p);
        let each = |f: &dyn Fn(usize, f64) -> f64| -> Rows {
            let row = |row: &Vec<f64>| row.iter().enumerate().map(|(i, &x)| f(i, x)).collect();
            pre.iter().map(row).collect()
        };
        match &self.config.objective {
            Objective::L1 { .. } => each(&|_, x| x.max(0.0)),
            Objective::TopK { k, .. } => {
                let row = |row: &Vec<f64>| largest(std::slice::from_ref(row), *k).remove(0);
                pre.iter().map(row).collect()
            }
            Objective::BatchTopK { k, .. } | Objective::Matryoshka { k, .. } => {
                largest(&pre, k * pre.len())
            }
            Objective::JumpRelu { .. } => each(&|i, x| if x > p.threshold()[i] { x } else { 0.0 }),
            Objective::Gated { .. } => each(&|i, gate| {
                let magnitude = p.vectors[3][i].exp() * (gate - p.b_enc()[i]) + p.vectors[4][i];
                if gate > 0.0 { magnitude.max(0.0) } else { 0.0 }
            }),
        }
    }

    pub(super) fn on(&self, p: &Params) -> Rows {
        let threshold = p.threshold();
        let on =
            |(i, x): (usize, &f64)| f64::from(u8::from(threshold.get(i).is_some_and(|t| x > t)));
        let row = |row: &Vec<f64>| row.iter().enumerate().map(on).collect();
        self.pre(p).iter().map(row).collect()
    }

    pub(super) fn decode(&self, p: &Params, f: &Rows, end: usize) -> Rows {
        let d_in = self.x[0].len();
        let row = |(f, x): (&Vec<f64>, &Vec<f64>)| {
            let component = |d: usize| {
                let skip = p.vectors[5].get(d * d_in..(d + 1) * d_in);
                let features = (0..end).map(|i| f[i] * p.w_dec[i][d]).sum::<f64>();
                features + p.b_dec()[d] + skip.map_or(0.0, |skip| dot(skip, x))
            };
            (0..p.b_dec().len()).map(component).collect()
        };
        f.iter().zip(&self.x).map(row).collect()
    }

    fn error(&self, y: &Rows) -> f64 {
        let squares = squared(y, &self.target);
        let (n, d) = (y.len() as f64, y[0].len() as f64);
        match self.config.reconstruction {
            Reconstruction::SquaredError => squares / n,
            Reconstruction::MeanSquaredError => squares / n / d,
            Reconstruction::Fvu => squares / variance(&self.target),
        }
    }

    fn sparsity(&self, p: &Params, f: &Rows, on: &Rows) -> f64 {
        let n = f.len() as f64;
        let sum = |of: &dyn Fn(usize, usize) -> f64| -> f64 {
            let features = |t| (0..self.config.d_sae).map(move |i| (t, i));
            (0..f.len()).flat_map(features).map(|(t, i)| of(t, i)).sum()
        };
        match self.config.objective {
            Objective::L1 {
                coefficient,
                decoder_norm,
            } => {
                let norm = |i| if decoder_norm { p.norm(i) } else { 1.0 };
                f64::from(coefficient) * sum(&|t, i| f[t][i] * norm(i)) / n
            }
            Objective::JumpRelu { penalty, .. } => match penalty {
                JumpPenalty::Step { coefficient } => {
                    f64::from(coefficient) * sum(&|t, i| on[t][i]) / n
                }
                JumpPenalty::Tanh { coefficient, scale } => {
                    let scale = f64::from(scale);
                    f64::from(coefficient) * sum(&|t, i| (scale * f[t][i] * p.norm(i)).tanh()) / n
                }
                JumpPenalty::Target { coefficient, l0 } => {
                    let off = sum(&|t, i| on[t][i]) / n / f64::from(l0) - 1.0;
                    f64::from(coefficient) * off * off
                }
            },
            Objective::Gated { coefficient, .. } => {
                let pre = self.pre(p);
                f64::from(coefficient) * sum(&|t, i| pre[t][i].max(0.0) * p.norm(i)) / n
            }
            _ => 0.0,
        }
    }

    fn aux(&self, p: &Params) -> f64 {
        match &self.config.objective {
            Objective::Gated {
                aux_trains_decoder, ..
            } => {
                let mut decoder = p.clone();
                if !aux_trains_decoder {
                    decoder.w_dec = self.stopped.w_dec.clone();
                    decoder.vectors[1] = self.stopped.vectors[1].clone();
                    decoder.vectors[5] = self.stopped.vectors[5].clone();
                }
                let gates = |row: &Vec<f64>| row.iter().map(|x| x.max(0.0)).collect();
                let gates: Rows = self.pre(p).iter().map(gates).collect();
                self.error(&self.decode(&decoder, &gates, self.config.d_sae))
            }
            Objective::JumpRelu { pre_activation, .. } => {
                let pre = self.pre(p);
                let pairs = pre
                    .iter()
                    .flat_map(|row| self.dead.iter().map(move |&i| (row, i)));
                let below =
                    |(row, i): (&Vec<f64>, usize)| (p.threshold()[i] - row[i]).max(0.0) * p.norm(i);
                f64::from(*pre_activation) * pairs.map(below).sum::<f64>() / pre.len() as f64
            }
            Objective::TopK { aux, .. }
            | Objective::BatchTopK { aux, .. }
            | Objective::Matryoshka { aux, .. } => aux.map_or(0.0, |aux| self.explain(p, aux)),
            Objective::L1 { .. } => 0.0,
        }
    }

    fn explain(&self, p: &Params, aux: AuxK) -> f64 {
        if self.dead.is_empty() {
            return 0.0;
        }
        let stopped = &self.stopped;
        let y = self.decode(stopped, &self.activations(stopped), self.config.d_sae);
        let pairs = self.target.iter().zip(&y);
        let minus = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
        let residual: Rows = pairs.map(minus).collect();
        let k = aux.k.min(self.dead.len());
        let pre = self.pre(p);
        let made = pre.iter().map(|row| {
            let mut dead: Vec<usize> = self.dead.clone();
            dead.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            let signed = aux.form == AuxForm::Saelens;
            let component = |d: usize| {
                let value = |i: usize| if signed { row[i] } else { row[i].max(0.0) };
                dead[..k].iter().map(|&i| value(i) * p.w_dec[i][d]).sum()
            };
            (0..y[0].len()).map(component).collect()
        });
        let made: Rows = made.collect();
        let share = (self.dead.len() as f64 / aux.k as f64).min(1.0);
        let (scale, whole) = match aux.form {
            AuxForm::Paper => (1.0, variance(&residual)),
            AuxForm::Saelens => (share, y.len() as f64),
            AuxForm::Sparsify => (share, variance(&self.target)),
        };
        f64::from(aux.coefficient) * scale * squared(&made, &residual) / whole
    }
}

/// The `count` largest positive values, all others 0.
fn largest(pre: &[Vec<f64>], count: usize) -> Rows {
    let mut all: Vec<f64> = pre.iter().flatten().copied().filter(|x| *x > 0.0).collect();
    all.sort_by(|a, b| b.total_cmp(a));
    let least = all.get(count.wrapping_sub(1)).copied().unwrap_or(0.0);
    let keep = |x: &f64| if *x > 0.0 && *x >= least { *x } else { 0.0 };
    pre.iter()
        .map(|row| row.iter().map(keep).collect())
        .collect()
}

fn squared(a: &Rows, b: &Rows) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| (a - b) * (a - b)).sum()
}

fn variance(x: &Rows) -> f64 {
    let n = x.len() as f64;
    let mean: Vec<f64> = (0..x[0].len())
        .map(|d| x.iter().map(|row| row[d]).sum::<f64>() / n)
        .collect();
    let means: Rows = x.iter().map(|_| mean.clone()).collect();
    squared(x, &means)
}
