"""Writes tests/golden/features/: published autoencoders as wide as tests/data/stories260K, and their features there.

    python tests/golden/make_features.py    # see owners.py for what it needs; 30 s

`expected.safetensors` holds `ids`, and by case the dense activations on them: those of the model are computed by
`transformers`, and those of each autoencoder by its owner's code.
"""

import json
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from owners import by_saelens, module

OUT = Path(__file__).parent / "features"
MODEL = "tests/data/stories260K"
D_IN, D_SAE, K, LAYER = 64, 16, 4, 2
IDS = [1, 403, 407, 261, 378, 291, 420, 269, 426, 352, 298, 277]
rng = np.random.default_rng(7)


def f32(*shape, scale=1.0):
    return torch.tensor((rng.normal(size=shape) * scale).astype(np.float32))


W, B_ENC = f32(D_SAE, D_IN, scale=1 / 8), f32(D_SAE, scale=0.1)
DEC, B_DEC = f32(D_SAE, D_IN, scale=1 / 4), f32(D_IN, scale=0.3)
PLAIN = {"W_enc": W.T.contiguous(), "b_enc": B_ENC, "W_dec": DEC, "b_dec": B_DEC}


def llama2c(path):
    """The model of a file of llama2.c, whose rotary dimensions are pairs of neighbours, not of halves."""
    data = path.read_bytes()
    d, hidden, layers, heads, kv_heads, vocab, _ = struct.unpack("7i", data[:28])
    rest, at = np.frombuffer(data, np.float32, offset=28), 0

    def take(*shape):
        nonlocal at
        at += int(np.prod(shape))
        return torch.tensor(rest[at - int(np.prod(shape)) : at].reshape(shape).copy())

    def halves(weight, count):
        return weight.view(layers, count, -1, 2, d).transpose(2, 3).reshape(layers, -1, d)

    width = kv_heads * d // heads
    state = {"model.embed_tokens.weight": take(vocab, d)}
    parts = {"input_layernorm": take(layers, d), "self_attn.q_proj": halves(take(layers, d, d), heads)}
    parts |= {"self_attn.k_proj": halves(take(layers, width, d), kv_heads), "self_attn.v_proj": take(layers, width, d)}
    parts |= {"self_attn.o_proj": take(layers, d, d), "post_attention_layernorm": take(layers, d)}
    parts |= {"mlp.gate_proj": take(layers, hidden, d), "mlp.down_proj": take(layers, d, hidden)}
    parts |= {"mlp.up_proj": take(layers, hidden, d)}
    for name, weights in parts.items():
        state |= {f"model.layers.{i}.{name}.weight": weight for i, weight in enumerate(weights)}
    state["model.norm.weight"] = take(d)
    config = LlamaConfig(
        hidden_size=d, intermediate_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, rms_norm_eps=1e-5,
        num_key_value_heads=kv_heads, vocab_size=abs(vocab), tie_word_embeddings=True, attn_implementation="eager",
    )
    model = LlamaForCausalLM(config)
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and missing.missing_keys == ["lm_head.weight"], missing
    return model.eval()


@torch.no_grad()
def activations():
    """What goes into and comes out of the modules of a layer, by names of hooks."""
    model = llama2c(Path(MODEL) / "stories260K.bin")
    seen, layer = {}, model.model.layers[LAYER]

    def watch(name, part, ins=None):
        def hook(_, args, kwargs, out):
            first = args[0] if args else kwargs["hidden_states"]
            seen[name] = (out[0] if isinstance(out, tuple) else out)[0] if ins is None else first[0]

        part.register_forward_hook(hook, with_kwargs=True)

    watch("model.layers.2", layer)
    watch("model.layers.2.mlp", layer.mlp)
    watch("blocks.2.hook_out", layer)
    watch("blocks.2.hook_in", layer, "in")
    watch("blocks.2.mlp.hook_out", layer.mlp)
    watch("blocks.2.attn.hook_out", layer.self_attn)
    watch("blocks.2.hook_mlp_in", layer.post_attention_layernorm, "in")
    watch("attn_z.2", layer.self_attn.o_proj, "in")
    watch("mlp_norm.2", layer.mlp, "in")
    model(torch.tensor([IDS]))
    return {name: x.detach() for name, x in seen.items()}


