"""Writes tests/golden/saes/: autoencoders of every format, and what the library that owns the format makes of them.

    python tests/golden/make_saes.py            # all of them, about 30 s
    python tests/golden/make_saes.py saelens    # those whose names begin so

Every case is a folder with the files as the library writes them and `expected.safetensors`: `x` the tokens,
`acts` their dense activations, `y` the reconstructions, all f32. OpenAI's reader is not on PyPI; owners.py says where it
is.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

# sparsify's own way to decode without a GPU.
os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

OUT = Path(__file__).parent / "saes"
D_IN, D_SAE, K = 16, 64, 5
MODEL, LAYER = "gpt2-small", 3


def tokens(d: int = D_IN) -> torch.Tensor:
    """Seven tokens: plain ones, one of huge norm as GPT-2's first, one small, one with a mean far from 0."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(7, d, generator=generator)
    x[1] *= 3000.0 / x[1].norm()
    x[2] *= 0.01
    x[3] += 40.0
    x[5, 4] = 120.0
    return x


def randomise(parameters: dict, positive=("threshold",), seed: int = 2) -> None:
    """Weights of a trained look: directions of unequal norm, biases, dead features."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in parameters.items():
        values = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1:
            values *= 0.3 + torch.rand(tensor.shape[0], generator=generator)[:, None]
        else:
            values *= 0.3
        if any(word in name for word in positive):
            values = values.abs() * 3
        tensor.data.copy_(values.to(tensor.dtype))
    for name, tensor in parameters.items():
        if name in ("b_enc", "encoder.bias", "b_mag", "mag_bias", "latent_bias"):
            # Features that never are active.
            tensor.data[-6:] = -1e6


def expect(case: str, x, acts, y) -> None:
    tensors = {"x": x, "acts": acts, "y": y}
    assert all(torch.isfinite(t).all() for t in tensors.values()), case
    assert (acts > 0).any(1).all() or "few" in case, case
    save_file({k: v.detach().float().contiguous() for k, v in tensors.items()}, OUT / case / "expected.safetensors")
    per_token = (acts > 0).sum(1).tolist()
    print(f"{case:34} active per token {per_token}")


def folder(case: str) -> Path:
    path = OUT / case
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


# OpenAI


def openai_state(activation: str | None, k: int | None, few: bool = False) -> dict:
    state = {
        "pre_bias": torch.zeros(D_IN),
        "encoder.weight": torch.zeros(D_SAE, D_IN),
        "latent_bias": torch.zeros(D_SAE),
        "decoder.weight": torch.zeros(D_IN, D_SAE),
    }
    randomise(state)
    if few:
        # Fewer than k positive pre-activations on every token.
        state["latent_bias"][4:] = -1e6
    state["stats_last_nonzero"] = torch.arange(D_SAE)
    state["latents_activation_frequency"] = torch.ones(D_SAE)
    state["latents_mean_square"] = torch.ones(D_SAE)
    if activation is not None:
        state["activation"] = activation
        state["activation_state_dict"] = {"k": k, "postact_fn": "ReLU"} if k else {}
    return state


def openai_expected(state: dict, x: torch.Tensor):
    from owners import module

    sae = module("sparse_autoencoder.model").Autoencoder.from_state_dict(dict(state))
    with torch.no_grad():
        acts, info = sae.encode(x)
        return acts, sae.decode(acts, info)


def openai() -> None:
    cases = {
        "openai_v1": ("mlp_post_act/autoencoders/3.pt", "ReLU", None, False),
        "openai_v4": ("resid_delta_mlp_v4/autoencoders/3.pt", None, None, False),
        "openai_v5": ("resid_post_mlp_v5_32k/autoencoders/8.pt", "TopK", K, False),
        "openai_v5_few": ("resid_post_attn_v5_128k/autoencoders/0.pt", "TopK", 12, True),
        "openai_v5_attn": ("resid_delta_attn_v5_128k/autoencoders/11.pt", "TopK", K, False),
    }
    for case, (name, activation, k, few) in cases.items():
        if not wanted(case):
            continue
        path = folder(case) / name
        path.parent.mkdir(parents=True)
        state = openai_state(activation, k, few)
        x = tokens()
        acts, y = openai_expected(state, x)
        torch.save(state, path)
        expect(case, x, acts, y)


# SAELens


def saelens_metadata(**more):
    from sae_lens.saes.sae import SAEMetadata

    return SAEMetadata(
        model_name=MODEL, hook_name=f"blocks.{LAYER}.hook_resid_post", prepend_bos=True, context_size=128, **more
    )


def saelens_run(sae, x):
    with torch.no_grad():
        acts = sae.encode(x)
        return acts, sae.decode(acts)


def saelens() -> None:
    from sae_lens.saes import gated_sae, jumprelu_sae, standard_sae, topk_sae

    S, T = standard_sae.StandardSAE, topk_sae.TopKSAE
    J, G = jumprelu_sae.JumpReLUSAE, gated_sae.GatedSAE
    cases = {
        "saelens_standard": (S, {}),
        "saelens_standard_no_b_dec": (S, {"apply_b_dec_to_input": False}),
        "saelens_layer_norm": (S, {"normalize_activations": "layer_norm"}),
        "saelens_constant_norm": (S, {"normalize_activations": "constant_norm_rescale"}),
        "saelens_expected_average": (S, {"normalize_activations": "expected_average_only_in"}),
        "saelens_topk": (T, {"k": K, "normalize_activations": "layer_norm"}),
        "saelens_topk_few": (T, {"k": 40}),
        "saelens_topk_rescaled": (T, {"k": K, "rescale_acts_by_decoder_norm": True}),
        "saelens_jumprelu": (J, {}),
        "saelens_gated": (G, {}),
        "saelens_f64": (S, {"dtype": "float64"}),
        "saelens_bf16": (S, {"dtype": "bfloat16"}),
    }
    for case, (kind, options) in cases.items():
        if not wanted(case):
            continue
        path = folder(case)
        config = saelens_config(kind)(d_in=D_IN, d_sae=D_SAE, metadata=saelens_metadata(), **options)
        sae = kind(config)
        randomise(dict(sae.named_parameters()))
        if case == "saelens_topk_rescaled":
            sae.W_dec.data[9] = 1e-3
        sae.save_model(path)
        reference = sae
        if case == "saelens_bf16":
            # What bf16 weights stand for, computed in f32.
            reference = kind(saelens_config(kind)(d_in=D_IN, d_sae=D_SAE, metadata=saelens_metadata()))
            reference.load_state_dict({k: v.float() for k, v in sae.state_dict().items()})
        x = tokens().to(reference.dtype)
        expect(case, x, *saelens_run(reference, x))
    saelens_training()
    saelens_old()
    saelens_transcoders()
    saelens_special()


def saelens_config(kind):
    from sae_lens.registry import SAE_CLASS_REGISTRY

    return next(config for sae, config in SAE_CLASS_REGISTRY.values() if sae is kind)


def saelens_training() -> None:
    """Checkpoints in training, and what is saved of them for use."""
    from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY as classes
    from sae_lens.saes.sae import SAE

    cases = {
        "batchtopk": {"k": 4.5},
        "matryoshka_batchtopk": {"k": 4, "matryoshka_widths": [16, 64]},
        "topk": {"k": K},
        "jumprelu": {},
    }
    for architecture, options in cases.items():
        names = {f"saelens_{architecture}_training": False, f"saelens_{architecture}_saved": True}
        for case, saved in names.items():
            if not wanted(case):
                continue
            path = folder(case)
            kind, config = classes[architecture]
            sae = kind(config(d_in=D_IN, d_sae=D_SAE, metadata=saelens_metadata(), **options))
            randomise(dict(sae.named_parameters()))
            if hasattr(sae, "topk_threshold"):
                sae.topk_threshold.fill_(0.8)
            inference = path / "inference"
            sae.save_inference_model(inference)
            # Saving for use folds in place what the checkpoint holds unfolded.
            sae = kind(config(d_in=D_IN, d_sae=D_SAE, metadata=saelens_metadata(), **options))
            randomise(dict(sae.named_parameters()))
            if hasattr(sae, "topk_threshold"):
                sae.topk_threshold.fill_(0.8)
            reference = SAE.load_from_disk(inference)
            x = tokens()
            acts, y = saelens_run(reference, x)
            if saved:
                for file in inference.iterdir():
                    file.rename(path / file.name)
            else:
                sae.save_model(path)
            shutil.rmtree(inference)
            expect(case, x, acts, y)


def saelens_old() -> None:
    """Flat configurations of versions before 6, read by SAELens itself."""
    from sae_lens.saes.sae import SAE

    flat = {
        "d_in": D_IN,
        "d_sae": D_SAE,
        "dtype": "float32",
        "device": "cpu",
        "model_name": MODEL,
        "hook_layer": LAYER,
        "hook_head_index": None,
        "prepend_bos": True,
        "context_size": 128,
        "dataset_path": "x/y",
        "finetuning_scaling_factor": False,
    }
    weights = {"W_enc": torch.zeros(D_IN, D_SAE), "W_dec": torch.zeros(D_SAE, D_IN), "b_dec": torch.zeros(D_IN)}
    cases = {
        "saelens_old_standard": (
            {"architecture": "standard", "hook_name": "blocks.3.hook_resid_pre", "activation_fn_str": "relu",
             "apply_b_dec_to_input": True, "normalize_activations": "none", "sae_lens_training_version": "3.2.0"},
            ["b_enc"],
        ),
        "saelens_old_topk": (
            {"architecture": "standard", "hook_name": "blocks.3.attn.hook_z", "activation_fn_str": "topk",
             "activation_fn_kwargs": {"k": K}, "apply_b_dec_to_input": False, "normalize_activations": "layer_norm"},
            ["b_enc"],
        ),
        "saelens_old_jumprelu": (
            {"architecture": "jumprelu", "hook_name": "blocks.3.hook_mlp_out", "activation_fn_str": "relu",
             "normalize_activations": False},
            ["b_enc", "threshold"],
        ),
        "saelens_older_point": ({"hook_point": "blocks.3.hook_resid_pre", "hook_point_layer": 3}, ["b_enc", "scaling_factor"]),
    }
    for case, (config, names) in cases.items():
        if not wanted(case):
            continue
        path = folder(case)
        state = {k: v.clone() for k, v in weights.items()} | {name: torch.zeros(D_SAE) for name in names}
        randomise(state)
        if "scaling_factor" in state:
            state["scaling_factor"] = torch.ones(D_SAE)
        save_file(state, path / "sae_weights.safetensors")
        (path / "cfg.json").write_text(json.dumps(flat | config))
        x = tokens()
        sae = SAE.load_from_disk(path)
        if "hook_z" in config.get("hook_name", ""):
            # SAELens wants heads on an axis of their own.
            acts, y = saelens_run(sae, x.view(7, 4, 4))
            y = y.reshape(7, D_IN)
        else:
            acts, y = saelens_run(sae, x)
        expect(case, x, acts, y)


def saelens_transcoders() -> None:
    from sae_lens.saes import transcoder as t

    out = 24
    cases = {
        "saelens_transcoder": t.Transcoder,
        "saelens_skip_transcoder": t.SkipTranscoder,
        "saelens_jumprelu_transcoder": t.JumpReLUTranscoder,
        "saelens_jumprelu_skip_transcoder": t.JumpReLUSkipTranscoder,
    }
    for case, kind in cases.items():
        if not wanted(case):
            continue
        path = folder(case)
        metadata = saelens_metadata(hook_name_out="blocks.3.hook_mlp_out")
        metadata.hook_name = "blocks.3.ln2.hook_normalized"
        norm = "layer_norm" if case == "saelens_transcoder" else "none"
        sae = kind(saelens_config(kind)(
            d_in=D_IN, d_sae=D_SAE, d_out=out, apply_b_dec_to_input=False, metadata=metadata, normalize_activations=norm,
        ))
        randomise(dict(sae.named_parameters()))
        sae.save_model(path)
        x = tokens()
        with torch.no_grad():
            y, acts = sae.forward_with_activations(x)
        expect(case, x, acts, y)


def saelens_special() -> None:
    """A log threshold, a scale beside the weights, and a model with centred writing weights."""
    from sae_lens.saes.sae import SAE
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
    from safetensors.torch import load_file

    x = tokens()
    case = "saelens_log_threshold"
    if wanted(case):
        path = folder(case)
        sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=D_IN, d_sae=D_SAE, metadata=saelens_metadata()))
        randomise(dict(sae.named_parameters()))
        sae.save_model(path)
        file = path / "sae_weights.safetensors"
        state = load_file(file)
        state["log_threshold"] = state.pop("threshold").log()
        sae.threshold.data = state["log_threshold"].exp()
        save_file(state, file)
        expect(case, x, *saelens_run(sae, x))
    case = "saelens_scaler"
    if wanted(case):
        path = folder(case)
        config = dict(d_in=D_IN, d_sae=D_SAE, metadata=saelens_metadata())
        sae = StandardSAE(StandardSAEConfig(**config, normalize_activations="expected_average_only_in"))
        randomise(dict(sae.named_parameters()))
        sae.save_model(path)
        (path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.37}))
        sae.fold_activation_norm_scaling_factor(0.37)
        expect(case, x, *saelens_run(sae, x))
    case = "saelens_centred"
    if wanted(case):
        path = folder(case)
        metadata = saelens_metadata(model_from_pretrained_kwargs={"center_writing_weights": True})
        sae = StandardSAE(StandardSAEConfig(d_in=D_IN, d_sae=D_SAE, metadata=metadata))
        randomise(dict(sae.named_parameters()))
        sae.save_model(path)
        # What its model would give is `x` without the mean of each token.
        mean = x.mean(-1, keepdim=True)
        acts, y = saelens_run(SAE.load_from_disk(path), x - mean)
        expect(case, x, acts, y + mean)


# sparsify


def sparsify() -> None:
    from sparsify import SparseCoder
    from sparsify.config import SparseCoderConfig

    cases = {
        "sparsify_topk": ("layers.3", SparseCoderConfig(num_latents=D_SAE, k=K)),
        "sparsify_expansion": ("h.5.mlp", SparseCoderConfig(expansion_factor=4, k=40)),
        "sparsify_transcoder": ("layers.5.mlp", SparseCoderConfig(num_latents=D_SAE, k=K, transcode=True)),
        "sparsify_skip": (
            "layers.5.mlp",
            SparseCoderConfig(num_latents=D_SAE, k=K, transcode=True, skip_connection=True),
        ),
    }
    for case, (module, config) in cases.items():
        if not wanted(case):
            continue
        path = folder(case)
        sae = SparseCoder(D_IN, config)
        randomise(dict(sae.named_parameters()))
        sae.save_to_disk(path / module)
        (path / "config.json").write_text(json.dumps({"model": "EleutherAI/pythia-70m", "ctx_len": 2048}))
        x = tokens()
        sae = SparseCoder.load_from_disk(path / module)
        with torch.no_grad():
            top = sae.encode(x)
            acts = torch.zeros(len(x), D_SAE).scatter(-1, top.top_indices, top.top_acts)
            y = sae(x).sae_out
        expect(case, x, acts, y)


# dictionary_learning


def dictionary_learning() -> None:
    from dictionary_learning import dictionary as d
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    cases = {
        "dl_standard": d.AutoEncoder(D_IN, D_SAE),
        "dl_new": d.AutoEncoderNew(D_IN, D_SAE),
        "dl_gated": d.GatedAutoEncoder(D_IN, D_SAE),
        "dl_jumprelu": d.JumpReluAutoEncoder(D_IN, D_SAE),
        "dl_topk": AutoEncoderTopK(D_IN, D_SAE, K),
        "dl_topk_few": AutoEncoderTopK(D_IN, D_SAE, 40),
        "dl_batch_topk": BatchTopKSAE(D_IN, D_SAE, K),
        "dl_batch_topk_untrained": BatchTopKSAE(D_IN, D_SAE, K),
        "dl_matryoshka": MatryoshkaBatchTopKSAE(D_IN, D_SAE, K, [16, 48]),
    }
    for case, sae in cases.items():
        if wanted(case):
            dictionary_learning_case(case, sae)
    case = "dl_backup"
    if wanted(case):
        # Under way, the autoencoder works on activations divided by the factor.
        factor = 2.5
        sae = BatchTopKSAE(D_IN, D_SAE, K)
        randomise(dict(sae.named_parameters()))
        sae.threshold.fill_(0.8)
        config = dictionary_learning_config(sae)
        path = folder(case)
        torch.save(
            {"step": 100, "ae": sae.state_dict(), "optimizer": torch.optim.Adam(sae.parameters()).state_dict(),
             "config": config["trainer"], "norm_factor": factor},
            path / "ae.pt",
        )
        (path / "config.json").write_text(json.dumps(config))
        x = tokens()
        with torch.no_grad():
            acts = sae.encode(x / factor)
            # Activations, too, are of the divided ones; the reconstruction is not.
            expect(case, x, acts, sae.decode(acts) * factor)


def dictionary_learning_config(sae) -> dict:
    return {
        "trainer": {
            "trainer_class": "x",
            "dict_class": type(sae).__name__,
            "activation_dim": D_IN,
            "dict_size": D_SAE,
            "k": K,
            "layer": LAYER,
            "lm_name": "EleutherAI/pythia-70m-deduped",
            "submodule_name": f"resid_post_layer_{LAYER}",
        },
        "buffer": {"ctx_len": 128},
    }


def dictionary_learning_case(case: str, sae) -> None:
    from dictionary_learning.utils import load_dictionary

    randomise(dict(sae.named_parameters()))
    if type(sae).__name__ in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE") and "untrained" not in case:
        sae.threshold.fill_(0.8)
    path = folder(case)
    config = dictionary_learning_config(sae)
    if case == "dl_topk_few":
        config["trainer"]["k"] = 40
    torch.save({k: v.cpu() for k, v in sae.state_dict().items()}, path / "ae.pt")
    (path / "config.json").write_text(json.dumps(config))
    # `AutoEncoder` brings decoder rows to norm 1 on opening.
    sae, _ = load_dictionary(str(path), device="cpu")
    x = tokens()
    with torch.no_grad():
        acts = sae.encode(x)
        expect(case, x, acts, sae.decode(acts))


# Gemma Scope


def gemma_scope() -> None:
    """Both releases, computed by SAELens' classes after the renaming that its readers do."""
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.saes.transcoder import (
        JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig, JumpReLUTranscoder, JumpReLUTranscoderConfig,
    )

    x = tokens()
    sizes = dict(d_in=D_IN, d_sae=D_SAE, apply_b_dec_to_input=False)
    for case, name in {
        "gemma_scope_res": "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71",
        "gemma_scope_compressed": "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71",
        "gemma_scope_embedding": "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6",
    }.items():
        if not wanted(case):
            continue
        path = folder(case) / name
        path.mkdir(parents=True)
        sae = JumpReLUSAE(JumpReLUSAEConfig(**sizes))
        randomise(dict(sae.named_parameters()))
        save = np.savez_compressed if "compressed" in case else np.savez
        save(path / "params.npz", **{k: v.detach().numpy() for k, v in sae.named_parameters()})
        if "embedding" in case:
            sae.W_enc.data /= np.sqrt(D_IN)
            sae.W_dec.data *= np.sqrt(D_IN)
        expect(case, x, *saelens_run(sae, x))
    case = "gemma_scope_transcoder"
    if wanted(case):
        path = folder(case) / "gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_8"
        path.mkdir(parents=True)
        sae = JumpReLUTranscoder(JumpReLUTranscoderConfig(**sizes, d_out=D_IN))
        randomise(dict(sae.named_parameters()))
        # A matrix in Fortran's order, as numpy stores one that is a transposed view.
        arrays = {k: v.detach().numpy() for k, v in sae.named_parameters()}
        np.savez(path / "params.npz", **arrays | {"W_enc": np.asfortranarray(arrays["W_enc"])})
        expect(case, x, *saelens_run(sae, x))
    for case, affine in {"gemma_scope_2_transcoder": True, "gemma_scope_2_res": False}.items():
        if not wanted(case):
            continue
        path = folder(case)
        layer = "model.layers.5"
        config = {"architecture": "jump_relu", "model_name": "gemma-v3-270m-pt", "width": D_SAE, "type": "sae"}
        if affine:
            sae = JumpReLUSkipTranscoder(JumpReLUSkipTranscoderConfig(**sizes, d_out=24))
            config |= {
                "hf_hook_point_in": f"{layer}.pre_feedforward_layernorm.output",
                "hf_hook_point_out": f"{layer}.post_feedforward_layernorm.output",
                "affine_connection": True,
            }
        else:
            sae = JumpReLUSAE(JumpReLUSAEConfig(**sizes))
            config |= {"hf_hook_point_in": f"{layer}.output"}
        randomise(dict(sae.named_parameters()))
        state = {k.lower(): v.data for k, v in sae.named_parameters()}
        if affine:
            # SAELens keeps it the other way round.
            state["affine_skip_connection"] = state.pop("w_skip").T.contiguous()
        save_file(state, path / "params.safetensors")
        (path / "config.json").write_text(json.dumps(config))
        with torch.no_grad():
            if affine:
                y, acts = sae.forward_with_activations(x)
            else:
                acts, y = saelens_run(sae, x)
        expect(case, x, acts, y)


def wanted(case: str) -> bool:
    return len(sys.argv) < 2 or any(case.startswith(start) for start in sys.argv[1:])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for make in (openai, saelens, sparsify, dictionary_learning, gemma_scope):
        make()
