"""Writes the cases of tests/golden/saes/ that stand for published collections: Qwen Scope, Goodfire, the attention
autoencoders of GPT-2, circuit-tracer's transcoders, Llama Scope and Llamascopium, and wrapped files.

    python tests/golden/make_published.py    # see owners.py for what it needs; 20 s

The files have the published layouts. `expected.safetensors` is what the owner's code makes of them: the library of the
project itself where it has one, otherwise SAELens' loader for the collection.
"""

import json
import math
import shutil
import warnings
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from owners import by_saelens, module

OUT = Path(__file__).parent / "saes"
D_IN, D_SAE, K = 16, 64, 5
rng = np.random.default_rng(13)


def f32(values):
    return torch.tensor(np.asarray(values, np.float32)).contiguous()


# One set of weights, rows of unequal norm; six features are never active.
W = f32(rng.normal(size=(D_SAE, D_IN)) / 4)
DEC = f32(rng.normal(size=(D_SAE, D_IN)) * np.linspace(0.3, 3, D_SAE)[:, None] / 4)
B_ENC, B_DEC = f32(rng.normal(size=D_SAE) * 0.1), f32(rng.normal(size=D_IN) * 0.3)
B_ENC[-6:] = -1e6
X = f32(rng.normal(size=(7, D_IN)))
X[1] *= 3000 / X[1].norm()
X[2] *= 0.01
X[3] += 40
SKIP = f32(rng.normal(size=(D_IN, D_IN)))
LOGS = f32(rng.normal(size=D_SAE) * 0.5)
PLAIN = {"W_enc": W, "b_enc": B_ENC, "W_dec": DEC, "b_dec": B_DEC}


def folder(case):
    path = OUT / case
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def write(path, config):
    path.write_text(config if isinstance(config, str) else json.dumps(config))


@torch.no_grad()
def expect(case, run):
    """Keeps what `run` returns of the tokens: activations and reconstructions."""
    acts, y = run(X.clone())
    assert acts.shape == (7, D_SAE) and y.shape == X.shape and (acts > 0).any(), case
    save_file({"x": X, "acts": acts.float().contiguous(), "y": y.float().contiguous()}, OUT / case / "expected.safetensors")
    print(f"{case:30} active per token {(acts > 0).sum(1).tolist()}")


def encoded_and_decoded(sae):
    def run(x):
        acts = sae.encode(x)
        return acts, sae.decode(acts)

    return run


def by_saelens_alone():
    """The collections whose makers have no library: SAELens has a loader for each."""
    name, repository = "layer2.sae.pt", f"Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_{K}"
    path = folder("qwen_scope")
    torch.save({"W_enc": W, "W_dec": DEC.T.contiguous(), "b_enc": B_ENC, "b_dec": B_DEC}, path / name)
    config = dict(model_type="topk_sae", base_model="Qwen/Qwen3-1.7B-Base", d_model=D_IN, d_sae=D_SAE, k=K)
    write(path / "config.json", {**config, "num_layers": 28, "hook_point": "resid_post", "loss": float("nan")})
    sizes = dict(d_in=D_IN, d_sae=D_SAE)
    expect("qwen_scope", encoded_and_decoded(by_saelens("qwen_scope", path, repository, name, **sizes)))

    name = "Llama-3.1-8B-Instruct-SAE-l19"
    path = folder("goodfire")
    linear = {"weight": W, "bias": B_ENC}, {"weight": DEC.T.contiguous(), "bias": B_DEC}
    named = zip(("encoder_linear", "decoder_linear"), linear)
    torch.save({f"{layer}.{part}": t for layer, parts in named for part, t in parts.items()}, path / f"{name}.pth")
    expect("goodfire", encoded_and_decoded(by_saelens("goodfire", path, f"Goodfire/{name}", f"{name}.pth", **sizes)))

    name = "gpt2-small_L2_Hcat_z_v9"
    path = folder("attention_out")
    torch.save({**PLAIN, "W_enc": W.T.contiguous()}, path / f"{name}.pt")
    config = dict(act_name="blocks.2.attn.hook_z", act_size=D_IN, dict_size=D_SAE, layer=2, seq_len=128)
    write(path / f"{name}_cfg.json", config)
    sae = by_saelens("connor_rob_hook_z", path, "ckkissane/attn-saes-gpt2-small-all-layers", f"{name}.pt")

    def by_head(x):
        # Its tokens have an axis for heads.
        acts = sae.encode(x.view(len(x), 4, -1))
        return acts, sae.decode(acts).reshape(x.shape)

    expect("attention_out", by_head)


