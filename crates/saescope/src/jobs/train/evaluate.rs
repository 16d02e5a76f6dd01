//! The evaluation at the end of a training, on data that was held out.

use serde::Serialize;

use super::data::HeldOut;
use crate::activations::Shards;
use crate::error::Result;
use crate::eval::{
    EvalConfig, EvalCorpus, EvalReport, OnActivations, evaluate, evaluate_activations,
};
use crate::model::Model;
use crate::runs::SavedRun;
use crate::sae::Sae;

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
                let sequences = corpus.first_sequences(*tokens);
                let texts: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
                let config = EvalConfig::default();
                let found = evaluate(model, &saes, &texts, &config, &mut (), on_progress)
                    .map_err(|error| error.at("the evaluation on held-out text"))?;
                let read = EvalCorpus {
                    corpus: files
                        .iter()
                        .map(|file| file.display().to_string())
                        .collect(),
                    corpus_digest: corpus.digest().to_owned(),
                };
                write(runs, Some(&read), &found)?;
            }
            HeldOut::Rows(shards) => {
                let found = on_rows(&saes, shards)
                    .map_err(|error| error.at("the evaluation on held-out rows of the shards"))?;
                write(runs, None, &found)?;
            }
        }
        Ok(())
    }
}

/// Writes the evaluation of each run and the corpus that was read beside it.
fn write<T: Serialize>(
    runs: &mut [SavedRun],
    corpus: Option<&EvalCorpus>,
    found: &[T],
) -> Result<()> {
    for (run, evaluation) in runs.iter_mut().zip(found) {
        run.write_evaluation(&EvalReport {
            origin: None,
            texts: corpus,
            evaluation,
        })?;
    }
    Ok(())
}

/// The evaluation on all rows of `shards`, less the few that fill no batch.
fn on_rows(saes: &[&Sae], shards: &Shards) -> Result<Vec<OnActivations>> {
    let config = EvalConfig::default();
    let batch = (config.batch_tokens as u64).min(shards.tokens());
    let batches = shards.batches(batch as usize)?;
    let batches = batches.take((shards.tokens() / batch) as usize);
    evaluate_activations(saes, batches, &config)
}
