//! The encoder of a sparse autoencoder: the active features of each token and their activations.
//!
//! The dense `[tokens, d_sae]` is never formed. With many rows, screens (see `screen`) first rule
//! out most features; the activations themselves are always exact f32 dot products. Input norms and
//! the decoder are not known here.

use std::sync::{Mutex, OnceLock, PoisonError};

use rayon::prelude::*;

use crate::elementwise::dot_f32;
use crate::isa::Isa;
use crate::matrix::Matrix;
#[cfg(target_arch = "x86_64")]
use crate::screen::Selection;
#[cfg(target_arch = "x86_64")]
use crate::screen::bytes::{ByteRows, ByteScreen, ExactEncoder, ThresholdGuess};
use crate::screen::{Candidates, WordScreen};
use crate::sparse::SparseRows;

/// The gate that turns pre-activations into activations.
#[derive(Clone, Debug, PartialEq)]
pub enum Gate {
    /// Keeps positive pre-activations (ReLU).
    Positive,
    /// Keeps the positive ones of the `k` largest; of equal ones the lower feature comes first
    /// (Makhzani & Frey 2013; Gao et al. 2024).
    TopK(usize),
    /// Keeps positive pre-activations above their feature's threshold, `[d_sae]` (JumpReLU,
    /// Rajamanoharan et al. 2024).
    Above(Vec<f32>),
}

/// `gate(x W^T + bias)` with few active features.
///
/// An activation is the same f32 dot product whether a screen was used or not.
pub struct Encoder {
    isa: Isa,
    weight: Matrix,
    bias: Vec<f32>,
    gate: Gate,
    words: Derived<WordScreen>,
    /// The coarser screen, tried first.
    #[cfg(target_arch = "x86_64")]
    bytes: Derived<ByteScreen>,
    #[cfg(target_arch = "x86_64")]
    threshold_guess: ThresholdGuess,
}

/// A value derived from the weight when it is first needed.
struct Derived<T> {
    value: OnceLock<T>,
    /// The value of an earlier weight, kept for its memory.
    stale: Mutex<Option<T>>,
}

impl<T> Derived<T> {
    fn new() -> Derived<T> {
        Derived {
            value: OnceLock::new(),
            stale: Mutex::new(None),
        }
    }

    /// Marks the value as stale.
    fn invalidate(&mut self) {
        if let Some(value) = self.value.take() {
            self.stale = Mutex::new(Some(value));
        }
    }

    /// The value; if there is none, `renew` derives it in place of a stale or an empty one.
    fn get(&self, empty: impl FnOnce() -> T, renew: impl FnOnce(&mut T)) -> &T {
        self.value.get_or_init(|| {
            let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
            let mut value = stale.take().unwrap_or_else(empty);
            renew(&mut value);
            value
        })
    }
}

/// Number of rows from which a screen saves time, though it may have to be built first.
const WORTH_SCREENING: usize = 32;

impl Encoder {
    /// An encoder of `weight` `[d_sae, d_in]` and `bias` `[d_sae]`.
    ///
    /// # Panics
    /// When bias or thresholds are not `[d_sae]`.
    pub fn new(weight: Matrix, bias: Vec<f32>, gate: Gate) -> Encoder {
        Encoder::new_on(Isa::current(), weight, bias, gate)
    }

    pub(crate) fn new_on(isa: Isa, weight: Matrix, bias: Vec<f32>, gate: Gate) -> Encoder {
        let encoder = Encoder {
            isa,
            weight,
            bias,
            gate,
            words: Derived::new(),
            #[cfg(target_arch = "x86_64")]
            bytes: Derived::new(),
            #[cfg(target_arch = "x86_64")]
            threshold_guess: ThresholdGuess::default(),
        };
        encoder.check();
        encoder
    }

    /// # Panics
    /// When bias or thresholds are not `[d_sae]`.
    fn check(&self) {
        let features = self.weight.rows();
        assert_eq!(self.bias.len(), features, "length of an encoder's bias");
        if let Gate::Above(thresholds) = &self.gate {
            assert_eq!(thresholds.len(), features, "number of thresholds");
        }
    }

