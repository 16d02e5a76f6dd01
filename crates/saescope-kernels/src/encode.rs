//! The encoder of a sparse autoencoder: which of many features are active, and how strongly.
//!
//! The dense `[tokens, d_sae]` is never formed.

use std::sync::{Mutex, OnceLock, PoisonError};

use rayon::prelude::*;

use crate::elementwise::dot_f32;
use crate::isa::Isa;
use crate::matrix::Matrix;
#[cfg(target_arch = "x86_64")]
use crate::screen::best::{Best, ThresholdGuess};
#[cfg(target_arch = "x86_64")]
use crate::screen::bytes::{ByteRows, Bytes, Exact};
use crate::screen::{Candidates, Screen};
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
///
/// An activation is always the same f32 dot product, whichever way it was found: with many rows, a
/// `Screen` in integers first rules out most features.
pub struct Encoder {
    isa: Isa,
    weight: Matrix,
    bias: Vec<f32>,
    gate: Gate,
    screen: Renewed<Screen>,
    /// The coarser screen, which is tried first.
    #[cfg(target_arch = "x86_64")]
    bytes: Renewed<Bytes>,
    #[cfg(target_arch = "x86_64")]
    expected: ThresholdGuess,
}

/// What is made of the weight when it is first needed.
struct Renewed<T> {
    made: OnceLock<T>,
    /// One that no longer fits the weight, for its memory.
    stale: Mutex<Option<T>>,
}

impl<T> Renewed<T> {
    fn new() -> Renewed<T> {
        Renewed {
            made: OnceLock::new(),
            stale: Mutex::new(None),
        }
    }

    fn forget(&mut self) {
        if let Some(made) = self.made.take() {
            self.stale = Mutex::new(Some(made));
        }
    }

    fn get(&self, empty: impl FnOnce() -> T, renew: impl FnOnce(&mut T)) -> &T {
        self.made.get_or_init(|| {
            let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
            let mut made = stale.take().unwrap_or_else(empty);
            renew(&mut made);
            made
        })
    }
}

/// Rows from which on a screen pays, though it has to be made first.
const WORTH_SCREENING: usize = 32;

impl Encoder {
    /// An encoder of `weight` `[d_sae, d_in]` and `bias` `[d_sae]`.
    ///
    /// # Panics
    /// When the bias, or the thresholds of the gate, are not one for each feature.
    pub fn new(weight: Matrix, bias: Vec<f32>, gate: Gate) -> Encoder {
        Encoder::new_on(Isa::current(), weight, bias, gate)
    }

    pub(crate) fn new_on(isa: Isa, weight: Matrix, bias: Vec<f32>, gate: Gate) -> Encoder {
        let encoder = Encoder {
            isa,
            weight,
            bias,
            gate,
            screen: Renewed::new(),
            #[cfg(target_arch = "x86_64")]
            bytes: Renewed::new(),
            #[cfg(target_arch = "x86_64")]
            expected: ThresholdGuess::default(),
        };
        encoder.check();
        encoder
    }

    /// # Panics
    /// When the bias, or the thresholds of the gate, are not one for each feature.
    fn check(&self) {
        let features = self.weight.rows();
        assert_eq!(self.bias.len(), features, "length of an encoder's bias");
        if let Gate::Above(thresholds) = &self.gate {
            assert_eq!(thresholds.len(), features, "number of thresholds");
        }
    }

    /// Lets `f` change weight `[d_sae, d_in]`, bias and gate, as training does.
    ///
    /// # Panics
    /// When the bias, or the thresholds of the gate, are not one for each feature afterwards.
    pub fn update<R>(&mut self, f: impl FnOnce(&mut Matrix, &mut Vec<f32>, &mut Gate) -> R) -> R {
        self.screen.forget();
        #[cfg(target_arch = "x86_64")]
        self.bytes.forget();
        let result = f(&mut self.weight, &mut self.bias, &mut self.gate);
        self.check();
        result
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
        // Bounds say nothing of what is not finite.
        let screened = x.rows() >= WORTH_SCREENING && x.is_finite();
        let active = if screened {
            self.active_by_screen(x)
        } else {
            self.active_by_all(x)
        };
        let mut rows = SparseRows::default();
        for row in active {
            rows.push(row);
        }
        rows
    }

    /// The pre-activation of one feature on one row, `[d_in]`.
    ///
    /// # Panics
    /// When there is no such feature, or the row has another width.
    pub fn pre_activation(&self, x: &[f32], feature: u32) -> f32 {
        let row = self.weight.row(feature as usize);
        assert_eq!(x.len(), row.len(), "width of what is encoded");
        let mut sum = 0.0;
        // SAFETY: both have the same length.
        unsafe { dot_f32(self.isa, x, row, &mut sum) };
        sum + self.bias[feature as usize]
    }

