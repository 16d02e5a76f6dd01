"""Writes tests/golden/models/: tiny random checkpoints and what `transformers` computes from them.

Each folder holds `config.json`, checkpoint files, and `expected.safetensors` with every site of every
layer (README.md has the names). The numbers come from the folder as it lies on disk, loaded again the
way a user would. Every case also lists config edits that must change the logits, so that a reader who
ignores a key cannot pass by luck. Same machine, same versions: same bytes.

    python tests/golden/make_models.py [CASE ...]
"""

import io
import json
import pickle
import pickletools
import shutil
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, Gemma3ForConditionalGeneration
from transformers.utils import logging

ROOT = Path(__file__).parent / "models"
N_A, N_B, N_NEW = 24, 9, 12

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
logging.set_verbosity_error()
logging.disable_progress_bar()


# ---- cases -----------------------------------------------------------------------------------------

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
    "n_ctx": 40,
    "n_embd": 16,
    "n_head": 2,
    "n_layer": 2,
    "n_positions": 40,
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
    "intermediate_size": 48,
    "layer_norm_eps": 1e-3,
    "max_position_embeddings": 64,
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
    "intermediate_size": 32,
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
    "intermediate_size": 32,
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
    "intermediate_size": 32,
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
    "intermediate_size": 32,
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
# change of any logit). `store` is one of the functions below; `v5` keeps config.json as saved.
CASES = {
    "gpt2": dict(config=GPT2, edits=GPT2_EDITS),
    "gpt2_inner": dict(
        config=GPT2 | {"n_inner": 24, "n_head": 4, "layer_norm_epsilon": 1e-5, "vocab_size": 71},
        edits={"gelu_erf": GPT2_EDITS["gelu_erf"]},
    ),
    "gpt2_bin": dict(config=GPT2, store="bin", edits={}),
    "gpt2_bin_legacy": dict(config=GPT2, store="bin_legacy", edits={}),
    "gpt2_bare_names": dict(config=GPT2, store="gpt2_bare", edits={}),
    "gpt_neox": dict(config=NEOX, store="neox_buffers", edits=NEOX_EDITS),
    "gpt_neox_sequential": dict(
        config=NEOX | {"use_parallel_residual": False, "rotary_pct": 0.5},
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
        v5=True,
        edits={
            "no_scaling": ({"rope_parameters.rope_type": "default"}, 0.02),
            "base": ({"rope_parameters.rope_theta": 10000.0}, 0.02),
        },
    ),
    "llama_linear": dict(
        config=LLAMA | {"rope_scaling": {"type": "linear", "factor": 4.0}},
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
    "llama_bf16": dict(config=LLAMA | {"torch_dtype": "bfloat16"}, dtype="bfloat16", edits=ROPE_EDIT),
    "llama_f16": dict(config=LLAMA | {"torch_dtype": "float16"}, dtype="float16", edits=ROPE_EDIT),
    "llama_sharded": dict(config=LLAMA, store="sharded", edits={}),
    "smollm2": dict(
        config=LLAMA
        | {
            "hidden_size": 24,
            "intermediate_size": 40,
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
        store="mm_new",
        edits={
            "global_base": ({"text_config.rope_theta": 10000.0}, 0.02),
            "layer_types": ({"text_config.layer_types": ["sliding_attention"] * 3}, 0.02),
        },
    ),
}


# ---- models ----------------------------------------------------------------------------------------


def config_from(config: dict):
    """Reads a config the way `from_pretrained` reads one from the Hub."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        return AutoConfig.from_pretrained(folder)


def model_from(config):
    """An f32 model for a config, with eager attention, which is the one that returns its pattern."""
    kind = Gemma3ForConditionalGeneration if config.model_type == "gemma3" else AutoModelForCausalLM
    build = kind._from_config if kind is Gemma3ForConditionalGeneration else kind.from_config
    return build(config, attn_implementation="eager", dtype=torch.float32).eval()


def fill(model, seed: int):
    """Weights large enough that no part of the computation can be left out unseen."""
    rng = torch.Generator().manual_seed(seed)
    gemma = model.config.model_type.startswith("gemma")
    for name, p in sorted(model.named_parameters()):
        noise = torch.randn(p.shape, generator=rng)
        if name.endswith("bias"):
            value = 0.3 * noise
        elif p.dim() == 1:  # a norm; Gemma's stores its distance from one
            value = 0.3 * noise + (0.0 if gemma else 1.0)
        elif "embed" in name or "wte" in name or "wpe" in name:
            value = 0.5 * noise
        elif name.endswith(("mlp.c_proj.weight", "down_proj.weight", "dense_4h_to_h.weight")):
            value = noise
        else:
            value = 0.35 * noise
        p.data.copy_(value)


# ---- storing ---------------------------------------------------------------------------------------


def store(model, folder: Path, how: str | None):
    """Writes the checkpoint files of one case in the layout `how`."""
    if how == "sharded":
        model.save_pretrained(folder, max_shard_size="10KB")
        return
    model.save_pretrained(folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    if how is None:
        return
    file.unlink()
    n_layers = model.config.get_text_config().num_hidden_layers
    if how in ("bin", "bin_legacy"):
        # As the Hub's pytorch_model.bin: the tied head is a second name for the same storage.
        state = dict(model.state_dict())
        assert state["lm_head.weight"].data_ptr() == state["transformer.wte.weight"].data_ptr()
        if how == "bin":
            torch.save(state, folder / "pytorch_model.bin")
        else:
            (folder / "pytorch_model.bin").write_bytes(legacy_bytes(state))
        return
    if how == "gpt2_bare":
        # As openai-community/gpt2: no `transformer.`, no head, and the causal mask as a buffer.
        tensors = {k.removeprefix("transformer."): v for k, v in tensors.items()}
        n = model.config.n_positions
        for i in range(n_layers):
            tensors[f"h.{i}.attn.bias"] = torch.tril(torch.ones(n, n)).view(1, 1, n, n)
    elif how == "neox_buffers":
        # As EleutherAI/pythia-*: masks and frequencies that are not weights.
        n = model.config.max_position_embeddings
        for i in range(n_layers):
            at = f"gpt_neox.layers.{i}.attention"
            tensors[f"{at}.bias"] = torch.tril(torch.ones(n, n, dtype=torch.bool)).view(1, 1, n, n)
            tensors[f"{at}.masked_bias"] = torch.tensor(-1e9)
            tensors[f"{at}.rotary_emb.inv_freq"] = 10000.0 ** (-torch.arange(0, 4, 2) / 4)
    elif how == "llama_inv_freq":
        # As Llama 1 and 2 on the Hub: frequencies that know nothing of the scaling.
        for i in range(n_layers):
            name = f"model.layers.{i}.self_attn.rotary_emb.inv_freq"
            tensors[name] = 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    elif how in ("mm_old", "mm_new"):
        tensors = {multimodal_name(k, how): v for k, v in model.state_dict().items()}
        tensors.pop("lm_head.weight", None)
    else:
        raise ValueError(how)
    tensors = {k: v.clone().contiguous() for k, v in tensors.items() if v is not None}
    save_file(tensors, file, metadata={"format": "pt"})


def multimodal_name(name: str, how: str) -> str:
    """`language_model.model.` until transformers 4.51 and on the Hub, `model.language_model.` since."""
    if how == "mm_new":
        return name
    for part in ("vision_tower.", "multi_modal_projector."):
        if name.startswith("model." + part):
            return name.removeprefix("model.")
    return name.replace("model.language_model.", "language_model.model.")


def legacy_bytes(state: dict) -> bytes:
    """torch's format before 1.6, with its storage keys (memory addresses) made the same in every run."""
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    raw, at, parts = buffer.getvalue(), 0, []
    for _ in range(5):  # magic, protocol, system, object, storage keys
        stream = io.BytesIO(raw[at:])
        unpickler = pickle.Unpickler(stream)
        unpickler.persistent_load = lambda _: torch.zeros(0).untyped_storage()
        if len(parts) == 3:
            for _ in pickletools.genops(stream):
                pass
            value = None
        else:
            value = unpickler.load()
        parts.append((raw[at : at + stream.tell()], value))
        at += stream.tell()
    data = {}
    for key in parts[4][1]:
        size = struct.unpack("<q", raw[at : at + 8])[0] * 4  # every storage is f32
        data[key] = raw[at : at + 8 + size]
        at += 8 + size
    assert at == len(raw)

    def pickled(text: str) -> bytes:
        return b"X" + struct.pack("<I", len(text)) + text.encode()

    obj = parts[3][0]
    keys = sorted(data, key=lambda k: obj.index(pickled(k)))
    renamed = {key: str(94_000_000_000_000 + 64 * i) for i, key in enumerate(keys)}
    for key in keys:
        assert pickled(key) in obj
        obj = obj.replace(pickled(key), pickled(renamed[key]))
    head = b"".join(p for p, _ in parts[:3])
    listed = pickle.dumps([renamed[k] for k in keys], protocol=2)
    return head + obj + listed + b"".join(data[k] for k in keys)


# ---- expected values -------------------------------------------------------------------------------


def parts_of(model):
    """The modules whose inputs and outputs are sites, by role; None where a family has none."""
    kind = model.config.get_text_config().model_type
    if kind == "gpt2":
        base = model.transformer
        names = ("attn", "attn.c_proj", "ln_1", "ln_2", "mlp", "mlp.c_proj", None, None)
        return base.wte, base.h, base.ln_f, names
    if kind == "gpt_neox":
        base = model.gpt_neox
        names = ("attention", "attention.dense", "input_layernorm", "post_attention_layernorm")
        return base.embed_in, base.layers, base.final_layer_norm, (
            *names, "mlp", "mlp.dense_4h_to_h", None, None,
        )
    base = model.model
    base = getattr(base, "language_model", base)
    gemma = kind.startswith("gemma")
    names = (
        "self_attn",
        "self_attn.o_proj",
        "input_layernorm",
        "pre_feedforward_layernorm" if gemma else "post_attention_layernorm",
        "mlp",
        "mlp.down_proj",
        "post_attention_layernorm" if gemma else None,
        "post_feedforward_layernorm" if gemma else None,
    )
    return base.embed_tokens, base.layers, base.norm, names


def sites(model, tokens) -> dict:
    """Every site of every layer and the logits, for one sequence, seen by forward hooks."""
    seen, handles = {}, []
    parallel = getattr(model.config, "use_parallel_residual", False)

    def first(x):
        return x[0] if isinstance(x, (tuple, list)) else x

    def flat(x):
        x = first(x)[0]
        return x.reshape(x.shape[0], -1).clone()

    def output(module, name):
        keep = lambda _m, _i, out: seen.__setitem__(name, flat(out))
        handles.append(module.register_forward_hook(keep))

    def input_(module, name):
        keep = lambda _m, args: seen.__setitem__(name, flat(args))
        handles.append(module.register_forward_pre_hook(keep))

    def pattern(module, name):
        def keep(_m, _i, out):
            p = out[1][0]  # [heads, query, key]
            seen[name] = p.transpose(0, 1).reshape(p.shape[1], -1).clone()

        handles.append(module.register_forward_hook(keep))

    embed, layers, norm, names = parts_of(model)
    output(embed, "embed")
    for i, layer in enumerate(layers):
        part = [layer.get_submodule(n) if n else None for n in names]
        attn, z, ln1, ln2, mlp, act, post_attn, post_mlp = part
        handles.append(
            layer.register_forward_pre_hook(
                lambda _m, args, kwargs, n=f"resid_pre.{i}": seen.__setitem__(
                    n, flat(args if args else kwargs["hidden_states"])
                ),
                with_kwargs=True,
            )
        )
        output(ln1, f"attn_norm.{i}")
        pattern(attn, f"attn_pattern.{i}")
        input_(z, f"attn_z.{i}")
        output(post_attn or attn, f"attn_out.{i}")
        if not parallel:
            input_(ln2, f"resid_mid.{i}")
        output(ln2, f"mlp_norm.{i}")
        input_(act, f"mlp_act.{i}")
        output(post_mlp or mlp, f"mlp_out.{i}")
        output(layer, f"resid_post.{i}")
    output(norm, "final_norm")
    with torch.no_grad():
        seen["logits"] = model(input_ids=tokens[None], use_cache=False).logits[0].float().clone()
    for handle in handles:
        handle.remove()
    check_identities(model, seen, len(layers), parallel, tokens)
    return seen


def check_identities(model, s, n_layers, parallel, tokens):
    """What each site means, as equations between sites."""
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    start = s["embed"]
    if model.config.model_type == "gpt2":
        start = start + model.transformer.wpe.weight[: len(tokens)]
    close(start, s["resid_pre.0"])
    text = model.config.get_text_config()
    for i in range(n_layers):
        pre, post = s[f"resid_pre.{i}"], s[f"resid_post.{i}"]
        if parallel:
            assert f"resid_mid.{i}" not in s
        else:
            close(pre + s[f"attn_out.{i}"], s[f"resid_mid.{i}"])
            close(s[f"resid_mid.{i}"] + s[f"mlp_out.{i}"], post)
        close(pre + s[f"attn_out.{i}"] + s[f"mlp_out.{i}"], post)
        if i + 1 < n_layers:
            close(post, s[f"resid_pre.{i + 1}"])
        heads = s[f"attn_pattern.{i}"].view(len(tokens), text.num_attention_heads, len(tokens))
        close(heads.sum(-1), torch.ones(heads.shape[:2]))
        allowed = heads[:, 0].ne(0).sum(-1)
        window = getattr(text, "sliding_window", None)
        kinds = getattr(text, "layer_types", None)
        if text.model_type == "mistral":
            windowed = True
        else:
            windowed = kinds is not None and kinds[i] == "sliding_attention"
        most = window if windowed else len(tokens)
        want = torch.arange(1, len(tokens) + 1).clamp(max=most)
        assert torch.equal(allowed, want), (i, allowed, want)


def greedy(model, tokens) -> torch.Tensor | None:
    """`generate` without sampling, equal to recomputing every step; None where a step is a near tie."""
    got = model.generate(
        input_ids=tokens[None],
        attention_mask=torch.ones_like(tokens[None]),
        do_sample=False,
        max_new_tokens=N_NEW,
        min_new_tokens=N_NEW,
        eos_token_id=None,
        pad_token_id=0,
    )[0, len(tokens) :]
    ids = tokens
    for token in got:
        with torch.no_grad():
            top = model(input_ids=ids[None], use_cache=False).logits[0, -1].topk(2)
        if top.values[0] - top.values[1] < 1e-2:
            return None
        assert top.indices[0] == token, "cached generation differs from recomputed"
        ids = torch.cat([ids, token[None]])
    return got


def logits_of(model, tokens) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=tokens[None], use_cache=False).logits[0].float()


def edited(config: dict, edit: dict) -> dict:
    config = json.loads(json.dumps(config))
    for path, value in edit.items():
        *outer, last = path.split(".")
        inner = config
        for key in outer:
            inner = inner[key]
        inner[last] = value
    return config


def check_edits(name, config, model, tokens, edits):
    """A computation that ignores one of these keys is far from the expected logits."""
    truth = logits_of(model, tokens)
    for label, (edit, least) in edits.items():
        other = model_from(config_from(edited(config, edit)))
        other.load_state_dict(model.state_dict())
        change = (logits_of(other, tokens) - truth).abs().max().item()
        print(f"    {label:18} changes logits by {change:.4f} (at least {least})")
        assert change >= least, f"{name}: {label} changes too little"


def make(name: str, case: dict):
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seed = zlib.crc32(name.encode()) + case.get("seed", 0)
    config = case["config"]
    model = model_from(config_from(config))
    fill(model, seed)
    model.to(getattr(torch, case.get("dtype", "float32")))
    store(model, folder, case.get("store"))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if case.get("v5"):
        config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    kind = Gemma3ForConditionalGeneration if "text_config" in config else AutoModelForCausalLM
    loaded, info = kind.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    loaded.eval()
    for (key, a), (_, b) in zip(model.state_dict().items(), loaded.state_dict().items()):
        assert torch.equal(a.float(), b), key

    rng = torch.Generator().manual_seed(seed + 1)
    vocab = 60  # below the image tokens, and below every case's vocabulary
    a = torch.randint(4, vocab, (N_A,), generator=rng)
    a[N_A // 2] = a[1]
    continued = None
    while continued is None:
        b = torch.randint(4, vocab, (N_B,), generator=rng)
        continued = greedy(loaded, b)
    print(f"{name}: logits up to {logits_of(loaded, a).abs().max():.2f}")
    expected = {f"a.{site}": value for site, value in sites(loaded, a).items()}
    expected |= {"a.tokens": a, "b.tokens": b}
    expected |= {"b.logits": logits_of(loaded, b), "b.greedy": continued}
    for key, value in expected.items():
        assert value.dtype in (torch.float32, torch.int64) and torch.isfinite(value).all(), key
    expected = {k: v.contiguous().clone() for k, v in expected.items()}
    save_file(expected, folder / "expected.safetensors")
    check_edits(name, config, loaded, a, case["edits"])


def main():
    wanted = sys.argv[1:] or list(CASES)
    for name in wanted:
        make(name, CASES[name])
    total = sum(f.stat().st_size for f in ROOT.rglob("*") if f.is_file())
    print(f"{len(wanted)} cases, {total / 1e6:.2f} MB in {ROOT}")
    assert total < 2_000_000


if __name__ == "__main__":
    main()
