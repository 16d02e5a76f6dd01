//! Training compared with plain f64 loops, planted directions and itself.

mod dead;
mod folded;
mod golden;
mod gradients;
mod hostile;
mod plain64;
mod resume;
mod toy;

use std::ops::ControlFlow;

use super::*;
use crate::activations::{Batch, Batches, Clocks};
use crate::error::Result;
use crate::sae::{Record, Sae};
use saescope_kernels::Matrix;

/// A sink that keeps the lines of metrics, and the bytes of every checkpoint.
#[derive(Default)]
struct Kept {
    lines: Vec<Metrics>,
    checkpoints: Vec<Vec<u8>>,
    /// The step after which the run is to end.
    stop_at: Option<u64>,
}

impl Sink for Kept {
    fn step(&mut self, step: u64) -> ControlFlow<()> {
        if self.stop_at == Some(step) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn metrics(&mut self, metrics: &Metrics) -> Result<()> {
        self.lines.push(metrics.clone());
        Ok(())
    }

    fn checkpoint(&mut self, state: &State) -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        crate::runs::save_state(state, &path)?;
        self.checkpoints.push(std::fs::read(path).unwrap());
        Ok(())
    }
}

/// The batches of an iterator.
struct Iterated<I>(I);

impl<I: Iterator<Item = Result<Batch>>> Iterator for Iterated<I> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        self.0.next()
    }
}

impl<I: Iterator<Item = Result<Batch>>> Batches for Iterated<I> {
    fn seek(&mut self, batches_done: u64) {
        self.0.by_ref().take(batches_done as usize).for_each(drop);
    }

    fn clocks(&self) -> Clocks {
        Clocks::default()
    }

    fn predicted_bytes(&self) -> u64 {
        0
    }
}

/// Trains one autoencoder.
fn train_one(
    config: &TrainConfig,
    resume: Option<State>,
    batches: &mut dyn Iterator<Item = Result<Batch>>,
) -> Result<(Sae, Kept)> {
    let mut sink = Kept::default();
    let run = Run {
        config,
        record: Record::default(),
        resume,
        sink: &mut sink,
    };
    let mut saes = train(vec![run], &mut Iterated(batches))?;
    Ok((saes.pop().unwrap(), sink))
}

/// Numbers between -1 and 1, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut bits = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        (bits >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn noise_matrix(seed: u64, rows: usize, cols: usize) -> Matrix {
    Matrix::from_vec(rows, cols, noise(seed, rows * cols))
}

/// Every objective without extras, for `d_sae` features.
fn objectives(k: usize, d_sae: usize) -> Vec<(&'static str, Objective)> {
    let jump = |penalty| Objective::JumpRelu {
        penalty,
        bandwidth: 0.3,
        threshold: 0.1,
        pre_activation: 0.0,
    };
    let l1 = |decoder_norm| Objective::L1 {
        coefficient: 0.3,
        decoder_norm,
    };
    let gated = |aux_trains_decoder| Objective::Gated {
        coefficient: 0.3,
        aux_trains_decoder,
    };
    vec![
        ("l1", l1(false)),
        ("l1 by norm", l1(true)),
        ("topk", Objective::TopK { k, aux: None }),
        ("batchtopk", Objective::BatchTopK { k, aux: None }),
        (
            "matryoshka",
            Objective::Matryoshka {
                k,
                prefixes: vec![d_sae / 4, d_sae / 2, d_sae],
                aux: None,
            },
        ),
        ("step", jump(JumpPenalty::Step { coefficient: 0.2 })),
        (
            "tanh",
            jump(JumpPenalty::Tanh {
                coefficient: 0.2,
                scale: 1.5,
            }),
        ),
        (
            "target",
            jump(JumpPenalty::Target {
                coefficient: 0.2,
                l0: k as f32,
            }),
        ),
        ("gated", gated(false)),
        ("gated, decoder trained", gated(true)),
    ]
}