    /// Runs `f` to change weight `[d_sae, d_in]`, bias and gate; returns its result.
    ///
    /// # Panics
    /// When bias or thresholds are not `[d_sae]` afterwards.
    pub fn update<R>(&mut self, f: impl FnOnce(&mut Matrix, &mut Vec<f32>, &mut Gate) -> R) -> R {
        self.words.invalidate();
        #[cfg(target_arch = "x86_64")]
        self.bytes.invalidate();
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

    /// The gate.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The active features of every row of `x`, `[tokens, d_in]`. A NaN pre-activation is not
    /// active.
    ///
    /// # Panics
    /// When `x` has another width.
    pub fn encode(&self, x: &Matrix) -> SparseRows {
        assert_eq!(x.cols(), self.weight.cols(), "width of encoded rows");
        // Bounds do not hold for rows that are not finite.
        let screened = x.rows() >= WORTH_SCREENING && x.is_finite();
        let entries = if screened {
            self.entries_by_screen(x)
        } else {
            self.entries_of_all(x)
        };
        let mut rows = SparseRows::default();
        for row in entries {
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
        assert_eq!(x.len(), row.len(), "width of encoded rows");
        let mut sum = 0.0;
        // SAFETY: both have the same length.
        unsafe { dot_f32(self.isa, x, row, &mut sum) };
        sum + self.bias[feature as usize]
    }

    /// The entries of each row by the products of all features, for few rows.
    fn entries_of_all(&self, x: &Matrix) -> Vec<Vec<(u32, f32)>> {
        /// Features of a task: their rows of the encoder stay in the second cache.
        const FEATURES: usize = 64;
        let chunks = (0..self.weight.rows()).into_par_iter().step_by(FEATURES);
        let passing: Vec<Vec<(u32, (u32, f32))>> = chunks
            .map(|first| {
                let last = (first + FEATURES).min(self.weight.rows());
                let mut passing = Vec::new();
                for feature in first as u32..last as u32 {
                    for row in 0..x.rows() {
                        let value = self.pre_activation(x.row(row), feature);
                        if self.passes(feature, value) {
                            passing.push((row as u32, (feature, value)));
                        }
                    }
                }
                passing
            })
            .collect();
        let mut rows = vec![Vec::new(); x.rows()];
        for (row, entry) in passing.into_iter().flatten() {
            rows[row as usize].push(entry);
        }
        rows.into_iter().map(|row| self.select(row)).collect()
    }

    /// The entries of each row, by exact values of the features that a screen leaves.
    fn entries_by_screen(&self, x: &Matrix) -> Vec<Vec<(u32, f32)>> {
        #[cfg(target_arch = "x86_64")]
        if let Some(entries) = self.entries_by_bytes(x) {
            return entries;
        }
        let empty = || WordScreen::empty(self.isa);
        let renew = |screen: &mut WordScreen| screen.renew(&self.weight, &self.offset());
        let screen = self.words.get(empty, renew);
        let k = self.k();
        let mut candidates: Vec<Candidates> = (0..x.rows()).map(|_| Candidates::new(k)).collect();
        screen.scan(x, &mut candidates);
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

    /// The same by the coarser screen; `None` if the processor lacks it or it saves no time.
    #[cfg(target_arch = "x86_64")]
    fn entries_by_bytes(&self, x: &Matrix) -> Option<Vec<Vec<(u32, f32)>>> {
        if self.isa != Isa::Avx512Bf16 {
            return None;
        }
        let renew = |screen: &mut ByteScreen| screen.renew(&self.weight, &self.offset());
        let screen = self.bytes.get(ByteScreen::empty, renew);
        let rows = ByteRows::new(x);
        if !screen.pays(&rows) {
            return None;
        }
        let exact = ExactEncoder {
            weight: &self.weight,
            bias: &self.bias,
            thresholds: match &self.gate {
                Gate::Above(thresholds) => Some(thresholds),
                _ => None,
            },
        };
        let selections = match self.k() {
            None => {
                let mut all: Vec<Selection> = (0..x.rows()).map(|_| Selection::all()).collect();
                screen.scan(x, &rows, &exact, &mut all);
                all
            }
            Some(k) => {
                let scan = |x: &Matrix, rows: &ByteRows, selections: &mut [Selection]| {
                    screen.scan(x, rows, &exact, selections);
                };
                self.threshold_guess.top(k, x, &rows, scan)
            }
        };
        Some(
            selections
                .into_par_iter()
                .map(Selection::into_row)
                .collect(),
        )
    }

    /// The offset `[d_sae]` that is added to products, so that a sum above 0 passes the gate, apart
    /// from the limit of [`Gate::TopK`].
    fn offset(&self) -> Vec<f32> {
        match &self.gate {
            Gate::Above(thresholds) => {
                let pairs = self.bias.iter().zip(thresholds);
                pairs.map(|(bias, above)| bias - above.max(0.0)).collect()
            }
            _ => self.bias.clone(),
        }
    }

    /// Most active features of a row; `None` without a limit.
    fn k(&self) -> Option<usize> {
        match self.gate {
            Gate::TopK(k) => Some(k),
            _ => None,
        }
    }

    /// True if a pre-activation passes the gate, apart from the limit of [`Gate::TopK`].
    fn passes(&self, feature: u32, value: f32) -> bool {
        match &self.gate {
            Gate::Above(thresholds) => value > thresholds[feature as usize].max(0.0),
            _ => value > 0.0,
        }
    }

    /// The entries of a row that are within the limit of [`Gate::TopK`], features ascending.
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
