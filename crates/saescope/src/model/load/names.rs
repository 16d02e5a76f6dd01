//! The names of a model's tensors in each convention. `{}` stands for the layer.

use crate::model::config::Family;

/// The names of one convention, without root and suffix.
pub(super) struct Names {
    /// Possible prefixes of every name but the unembedding's; the first that fits is used.
    pub(super) roots: &'static [&'static str],
    pub(super) embed: &'static str,
    pub(super) positions: &'static str,
    /// Beginning of the name of every tensor of a layer.
    pub(super) layers: &'static str,
    pub(super) attn_norm: &'static str,
    /// One fused tensor, or one each for query, key and value.
    pub(super) qkv: &'static [&'static str],
    pub(super) q_norm: &'static str,
    pub(super) k_norm: &'static str,
    pub(super) attn_out: &'static str,
    pub(super) attn_post_norm: &'static str,
    pub(super) mlp_norm: &'static str,
    /// The gate, if any, then the up projection.
    pub(super) mlp_in: &'static [&'static str],
    pub(super) mlp_out: &'static str,
    pub(super) mlp_post_norm: &'static str,
    pub(super) final_norm: &'static str,
    /// Possible names of the unembedding, root included.
    pub(super) unembed: &'static [&'static str],
    pub(super) weight: &'static str,
    pub(super) bias: &'static str,
    pub(super) queries_and_keys: Heads,
    /// True if weights are stored as `[d_in, d_out]`.
    pub(super) transposed: bool,
    /// Number to add to the weights of norms.
    pub(super) norm_offset: f32,
}

/// The order of the rows of queries and keys.
#[derive(Clone, Copy)]
pub(super) enum Heads {
    /// One head after another, rotary pairs half a head apart.
    Halves,
    /// One head after another, rotary pairs side by side.
    Pairs,
    /// For each head its query, key and value.
    Grouped,
}

const HF_LLAMA: Names = Names {
    // A language model, its body alone, and Gemma 3's multimodal model before and since transformers
    // 4.52.
    roots: &[
        "model.",
        "",
        "language_model.model.",
        "model.language_model.",
    ],
    embed: "embed_tokens",
    positions: "",
    layers: "layers.",
    attn_norm: "layers.{}.input_layernorm",
    qkv: &[
        "layers.{}.self_attn.q_proj",
        "layers.{}.self_attn.k_proj",
        "layers.{}.self_attn.v_proj",
    ],
    q_norm: "layers.{}.self_attn.q_norm",
    k_norm: "layers.{}.self_attn.k_norm",
    attn_out: "layers.{}.self_attn.o_proj",
    attn_post_norm: "",
    mlp_norm: "layers.{}.post_attention_layernorm",
    mlp_in: &["layers.{}.mlp.gate_proj", "layers.{}.mlp.up_proj"],
    mlp_out: "layers.{}.mlp.down_proj",
    mlp_post_norm: "",
    final_norm: "norm",
    unembed: &["lm_head", "language_model.lm_head"],
    weight: ".weight",
    bias: ".bias",
    queries_and_keys: Heads::Halves,
    transposed: false,
    norm_offset: 0.0,
};

const HF_GEMMA: Names = Names {
    attn_post_norm: "layers.{}.post_attention_layernorm",
    mlp_norm: "layers.{}.pre_feedforward_layernorm",
    mlp_post_norm: "layers.{}.post_feedforward_layernorm",
    norm_offset: 1.0,
    ..HF_LLAMA
};

const HF_GPT2: Names = Names {
    roots: &["transformer.", ""],
    embed: "wte",
    positions: "wpe",
    layers: "h.",
    attn_norm: "h.{}.ln_1",
    qkv: &["h.{}.attn.c_attn"],
    attn_out: "h.{}.attn.c_proj",
    mlp_norm: "h.{}.ln_2",
    mlp_in: &["h.{}.mlp.c_fc"],
    mlp_out: "h.{}.mlp.c_proj",
    final_norm: "ln_f",
    transposed: true,
    ..HF_LLAMA
};