@torch.no_grad()
def cases(x):
    resid, sizes = x["model.layers.2"], dict(d_in=D_IN, d_sae=D_SAE)
    name, repository = "layer2.sae.pt", f"Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_{K}"
    path = OUT / "qwen_scope"
    path.mkdir()
    torch.save({"W_enc": W, "W_dec": DEC.T.contiguous(), "b_enc": B_ENC, "b_dec": B_DEC}, path / name)
    config = dict(model_type="topk_sae", base_model="Qwen/Qwen3-1.7B-Base", d_model=D_IN, d_sae=D_SAE, k=K)
    (path / "config.json").write_text(json.dumps({**config, "num_layers": 28, "hook_point": "resid_post"}))
    yield "qwen_scope", by_saelens("qwen_scope", path, repository, name, **sizes).encode(resid)

    name = "Llama-3.1-8B-Instruct-SAE-l19"
    linear = {"encoder_linear.weight": W, "encoder_linear.bias": B_ENC}
    linear |= {"decoder_linear.weight": DEC.T.contiguous(), "decoder_linear.bias": B_DEC}
    torch.save(linear, OUT / f"{name}.pth")
    yield "goodfire", by_saelens("goodfire", OUT, f"Goodfire/{name}", f"{name}.pth", **sizes).encode(resid)

    name, repository = "gpt2-small_L2_Hcat_z_v9", "ckkissane/attn-saes-gpt2-small-all-layers"
    torch.save(PLAIN, OUT / f"{name}.pt")
    config = dict(act_name="blocks.2.attn.hook_z", act_size=D_IN, dict_size=D_SAE, layer=2, seq_len=128)
    (OUT / f"{name}_cfg.json").write_text(json.dumps(config))
    heads = x["attn_z.2"].view(len(IDS), 8, -1)
    yield "attention_out", by_saelens("connor_rob_hook_z", OUT, repository, f"{name}.pt").encode(heads)

    path = OUT / "circuit_tracer"
    path.mkdir()
    save_file({**PLAIN, "W_enc": W}, path / "layer_2.safetensors")
    hooks = {"feature_input_hook": "mlp.hook_in", "feature_output_hook": "hook_mlp_out"}
    lines = {"model_name": "Qwen/Qwen3-0.6B", "model_kind": "transcoder_set", **hooks}
    (path / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    load = module("circuit_tracer.transcoder.single_layer_transcoder").load_transcoder_set
    paths = {0: str(path / "layer_2.safetensors")}
    loaded = load(paths, "scan", **hooks, dtype=torch.float32, lazy_encoder=False, lazy_decoder=False)
    yield "circuit_tracer", loaded[0].encode(x["mlp_norm.2"])

    yield from wrapped(resid)
    yield from hooks_of_saelens(x)


def wrapped(resid):
    from dictionary_learning.utils import load_dictionary

    state = {"encoder.weight": W, "encoder.bias": B_ENC, "decoder.weight": DEC.T.contiguous(), "bias": B_DEC}
    trainer = dict(dict_class="AutoEncoder", activation_dim=D_IN, dict_size=D_SAE, layer=LAYER, lm_name=MODEL)
    values = {
        "plain": state,
        "compiled": {f"_orig_mod.{k}": v for k, v in state.items()},
        "parallel": {f"module.{k}": v for k, v in state.items()},
        "checkpoint": {"model_state_dict": state, "step": 5},
        "dtype": {"state_dict": state, "cfg": {"dtype": torch.float32}},
    }
    for name, value in values.items():
        path = OUT / name
        path.mkdir()
        torch.save(value, path / "ae.pt")
        config = {"trainer": {**trainer, "submodule_name": f"resid_post_layer_{LAYER}"}}
        (path / "config.json").write_text(json.dumps(config))
    yield "wrapped", load_dictionary(str(OUT / "plain"), device="cpu")[0].encode(resid)


def hooks_of_saelens(x):
    """Weights of SAELens, which the test puts beside configurations that name different hooks."""
    from sae_lens.saes.sae import SAE

    save_file(PLAIN, OUT / "sae_weights.safetensors")
    config = dict(architecture="standard", d_in=D_IN, d_sae=D_SAE, dtype="float32", apply_b_dec_to_input=True,
                  normalize_activations="none", reshape_activations="none")
    config["metadata"] = dict(sae_lens_version="6.54.12", model_name=MODEL, model_class_name="AutoModelForCausalLM",
                              hook_name="blocks.2.hook_out", context_size=128, prepend_bos=True)
    (OUT / "cfg.json").write_text(json.dumps(config))
    sae = SAE.load_from_disk(OUT)
    for hook in x:
        # The others are names of saescope.
        if hook.startswith(("model.", "blocks.")):
            yield hook, sae.encode(x[hook])


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    tensors = {"ids": torch.tensor(IDS)}
    for case, acts in cases(activations()):
        active = (acts > 0).sum(1).tolist()
        assert acts.shape == (len(IDS), D_SAE) and any(active), case
        tensors[case] = acts.detach().contiguous()
        print(f"{case:24} active per token {active}")
    save_file(tensors, OUT / "expected.safetensors")
