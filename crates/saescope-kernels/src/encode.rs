//! The encoder of a sparse autoencoder: which of many features are active, and how strongly.
//!
//! The dense `[tokens, d_sae]` is never formed.

use rayon::prelude::*;

use crate::matrix::Matrix;
use crate::sparse::SparseRows;

/// Which pre-activations become activations.
#[derive(Clone, Debug, PartialEq)]
pub enum Gate {
    /// The positive ones (ReLU).
    Positive,
    /// Of the `k` largest the positive ones; of equal ones that of the lower feature comes first
    /// (Makhzani & Frey 2013; Gao et al. 2024).
    TopK(usize),
    /// The positive ones above the feature's threshold, `[d_sae]` (JumpReLU, Rajamanoharan et al.
    /// 2024).
    Above(Vec<f32>),
}

/// `gate(x W^T + bias)` with few survivors.
pub struct Encoder {
    weight: Matrix,
    bias: Vec<f32>,
    gate: Gate,
}

impl Encoder {
    /// An encoder of `weight` `[d_sae, d_in]` and `bias` `[d_sae]`.
    ///
    /// # Panics
    /// When the bias, or the thresholds of the gate, are not one for each feature.
    pub fn new(weight: Matrix, bias: Vec<f32>, gate: Gate) -> Encoder {
        assert_eq!(bias.len(), weight.rows(), "length of an encoder's bias");
        if let Gate::Above(thresholds) = &gate {
            assert_eq!(thresholds.len(), weight.rows(), "number of thresholds");
        }
        Encoder { weight, bias, gate }
    }

    /// `[d_sae, d_in]`
    pub fn weight(&self) -> &Matrix {
        &self.weight
    }

    /// `[d_sae]`
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// What decides over activation.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The active features of every row of `x`, `[tokens, d_in]`. A pre-activation that is not a
    /// number is not active.
    ///
    /// # Panics
    /// When `x` has another width.
    pub fn encode(&self, x: &Matrix) -> SparseRows {
        assert_eq!(x.cols(), self.weight.cols(), "width of what is encoded");
        let active: Vec<Vec<(u32, f32)>> = (0..x.rows())
            .into_par_iter()
            .map(|row| self.encode_row(x.row(row)))
            .collect();
        let mut rows = SparseRows::default();
        for row in active {
            rows.push(row);
        }
        rows
    }

    /// The pre-activation of one feature on one row.
    pub fn pre_activation(&self, x: &[f32], feature: u32) -> f32 {
        let feature = feature as usize;
        let row = self.weight.row(feature);
        let sum: f32 = x.iter().zip(row).map(|(x, w)| x * w).sum();
        sum + self.bias[feature]
    }

    fn encode_row(&self, x: &[f32]) -> Vec<(u32, f32)> {
        let all = (0..self.weight.rows() as u32).map(|f| (f, self.pre_activation(x, f)));
        let mut positive: Vec<(u32, f32)> = match &self.gate {
            Gate::Above(thresholds) => all
                .filter(|&(f, value)| value > thresholds[f as usize].max(0.0))
                .collect(),
            _ => all.filter(|&(_, value)| value > 0.0).collect(),
        };
        if let Gate::TopK(k) = self.gate {
            positive.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            positive.truncate(k);
            positive.sort_by_key(|&(feature, _)| feature);
        }
        positive
    }
}