def circuit_tracer():
    threshold = {"activation_function.threshold": LOGS.exp() / 20}
    cases = {
        "circuit_tracer": ({}, ""),
        "circuit_tracer_skip": ({"W_skip": SKIP}, ""),
        "circuit_tracer_jumprelu": (threshold, ""),
        "circuit_tracer_topk": ({}, f"activation: topk\nk: {K}\n"),
    }
    load = module("circuit_tracer.transcoder.single_layer_transcoder").load_transcoder_set
    for case, (more, keys) in cases.items():
        path = folder(case)
        save_file({**PLAIN, **more}, path / "layer_2.safetensors")
        write(
            path / "config.yaml",
            "model_name: Qwen/Qwen3-0.6B\nmodel_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\n"
            f"feature_output_hook: hook_mlp_out\nscan: [a/b]\n{keys}",
        )
        config = yaml.safe_load((path / "config.yaml").read_text())
        given = {key: config.get(key) for key in ("scan", "feature_input_hook", "feature_output_hook", "activation", "k")}
        paths = {0: str(path / "layer_2.safetensors")}
        transcoder = load(paths, **given, dtype=torch.float32, lazy_encoder=False, lazy_decoder=False)[0]

        def run(x):
            acts = transcoder.encode(x)
            return acts, transcoder.decode(acts, x)

        expect(case, run)


def llama_scope():
    """The first layout, by the library of its day, which folds norms on opening."""
    cases = {
        "llama_scope": (["blocks.8.hook_resid_post"] * 2, [9.25, 9.25], {}),
        "llama_scope_transcoder": (["blocks.8.ln2.hook_normalized", "blocks.8.hook_mlp_out"], [4.0, 1.5], {}),
        "llama_scope_pre_bias": (["blocks.8.hook_mlp_out"] * 2, [1.5, 1.5], {"apply_decoder_bias_to_pre_encoder": True}),
    }
    config_of = module("lm_saes.config").SAEConfig
    kind = module("lm_saes.sae").SparseAutoEncoder
    for case, (hooks, norms, more) in cases.items():
        path = folder(case) / "Llama3_1-8B-Base-L8R-8x"
        (path / "checkpoints").mkdir(parents=True)
        names = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
        tensors = dict(zip(names, (W, B_ENC, DEC.T.contiguous(), B_DEC)))
        save_file(tensors, path / "checkpoints/final.safetensors")
        config = dict(
            hook_point_in=hooks[0], hook_point_out=hooks[1], d_model=D_IN, d_sae=D_SAE, expansion_factor=4, act_fn="jumprelu",
            jump_relu_threshold=0.5, norm_activation="dataset-wise", top_k=50, sparsity_include_decoder_norm=True,
            dataset_average_activation_norm={"in": norms[0], "out": norms[1]}, use_decoder_bias=True,
            use_glu_encoder=False, apply_decoder_bias_to_pre_encoder=False,
        )
        write(path / "hyperparams.json", config | more)
        opened = config_of.from_pretrained(str(path), device="cpu", dtype=torch.float32)
        expect(case, encoded_and_decoded(kind.from_config(opened)))


