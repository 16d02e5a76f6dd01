//! The evaluation at the end of a training, on data that was held out.

use std::path::PathBuf;

use serde::Serialize;

use super::data::HeldOut;
use crate::activations::Shards;
use crate::corpus::Corpus;
use crate::error::Result;
use crate::eval::{EvalConfig, OnActivations, evaluate, evaluate_activations};
use crate::model::Model;
use crate::runs::SavedRun;
use crate::sae::Sae;

/// An evaluation and the data that it was done on: `eval.json`.
#[derive(Serialize)]
struct RunEvaluation<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    corpus: Option<&'a [PathBuf]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corpus_digest: Option<&'a str>,
    #[serde(flatten)]
    evaluation: &'a T,
}

impl HeldOut {
    /// Evaluates the autoencoders of finished runs and writes the result beside each.
    pub(super) fn evaluate(
        &self,
        model: &Model,
        runs: &mut [SavedRun],
        on_progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        // As they were written: others will open the same files.
        let saes = runs.iter().map(|run| Sae::open(&run.sae_folder()));
        let saes: Vec<Sae> = saes.collect::<Result<_>>()?;
        let saes: Vec<&Sae> = saes.iter().collect();
        match self {
            HeldOut::Texts {
                files,
                corpus,
                tokens,
            } => {
                let sequences = first_sequences(corpus, *tokens);
                let texts: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
                let config = EvalConfig::default();
                let found = evaluate(model, &saes, &texts, &config, &mut (), on_progress)
                    .map_err(|error| error.at("the evaluation on held-out text"))?;
                for (run, evaluation) in runs.iter_mut().zip(&found) {
                    run.write_evaluation(&RunEvaluation {
                        corpus: Some(files),
                        corpus_digest: Some(corpus.digest()),
                        evaluation,
                    })?;
                }
            }
            HeldOut::Rows(shards) => {
                let found = on_rows(&saes, shards)
                    .map_err(|error| error.at("the evaluation on held-out rows of the shards"))?;
                for (run, evaluation) in runs.iter_mut().zip(&found) {
                    run.write_evaluation(&RunEvaluation {
                        corpus: None,
                        corpus_digest: None,
                        evaluation,
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// The first sequences that have `tokens` tokens together, or all.
fn first_sequences(corpus: &Corpus, tokens: u64) -> Vec<Vec<u32>> {
    let mut missing = tokens;
    let mut sequences = Vec::new();
    for number in 0..corpus.sequences() {
        if missing == 0 {
            break;
        }
        let sequence = corpus.sequence(number);
        missing = missing.saturating_sub(sequence.len() as u64);
        sequences.push(sequence);
    }
    sequences
}

/// The evaluation on all rows of `shards`, less the few that fill no batch.
fn on_rows(saes: &[&Sae], shards: &Shards) -> Result<Vec<OnActivations>> {
    let config = EvalConfig::default();
    let batch = (config.batch_tokens as u64).min(shards.tokens());
    let batches = shards.batches(batch as usize)?;
    let batches = batches.take((shards.tokens() / batch) as usize);
    evaluate_activations(saes, batches, &config)
}
