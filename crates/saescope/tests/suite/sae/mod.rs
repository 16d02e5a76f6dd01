//! Autoencoders of every format, against the libraries that own them, and in general.

mod golden;
mod hostile;
mod identities;
mod published;
mod saved;

use std::path::{Path, PathBuf};

use saescope::Matrix;
use saescope::sae::{Encoded, Sae};
use safetensors::SafeTensors;

/// Every case under `tests/golden/saes`, and the file or folder in it that is opened.
const CASES: [(&str, &str); 74] = [
    ("attention_out", "gpt2-small_L2_Hcat_z_v9.pt"),
    ("circuit_tracer", "layer_2.safetensors"),
    ("circuit_tracer_jumprelu", "layer_2.safetensors"),
    ("circuit_tracer_skip", "layer_2.safetensors"),
    ("circuit_tracer_topk", "layer_2.safetensors"),
    ("dl_april", ""),
    ("dl_backup", ""),
    ("dl_batch_topk", ""),
    ("dl_batch_topk_untrained", ""),
    ("dl_compiled", ""),
    ("dl_dtype", ""),
    ("dl_gated", ""),
    ("dl_jumprelu", ""),
    ("dl_matryoshka", ""),
    ("dl_new", ""),
    ("dl_parallel", ""),
    ("dl_standard", ""),
    ("dl_topk", ""),
    ("dl_topk_few", ""),
    ("gemma_scope_2_res", ""),
    ("gemma_scope_2_transcoder", ""),
    (
        "gemma_scope_compressed",
        "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71",
    ),
    (
        "gemma_scope_embedding",
        "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6",
    ),
    (
        "gemma_scope_res",
        "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71",
    ),
    (
        "gemma_scope_transcoder",
        "gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_8/params.npz",
    ),
    ("goodfire", "Llama-3.1-8B-Instruct-SAE-l19.pth"),
    ("llama_scope", "Llama3_1-8B-Base-L8R-8x"),
    ("llama_scope_pre_bias", "Llama3_1-8B-Base-L8R-8x"),
    ("llama_scope_r1", ""),
    ("llama_scope_transcoder", "Llama3_1-8B-Base-L8R-8x"),
    ("llamascopium", ""),
    ("llamascopium_token_wise", ""),
    ("llamascopium_topk", ""),
    ("openai_v1", "mlp_post_act/autoencoders/3.pt"),
    ("openai_v4", "resid_delta_mlp_v4/autoencoders/3.pt"),
    ("openai_v5", "resid_post_mlp_v5_32k/autoencoders/8.pt"),
    (
        "openai_v5_attn",
        "resid_delta_attn_v5_128k/autoencoders/11.pt",
    ),
    ("openai_v5_few", "resid_post_attn_v5_128k/autoencoders/0.pt"),
    ("qwen_scope", "layer2.sae.pt"),
    ("saelens_batchtopk_saved", ""),
    ("saelens_batchtopk_training", ""),
    ("saelens_bf16", ""),
    ("saelens_centred", ""),
    ("saelens_constant_norm", ""),
    ("saelens_expected_average", ""),
    ("saelens_f64", ""),
    ("saelens_gated", ""),
    ("saelens_jumprelu", ""),
    ("saelens_jumprelu_saved", ""),
    ("saelens_jumprelu_skip_transcoder", ""),
    ("saelens_jumprelu_training", ""),
    ("saelens_jumprelu_transcoder", ""),
    ("saelens_layer_norm", ""),
    ("saelens_log_threshold", ""),
    ("saelens_matryoshka_batchtopk_saved", ""),
    ("saelens_matryoshka_batchtopk_training", ""),
    ("saelens_old_jumprelu", ""),
    ("saelens_old_standard", ""),
    ("saelens_old_topk", ""),
    ("saelens_older_point", ""),
    ("saelens_scaler", ""),
    ("saelens_skip_transcoder", ""),
    ("saelens_standard", ""),
    ("saelens_standard_no_b_dec", ""),
    ("saelens_topk", ""),
    ("saelens_topk_few", ""),
    ("saelens_topk_rescaled", ""),
    ("saelens_topk_saved", ""),
    ("saelens_topk_training", ""),
    ("saelens_transcoder", ""),
    ("sparsify_expansion", "h.5.mlp"),
    ("sparsify_skip", "layers.5.mlp"),
    ("sparsify_topk", "layers.3"),
    ("sparsify_transcoder", "layers.5.mlp"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/saes")
}

/// Path of the file or folder of a case that is opened.
fn path(case: &str) -> PathBuf {
    let (case, inner) = CASES.iter().find(|(name, _)| *name == case).unwrap();
    folder().join(case).join(inner)
}

fn open(case: &str) -> Sae {
    Sae::open(&path(case)).unwrap_or_else(|error| panic!("{case}: {error}"))
}

/// A matrix that the case's library computed: `x`, `acts` or `y`.
fn expected(case: &str, name: &str) -> Matrix {
    let path = folder().join(case).join("expected.safetensors");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    let values = view
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b));
    Matrix::from_vec(view.shape()[0], view.shape()[1], values.collect())
}

/// Every activation of a row.
fn dense(encoded: &Encoded, row: usize, d_sae: usize) -> Vec<f32> {
    (0..d_sae as u32)
        .map(|f| encoded.features.value(row, f))
        .collect()
}

/// The largest difference relative to the largest value of the row.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected
        .iter()
        .fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let pairs = found.iter().zip(expected);
    pairs
        .map(|(a, b)| (a - b).abs() / largest)
        .fold(0.0, f32::max)
}
