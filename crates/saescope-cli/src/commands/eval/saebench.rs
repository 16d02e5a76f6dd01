//! Writes a result of SAEBench's `core`.

use std::time::{SystemTime, UNIX_EPOCH};

use saescope::eval::{Evaluation, core};
use saescope::origin::Origin;
use serde_json::{Value, json};

use super::EvalTexts;

/// The result of one autoencoder. If texts begin with BOS, first positions are omitted, as SAEBench omits
/// special tokens.
pub(super) fn result(sae: &str, origin: &Origin, texts: &EvalTexts, found: &Evaluation) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = now.map_or(0, |now| now.as_millis() as u64);
    let metrics = core(found, !texts.begins_with_bos);
    json!({
        "eval_type_id": "core",
        "eval_config": {
            "model_name": origin.model,
            "llm_dtype": match origin.dtype.as_str() {
                "bf16" => "bfloat16",
                _ => "float32",
            },
            // All sums are over all texts, as if they were one batch.
            "batch_size_prompts": found.sequences,
            "n_eval_reconstruction_batches": 1,
            "n_eval_sparsity_variance_batches": 1,
            "context_size": texts.context,
            "dataset": texts.corpus.join(" "),
            "exclude_special_tokens_from_reconstruction": texts.begins_with_bos,
            "compute_kl": true,
            "compute_ce_loss": true,
            "compute_l2_norms": true,
            "compute_sparsity_metrics": true,
            "compute_variance_metrics": true,
            "compute_featurewise_density_statistics": true,
            "compute_featurewise_weight_based_metrics": true,
            "verbose": false,
        },
        "eval_id": format!("saescope-{millis}"),
        "datetime_epoch_millis": millis,
        "eval_result_metrics": metrics,
        "eval_result_details": [],
        // The place for data outside the schema.
        "eval_result_unstructured": if origin.edits.is_empty() {
            json!({})
        } else {
            json!({ "edits": origin.edits })
        },
        "sae_bench_commit_hash": format!("saescope {}", env!("CARGO_PKG_VERSION")),
        "sae_lens_id": sae,
        "sae_lens_release_id": sae,
        "sae_lens_version": format!("saescope {}", env!("CARGO_PKG_VERSION")),
        "sae_cfg_dict": {
            "d_in": found.d_in,
            "d_sae": found.d_sae,
            "model_name": origin.model,
            "hook_name": saescope::site::transformer_lens::name(found.site),
        },
    })
}