const HF_GPT_NEOX: Names = Names {
    roots: &["gpt_neox.", ""],
    embed: "embed_in",
    attn_norm: "layers.{}.input_layernorm",
    qkv: &["layers.{}.attention.query_key_value"],
    attn_out: "layers.{}.attention.dense",
    mlp_norm: "layers.{}.post_attention_layernorm",
    mlp_in: &["layers.{}.mlp.dense_h_to_4h"],
    mlp_out: "layers.{}.mlp.dense_4h_to_h",
    final_norm: "final_layer_norm",
    unembed: &["embed_out"],
    queries_and_keys: Heads::Grouped,
    ..HF_LLAMA
};

/// llama.cpp's names, one set for every architecture; its converter adds the 1 to Gemma's norms.
const GGUF: Names = Names {
    roots: &[""],
    embed: "token_embd",
    positions: "position_embd",
    layers: "blk.",
    attn_norm: "blk.{}.attn_norm",
    qkv: &["blk.{}.attn_q", "blk.{}.attn_k", "blk.{}.attn_v"],
    q_norm: "blk.{}.attn_q_norm",
    k_norm: "blk.{}.attn_k_norm",
    attn_out: "blk.{}.attn_output",
    attn_post_norm: "blk.{}.post_attention_norm",
    mlp_norm: "blk.{}.ffn_norm",
    mlp_in: &["blk.{}.ffn_gate", "blk.{}.ffn_up"],
    mlp_out: "blk.{}.ffn_down",
    mlp_post_norm: "blk.{}.post_ffw_norm",
    final_norm: "output_norm",
    unembed: &["output"],
    ..HF_LLAMA
};

const GGUF_LLAMA: Names = Names {
    queries_and_keys: Heads::Pairs,
    ..GGUF
};

/// GPT-2 and GPT-NeoX, whose queries, keys and values the converter fuses and reorders.
const GGUF_GPT: Names = Names {
    qkv: &["blk.{}.attn_qkv"],
    mlp_in: &["blk.{}.ffn_up"],
    ..GGUF
};

const LLAMA2C: Names = Names {
    roots: &[""],
    embed: "token_embedding_table",
    layers: "w",
    attn_norm: "rms_att_weight.{}",
    qkv: &["wq.{}", "wk.{}", "wv.{}"],
    attn_out: "wo.{}",
    mlp_norm: "rms_ffn_weight.{}",
    mlp_in: &["w1.{}", "w3.{}"],
    mlp_out: "w2.{}",
    final_norm: "rms_final_weight",
    unembed: &["wcls"],
    weight: "",
    queries_and_keys: Heads::Pairs,
    ..HF_LLAMA
};

/// The convention that a checkpoint follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Convention {
    HuggingFace,
    Gguf,
    Llama2c,
}

/// The names of the tensors of `family` in `convention`.
pub(super) fn names(convention: Convention, family: Family) -> &'static Names {
    match (convention, family) {
        (Convention::HuggingFace, Family::Gpt2) => &HF_GPT2,
        (Convention::HuggingFace, Family::GptNeox) => &HF_GPT_NEOX,
        (Convention::HuggingFace, Family::Gemma2 | Family::Gemma3) => &HF_GEMMA,
        (Convention::HuggingFace, _) => &HF_LLAMA,
        (Convention::Gguf, Family::Llama) => &GGUF_LLAMA,
        (Convention::Gguf, Family::Gpt2 | Family::GptNeox) => &GGUF_GPT,
        (Convention::Gguf, _) => &GGUF,
        (Convention::Llama2c, _) => &LLAMA2C,
    }
}

/// True if a tensor of a layer is a constant that old checkpoints carry: a causal mask or rotary tables,
/// which follow from the configuration.
pub(super) fn is_buffer(name: &str) -> bool {
    const BUFFERS: [&str; 7] = [
        ".attn.bias",
        ".attn.masked_bias",
        ".attention.bias",
        ".attention.masked_bias",
        ".rotary_emb.inv_freq",
        ".rotary_emb.cos_cached",
        ".rotary_emb.sin_cached",
    ];
    BUFFERS.iter().any(|buffer| name.ends_with(buffer))
}