    /// Every feature's product, for a few rows.
    fn active_by_all(&self, x: &Matrix) -> Vec<Vec<(u32, f32)>> {
        /// Features of a task: their rows of the encoder stay in the second cache.
        const FEATURES: usize = 64;
        let chunks = (0..self.weight.rows()).into_par_iter().step_by(FEATURES);
        let found: Vec<Vec<(u32, (u32, f32))>> = chunks
            .map(|first| {
                let last = (first + FEATURES).min(self.weight.rows());
                let mut found = Vec::new();
                for feature in first as u32..last as u32 {
                    for row in 0..x.rows() {
                        let value = self.pre_activation(x.row(row), feature);
                        if self.passes(feature, value) {
                            found.push((row as u32, (feature, value)));
                        }
                    }
                }
                found
            })
            .collect();
        let mut active = vec![Vec::new(); x.rows()];
        for (row, entry) in found.into_iter().flatten() {
            active[row as usize].push(entry);
        }
        active.into_iter().map(|row| self.select(row)).collect()
    }

    fn active_by_screen(&self, x: &Matrix) -> Vec<Vec<(u32, f32)>> {
        #[cfg(target_arch = "x86_64")]
        if let Some(active) = self.active_by_bytes(x) {
            return active;
        }
        let empty = || Screen::empty(self.isa);
        let screen = (self.screen).get(empty, |screen| screen.renew(&self.weight, &self.offset()));
        let k = self.most();
        let mut candidates: Vec<Candidates> = (0..x.rows()).map(|_| Candidates::new(k)).collect();
        screen.walk(x, &mut candidates);
        let rows = candidates.into_par_iter().enumerate();
        rows.map(|(row, candidates)| {
            let values = candidates.features().into_iter().map(|feature| {
                let value = self.pre_activation(x.row(row), feature);
                (feature, value)
            });
            self.select(values.filter(|&(f, value)| self.passes(f, value)).collect())
        })
        .collect()
    }

    /// The same by the coarser screen, where the processor has it and it pays.
    #[cfg(target_arch = "x86_64")]
    fn active_by_bytes(&self, x: &Matrix) -> Option<Vec<Vec<(u32, f32)>>> {
        if self.isa != Isa::Avx512Bf16 {
            return None;
        }
        let renew = |bytes: &mut Bytes| bytes.renew(&self.weight, &self.offset());
        let screen = self.bytes.get(Bytes::empty, renew);
        let rows = ByteRows::new(x);
        if !screen.pays(&rows) {
            return None;
        }
        let exact = Exact {
            weight: &self.weight,
            bias: &self.bias,
            above: match &self.gate {
                Gate::Above(thresholds) => Some(thresholds),
                _ => None,
            },
        };
        let best = match self.most() {
            None => {
                let mut all: Vec<Best> = (0..x.rows()).map(|_| Best::all()).collect();
                screen.walk(x, &rows, &exact, &mut all);
                all
            }
            Some(k) => {
                let walk = |x: &Matrix, rows: &ByteRows, best: &mut [Best]| {
                    screen.walk(x, rows, &exact, best);
                };
                self.expected.top(k, x, &rows, walk)
            }
        };
        Some(best.into_par_iter().map(Best::into_row).collect())
    }

    /// What is added to products: more than 0 is active, but for the number of them.
    fn offset(&self) -> Vec<f32> {
        match &self.gate {
            Gate::Above(thresholds) => {
                let pairs = self.bias.iter().zip(thresholds);
                pairs.map(|(bias, above)| bias - above.max(0.0)).collect()
            }
            _ => self.bias.clone(),
        }
    }

    /// Active features of a row at most.
    fn most(&self) -> Option<usize> {
        match self.gate {
            Gate::TopK(k) => Some(k),
            _ => None,
        }
    }

    /// Whether a pre-activation becomes an activation, but for the number of them.
    fn passes(&self, feature: u32, value: f32) -> bool {
        match &self.gate {
            Gate::Above(thresholds) => value > thresholds[feature as usize].max(0.0),
            _ => value > 0.0,
        }
    }

    /// The entries of a row, in ascending order of features, that are among its largest.
    fn select(&self, mut row: Vec<(u32, f32)>) -> Vec<(u32, f32)> {
        if let Gate::TopK(k) = self.gate
            && row.len() > k
        {
            let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            row.select_nth_unstable_by(k, order);
            row.truncate(k);
            row.sort_unstable_by_key(|&(feature, _)| feature);
        }
        row
    }
}
