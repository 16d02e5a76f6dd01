//! The results of an evaluation in the shape of SAEBench's `core`.

use std::time::{SystemTime, UNIX_EPOCH};

use saescope_kernels::Precision;
use serde::Serialize;
use serde_json::{Value, json};

use super::{EvalTexts, Evaluation, Quality};
use crate::origin::Origin;
use crate::site::transformer_lens;

/// The value that SAEBench writes for a share without a denominator.
const NOT_A_NUMBER: f64 = -1.0;

/// `eval_result_metrics` of SAEBench's `core`. Where a name of SAEBench has several
/// definitions, the one of SAELens 6.54 is used; docs/metrics.md lists them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Core {
    model_behavior_preservation: BehaviourPreservation,
    model_performance_preservation: PerformancePreservation,
    reconstruction_quality: ReconstructionQuality,
    shrinkage: Shrinkage,
    sparsity: Sparsity,
    token_stats: TokenStats,
    misc_metrics: MiscMetrics,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct BehaviourPreservation {
    kl_div_score: f64,
    kl_div_with_ablation: f64,
    kl_div_with_sae: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct PerformancePreservation {
    ce_loss_score: f64,
    ce_loss_with_ablation: f64,
    ce_loss_with_sae: f64,
    ce_loss_without_sae: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct ReconstructionQuality {
    explained_variance: f64,
    explained_variance_legacy: f64,
    /// The sum over components, unlike that of [`Evaluation`].
    mse: f64,
    cossim: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Shrinkage {
    l2_norm_in: f64,
    l2_norm_out: f64,
    l2_ratio: f64,
    relative_reconstruction_bias: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Sparsity {
    l0: f64,
    l1: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct TokenStats {
    total_tokens_eval_reconstruction: usize,
    total_tokens_eval_sparsity_variance: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct MiscMetrics {
    freq_over_1_percent: f64,
    freq_over_10_percent: f64,
    normalized_freq_over_1_percent: f64,
    normalized_freq_over_10_percent: f64,
    average_max_encoder_cosine_sim: f64,
    average_max_decoder_cosine_sim: f64,
    frac_alive: f64,
}

/// The whole result of SAEBench's `core` for the autoencoder that `origin` names, evaluated on `texts` at
/// `time`. If texts begin with BOS, first positions are omitted, as SAEBench omits special tokens.
pub fn core_result(
    evaluation: &Evaluation,
    origin: &Origin,
    texts: &EvalTexts,
    time: SystemTime,
) -> Value {
    let since = time.duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis() as u64);
    let maker = concat!("saescope ", env!("CARGO_PKG_VERSION"));
    json!({
        "eval_type_id": "core",
        "eval_config": config(evaluation, origin, texts),
        "eval_id": format!("saescope-{millis}"),
        "datetime_epoch_millis": millis,
        "eval_result_metrics": core(evaluation, !texts.begins_with_bos),
        "eval_result_details": [],
        // The place for data outside the schema.
        "eval_result_unstructured": if origin.edits.is_empty() {
            json!({})
        } else {
            json!({ "edits": origin.edits })
        },
        "sae_bench_commit_hash": maker,
        "sae_lens_id": origin.sae,
        "sae_lens_release_id": origin.sae,
        "sae_lens_version": maker,
        "sae_cfg_dict": {
            "d_in": evaluation.d_in,
            "d_sae": evaluation.d_sae,
            "model_name": origin.model,
            "hook_name": transformer_lens::name(evaluation.site),
        },
    })
}

/// `eval_config` of SAEBench's `core`.
fn config(evaluation: &Evaluation, origin: &Origin, texts: &EvalTexts) -> Value {
    json!({
        "model_name": origin.model,
        "llm_dtype": match origin.dtype {
            Precision::Bf16 => "bfloat16",
            Precision::F32 => "float32",
        },
        // All sums are over all texts, as if they were one batch.
        "batch_size_prompts": evaluation.sequences,
        "n_eval_reconstruction_batches": 1,
        "n_eval_sparsity_variance_batches": 1,
        "context_size": texts.context,
        "dataset": texts.source.corpus.join(" "),
        "exclude_special_tokens_from_reconstruction": texts.begins_with_bos,
        "compute_kl": true,
        "compute_ce_loss": true,
        "compute_l2_norms": true,
        "compute_sparsity_metrics": true,
        "compute_variance_metrics": true,
        "compute_featurewise_density_statistics": true,
        "compute_featurewise_weight_based_metrics": true,
        "verbose": false,
    })
}

/// `evaluation` in the shape of SAEBench's `core`: of all positions, or without the first of every text.
/// The latter equals SAEBench's omission of special tokens if texts begin with BOS.
pub fn core(evaluation: &Evaluation, with_first: bool) -> Core {
    let quality = if with_first {
        &evaluation.all
    } else {
        &evaluation.without_first
    };
    let (behaviour, reconstruction) = (&quality.behaviour, &quality.reconstruction);
    Core {
        model_behavior_preservation: BehaviourPreservation {
            kl_div_score: behaviour.kl_score.unwrap_or(NOT_A_NUMBER),
            kl_div_with_ablation: behaviour.kl_with_zero_ablation,
            kl_div_with_sae: behaviour.kl_with_sae,
        },
        model_performance_preservation: PerformancePreservation {
            ce_loss_score: behaviour.ce_recovered.unwrap_or(NOT_A_NUMBER),
            ce_loss_with_ablation: behaviour.ce_with_zero_ablation,
            ce_loss_with_sae: behaviour.ce_with_sae,
            ce_loss_without_sae: behaviour.ce_without_sae,
        },
        reconstruction_quality: ReconstructionQuality {
            explained_variance: reconstruction.explained_variance,
            explained_variance_legacy: quality.explained_variance_of_tokens,
            mse: reconstruction.mse * evaluation.d_out as f64,
            cossim: reconstruction.cosine,
        },
        shrinkage: Shrinkage {
            l2_norm_in: reconstruction.norm_in,
            l2_norm_out: reconstruction.norm_out,
            l2_ratio: reconstruction.norm_ratio,
            relative_reconstruction_bias: reconstruction.reconstruction_bias,
        },
        sparsity: Sparsity {
            l0: quality.activity.l0,
            l1: quality.activity.l1,
        },
        token_stats: TokenStats {
            total_tokens_eval_reconstruction: quality.tokens,
            total_tokens_eval_sparsity_variance: quality.tokens,
        },
        misc_metrics: misc(evaluation, quality),
    }
}

fn misc(evaluation: &Evaluation, quality: &Quality) -> MiscMetrics {
    let active = &quality.activity.active;
    let total: u64 = active.iter().sum();
    // A feature is over 1% when it was active on more than one in a hundred tokens.
    let over = |one_in: u64| {
        let over = active
            .iter()
            .filter(move |&&a| a * one_in > quality.tokens as u64);
        (over.clone().count() as f64, over.sum::<u64>() as f64)
    };
    let ((count_1, sum_1), (count_10, sum_10)) = (over(100), over(10));
    let (features, total) = (evaluation.d_sae as f64, total.max(1) as f64);
    MiscMetrics {
        freq_over_1_percent: count_1 / features,
        freq_over_10_percent: count_10 / features,
        normalized_freq_over_1_percent: sum_1 / total,
        normalized_freq_over_10_percent: sum_10 / total,
        average_max_encoder_cosine_sim: evaluation.encoder.mean_nearest,
        average_max_decoder_cosine_sim: evaluation.decoder.mean_nearest,
        frac_alive: 1.0 - quality.activity.dead as f64 / features,
    }
}