def llamascopium():
    """The second layout, whose library scales activations before and after."""
    hook = "blocks.3.hook_resid_post"
    shared = dict(sae_type="sae", d_model=D_IN, expansion_factor=4.0, hook_point_in=hook, hook_point_out=hook, use_glu_encoder=False)
    log = {"activation_function.log_jumprelu_threshold": LOGS}
    cases = {
        "llamascopium": (dict(act_fn="jumprelu", norm_activation="dataset-wise", sparsity_include_decoder_norm=True), log),
        "llamascopium_topk": (
            dict(act_fn="topk", top_k=K, norm_activation="dataset-wise", sparsity_include_decoder_norm=False), {},
        ),
        "llamascopium_token_wise": (
            dict(act_fn="relu", norm_activation="token-wise", sparsity_include_decoder_norm=True), {},
        ),
    }
    kind = module("llamascopium.models.sae").SparseAutoEncoder
    for case, (keys, more) in cases.items():
        path = folder(case)
        norm = {} if "token" in case else {f"dataset_average_activation_norm.{hook}": f32(9.25)}
        tensors = {"W_E": W.T.contiguous(), "b_E": B_ENC, "W_D": DEC, "b_D": B_DEC, **more, **norm}
        save_file(tensors, path / "sae_weights.safetensors")
        write(path / "config.json", shared | keys)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sae = kind.from_local(str(path), device="cpu", dtype=torch.float32)

        def run(x):
            inputs, scales = sae.normalize_activations({hook: x}, return_scale_factor=True)
            acts = sae.encode(inputs[hook])
            return acts, sae.denormalize_activations({hook: sae.decode(acts)}, scales)[hook]

        expect(case, run)


def llama_scope_r1():
    """Between the two layouts, names of the first and thresholds of the second; SAELens has a loader for it."""
    hook, case = "blocks.15.hook_resid_post", "llama_scope_r1"
    path = folder(case)
    names = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
    tensors = dict(zip(names, (W, B_ENC, DEC.T.contiguous(), B_DEC)))
    tensors |= {"log_jumprelu_threshold": LOGS, f"dataset_average_activation_norm.{hook}": f32(9.25)}
    save_file(tensors, path / "sae_weights.safetensors")
    config = dict(sae_type="sae", d_model=D_IN, expansion_factor=4, act_fn="jumprelu", norm_activation="dataset-wise",
                  sparsity_include_decoder_norm=False, hook_point_in=hook, hook_point_out=hook, use_glu_encoder=False)
    write(path / "config.json", config)
    factor = math.sqrt(D_IN) / 9.25
    sae = by_saelens("llama_scope_r1_distill", path.parent, "fnlp/Llama-Scope-R1-Distill", case, factor)
    expect(case, encoded_and_decoded(sae))


def wrapped():
    """dictionary_learning's plain file and what torch, checkpoints and other tools put around it."""
    from dictionary_learning.utils import load_dictionary

    state = {"encoder.weight": W, "encoder.bias": B_ENC, "decoder.weight": DEC.T.contiguous(), "bias": B_DEC}
    trainer = dict(dict_class="AutoEncoder", activation_dim=D_IN, dict_size=D_SAE, layer=3,
                   lm_name="EleutherAI/pythia-70m-deduped", submodule_name="resid_post_layer_3")
    run = None
    for case, value in {
        "dl_april": state,
        "dl_compiled": {f"_orig_mod.{k}": v for k, v in state.items()},
        "dl_parallel": {"model_state_dict": {f"module.{k}": v for k, v in state.items()}, "step": 5},
        "dl_dtype": {"state_dict": state, "cfg": {"dtype": torch.float32}},
    }.items():
        path = folder(case)
        torch.save(value, path / "ae.pt")
        write(path / "config.json", {"trainer": trainer, "buffer": {"ctx_len": 128}})
        # The library opens the plain one; the others hold the same.
        run = run or encoded_and_decoded(load_dictionary(str(path), device="cpu")[0])
        expect(case, run)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for make in (by_saelens_alone, circuit_tracer, llama_scope, llama_scope_r1, llamascopium, wrapped):
        make()
