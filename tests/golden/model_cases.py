"""The cases of make_models.py: configs as they stand on the Hub, how each is stored, what must matter.

Shapes are the smallest that keep heads, groups and windows apart; epsilons, caps and bases are chosen so
that a reader who ignores one is far from the expected numbers.
"""

GPT2 = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 63,
    "embd_pdrop": 0.1,
    "eos_token_id": 63,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-3,
    "model_type": "gpt2",
    "n_ctx": 32,
    "n_embd": 16,
    "n_head": 2,
    "n_layer": 2,
    "n_positions": 32,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 64,
}
GPT2_EDITS = {
    "gelu_erf": ({"activation_function": "gelu"}, 1e-3),
    "eps": ({"layer_norm_epsilon": 1e-5}, 2e-3),
    "n_head": ({"n_head": 4}, 0.05),
}

NEOX = {
    "architectures": ["GPTNeoXForCausalLM"],
    "bos_token_id": 0,
    "eos_token_id": 0,
    "hidden_act": "gelu",
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 32,
    "layer_norm_eps": 1e-3,
    "max_position_embeddings": 32,
    "model_type": "gpt_neox",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "rotary_emb_base": 10000,
    "rotary_pct": 0.25,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.24.0",
    "use_cache": True,
    "use_parallel_residual": True,
    "vocab_size": 64,
}
NEOX_EDITS = {
    "gelu_tanh": ({"hidden_act": "gelu_new"}, 1e-3),
    "eps": ({"layer_norm_eps": 1e-5}, 2e-3),
    "residual": ({"use_parallel_residual": False}, 0.05),
    "rotary_all": ({"rotary_pct": 1.0}, 0.05),
    "rotary_base": ({"rotary_emb_base": 100}, 0.02),
}

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 16,
    "initializer_range": 0.02,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-3,
    "rope_scaling": None,
    "rope_theta": 1000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.43.0",
    "use_cache": True,
    "vocab_size": 64,
}
GQA = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
LLAMA3 = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 64,
    "rope_type": "llama3",
}
ROPE_EDIT = {"rope_base": ({"rope_theta": 10000.0}, 0.02)}
LLAMA_EDITS = ROPE_EDIT | {
    "eps": ({"rms_norm_eps": 1e-6}, 2e-3),
    "act": ({"hidden_act": "gelu_pytorch_tanh"}, 0.05),
}

MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 16,
    "initializer_range": 0.02,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "model_type": "mistral",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "sliding_window": 8,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.34.0.dev0",
    "use_cache": True,
    "vocab_size": 64,
}
WINDOW_EDITS = {
    "no_window": ({"sliding_window": 4096}, 0.05),
    "window_7": ({"sliding_window": 7}, 0.02),
    "window_9": ({"sliding_window": 9}, 0.02),
}

QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 16,
    "initializer_range": 0.02,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "max_window_layers": 1,
    "model_type": "qwen2",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "sliding_window": 8,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "transformers_version": "4.40.1",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 64,
}
QWEN3 = QWEN2 | {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "head_dim": 8,
    "model_type": "qwen3",
    "max_window_layers": 2,
    "num_attention_heads": 4,
    "rope_scaling": None,
    "sliding_window": None,
    "transformers_version": "4.51.0",
}

GEMMA2 = {
    "architectures": ["Gemma2ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": 2.0,
    "bos_token_id": 2,
    "cache_implementation": "hybrid",
    "eos_token_id": 1,
    "final_logit_softcapping": 5.0,
    "head_dim": 8,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 16,
    "initializer_range": 0.02,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "model_type": "gemma2",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 3,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "sliding_window": 8,
    "torch_dtype": "float32",
    "transformers_version": "4.42.4",
    "use_cache": True,
    "vocab_size": 64,
}

GEMMA3 = {
    "architectures": ["Gemma3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": None,
    "bos_token_id": 2,
    "cache_implementation": "hybrid",
    "eos_token_id": [1, 3],
    "final_logit_softcapping": None,
    "head_dim": 8,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 16,
    "initializer_range": 0.02,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "model_type": "gemma3_text",
    "num_attention_heads": 2,
    "num_hidden_layers": 6,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 5,
    "rms_norm_eps": 1e-6,
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": 8,
    "sliding_window_pattern": 6,
    "torch_dtype": "float32",
    "transformers_version": "4.50.0.dev0",
    "use_cache": True,
    "vocab_size": 64,
}
GEMMA3_EDITS = WINDOW_EDITS | {
    "global_base": ({"rope_theta": 10000}, 0.02),
    "local_base": ({"rope_local_base_freq": 1000000}, 0.02),
    "pattern": ({"sliding_window_pattern": 3}, 0.02),
    "query_scale": ({"query_pre_attn_scalar": 8}, 0.02),
}

# google/gemma-3-4b-pt names these keys of the text model and no other; the rest are the defaults of
# Gemma3TextConfig (README.md lists them). Shapes, which must stay tiny, are the exception here.
GEMMA3_MM = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "boi_token_index": 60,
    "eoi_token_index": 61,
    "eos_token_id": [1, 3],
    "image_token_index": 62,
    "initializer_range": 0.02,
    "mm_tokens_per_image": 4,
    "model_type": "gemma3",
    "text_config": {
        "head_dim": 8,
        "hidden_size": 16,
        "intermediate_size": 24,
        "max_position_embeddings": 64,
        "model_type": "gemma3_text",
        "num_attention_heads": 2,
        "num_hidden_layers": 6,
        "num_key_value_heads": 1,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 8,
        "vocab_size": 64,
    },
    "torch_dtype": "float32",
    "transformers_version": "4.50.0.dev0",
    "vision_config": {
        "hidden_size": 8,
        "image_size": 16,
        "intermediate_size": 8,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "patch_size": 4,
        "vision_use_head": False,
    },
}

# name -> config as on the Hub, how the checkpoint is stored, edits that must matter (with the least
# change of any logit). `store` names a layout below; `v5` keeps config.json as this transformers saved
# it; `slim` keeps, for a case about a file and not about maths, the embedding, every resid_post, and
# what follows them.
CASES = {
    "gpt2": dict(config=GPT2, edits=GPT2_EDITS),
    "gpt2_inner": dict(
        config=GPT2 | {"n_inner": 24, "n_head": 4, "layer_norm_epsilon": 1e-5, "vocab_size": 71},
        slim=True,
        edits={"gelu_erf": GPT2_EDITS["gelu_erf"]},
    ),
    "gpt2_by_layer": dict(
        config=GPT2
        | {
            "n_layer": 3,
            "n_embd": 8,
            "n_inner": 12,
            "reorder_and_upcast_attn": True,
            "scale_attn_by_inverse_layer_idx": True,
        },
        slim=True,
        edits={"by_layer": ({"scale_attn_by_inverse_layer_idx": False}, 0.02)},
    ),
    "gpt2_unscaled": dict(
        config=GPT2
        | {
            "n_embd": 8,
            "n_inner": 12,
            "scale_attn_by_inverse_layer_idx": True,
            "scale_attn_weights": False,
        },
        slim=True,
        edits={
            "by_layer": ({"scale_attn_by_inverse_layer_idx": False}, 0.02),
            "scaled": ({"scale_attn_weights": True}, 0.02),
        },
    ),
    "gpt2_bin": dict(config=GPT2 | {"n_inner": 24}, store="bin", slim=True),
    "gpt2_bin_legacy": dict(config=GPT2 | {"n_inner": 24}, store="bin_legacy", slim=True),
    "gpt2_bare_names": dict(config=GPT2 | {"n_inner": 24}, store="gpt2_bare", slim=True),
    "gpt_neox": dict(config=NEOX, store="neox_buffers", edits=NEOX_EDITS),
    "gpt_neox_sequential": dict(
        config=NEOX | {"hidden_size": 16, "use_parallel_residual": False, "rotary_pct": 0.5},
        v5=True,
        edits={
            "residual": ({"use_parallel_residual": True}, 0.05),
            "rotary_all": ({"rope_parameters.partial_rotary_factor": 1.0}, 0.05),
        },
    ),
    "llama": dict(config=LLAMA, edits=LLAMA_EDITS),
    "llama_gqa_llama3": dict(
        config=LLAMA | GQA | {"rope_scaling": LLAMA3},
        edits={
            "no_scaling": ({"rope_scaling": None}, 0.02),
            "linear": ({"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, 0.02),
            "low_freq_factor": ({"rope_scaling.low_freq_factor": 3.5}, 0.005),
        },
    ),
    "llama_gqa_llama3_v5": dict(
        config=LLAMA | GQA | {"rope_scaling": LLAMA3},
        slim=True,
        v5=True,
        edits={
            "no_scaling": ({"rope_parameters.rope_type": "default"}, 0.02),
            "base": ({"rope_parameters.rope_theta": 10000.0}, 0.02),
        },
    ),
    "llama_linear": dict(
        config=LLAMA | {"rope_scaling": {"type": "linear", "factor": 4.0}},
        slim=True,
        store="llama_inv_freq",
        edits={"no_scaling": ({"rope_scaling": None}, 0.02)} | ROPE_EDIT,
    ),
    "llama_bias": dict(
        config=LLAMA | {"attention_bias": True, "mlp_bias": True}, edits=ROPE_EDIT
    ),
    "llama_head_dim": dict(
        config=LLAMA | {"head_dim": 12, "num_attention_heads": 2, "num_key_value_heads": 1},
        edits=ROPE_EDIT,
    ),
    "llama_bf16": dict(config=LLAMA | {"torch_dtype": "bfloat16"}, dtype="bfloat16", slim=True),
    "llama_f16": dict(config=LLAMA | {"torch_dtype": "float16"}, dtype="float16", slim=True),
    "llama_sharded": dict(config=LLAMA, store="sharded", slim=True),
    "smollm2": dict(
        slim=True,
        config=LLAMA
        | {
            "hidden_size": 18,
            "intermediate_size": 26,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-5,
            "rope_interleaved": False,
            "rope_theta": 100000,
            "tie_word_embeddings": True,
        },
        edits=ROPE_EDIT,
    ),
    "mistral_window": dict(config=MISTRAL, edits=WINDOW_EDITS),
    "qwen2": dict(
        config=QWEN2,
        edits={
            "window_on": ({"use_sliding_window": True}, 0.02),
            "rope_base": ({"rope_theta": 10000.0}, 0.02),
        },
    ),
    "qwen2_window": dict(
        config=QWEN2 | {"use_sliding_window": True, "tie_word_embeddings": False},
        slim=True,
        edits={
            "window_off": ({"use_sliding_window": False}, 0.02),
            "window_everywhere": ({"max_window_layers": 0}, 0.02),
        },
    ),
    "qwen3": dict(config=QWEN3, edits={"rope_base": ({"rope_theta": 10000.0}, 0.02)}),
    "gemma2": dict(
        config=GEMMA2,
        edits=WINDOW_EDITS
        | {
            "no_attn_softcap": ({"attn_logit_softcapping": None}, 0.05),
            "no_final_softcap": ({"final_logit_softcapping": None}, 0.05),
            "query_scale": ({"query_pre_attn_scalar": 8}, 0.02),
            "rope_base": ({"rope_theta": 100.0}, 0.02),
            "act": ({"hidden_activation": "silu"}, 0.02),
        },
    ),
    "gemma3": dict(config=GEMMA3, edits=GEMMA3_EDITS),
    "gemma3_linear_v5": dict(
        config=GEMMA3
        | {
            "num_hidden_layers": 3,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "rope_theta": 1000,
            "sliding_window_pattern": 2,
            "transformers_version": "5",
        },
        v5=True,
        edits={
            "no_scaling": ({"rope_parameters.full_attention.rope_type": "default"}, 0.02),
            "scale_local": (
                {
                    "rope_parameters.sliding_attention.rope_type": "linear",
                    "rope_parameters.sliding_attention.factor": 8.0,
                },
                0.02,
            ),
            "local_base": ({"rope_parameters.sliding_attention.rope_theta": 100.0}, 0.02),
            "all_full": ({"layer_types": ["full_attention"] * 3}, 0.05),
        },
    ),
    "gemma3_mm_old_names": dict(
        config=GEMMA3_MM,
        slim=True,
        store="mm_old",
        edits={
            "no_scaling": ({"text_config.rope_scaling": None}, 0.005),
            "query_scale": ({"text_config.query_pre_attn_scalar": 8}, 0.05),
            "local_base": ({"text_config.rope_local_base_freq": 1000000}, 0.02),
            "pattern": ({"text_config.sliding_window_pattern": 3}, 0.02),
        },
    ),
    "gemma3_mm_new_names": dict(
        config=GEMMA3_MM
        | {
            "text_config": GEMMA3_MM["text_config"]
            | {
                "_sliding_window_pattern": 6,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
                "num_hidden_layers": 3,
                "query_pre_attn_scalar": 5,
                "rope_local_base_freq": 10000.0,
                "rope_theta": 1000.0,
                "rope_scaling": None,
            }
        },
        slim=True,
        store="mm_new",
        edits={
            "global_base": ({"text_config.rope_theta": 10000.0}, 0.02),
            "layer_types": ({"text_config.layer_types": ["sliding_attention"] * 3}, 0.02),
        },
    ),
}
