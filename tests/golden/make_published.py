"""Writes the cases of tests/golden/saes/ whose makers have no library on PyPI that reads them: Qwen Scope, Goodfire,
the attention autoencoders of GPT-2, circuit-tracer's transcoders, Llamascopium, and wrapped files.

    python tests/golden/make_published.py       # numpy and safetensors, a second

Files have the published layouts; `expected.safetensors` is computed in float64 by the formulas beside each case, which
are those of the makers' own loaders.
"""

import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

OUT = Path(__file__).parent / "saes"
D_IN, D_SAE, K = 16, 64, 5
rng = np.random.default_rng(13)


class Storage:
    """What `torch.save` keeps outside the pickle."""

    def __init__(self, values):
        self.values = np.ascontiguousarray(values, np.float32)


class Tensor:
    def __init__(self, values):
        self.storage, self.shape = Storage(values), np.shape(values)


class Constant:
    def __init__(self, name):
        self.name = name


class Pickler(pickle._Pickler):
    """Writes the pickle of `torch.save`: protocol 2, names as text."""

    def __init__(self, file, storages):
        super().__init__(file, 2)
        self.storages = storages

    def name(self, module, name):
        self.write(b"c" + f"{module}\n{name}\n".encode())

    def save(self, thing, save_persistent_id=True):
        if isinstance(thing, Constant):
            return self.name("torch", thing.name)
        if not isinstance(thing, Tensor):
            return super().save(thing, save_persistent_id)
        key = str(len(self.storages))
        self.storages.append(thing.storage)
        self.name("torch._utils", "_rebuild_tensor_v2")
        self.write(b"(")
        self.write(b"(")
        super().save("storage")
        self.name("torch", "FloatStorage")
        for item in (key, "cpu", thing.storage.values.size):
            super().save(item)
        self.write(b"tQ")
        super().save(0)
        super().save(tuple(int(n) for n in thing.shape))
        strides = np.cumprod((1, *thing.shape[:0:-1]))[::-1][: len(thing.shape)]
        super().save(tuple(int(n) for n in strides))
        super().save(False)
        self.name("collections", "OrderedDict")
        self.write(b")RtR")


def torch_save(value, path):
    storages, file = [], io.BytesIO()
    Pickler(file, storages).dump(value)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        write = lambda name, data: archive.writestr(zipfile.ZipInfo(f"sae/{name}"), data)
        write("data.pkl", file.getvalue())
        for key, storage in enumerate(storages):
            write(f"data/{key}", storage.values.tobytes())
        write("version", b"3\n")


def folder(case):
    path = OUT / case
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def tensors(**parts):
    return {name: Tensor(values) for name, values in parts.items()}


def f32(values):
    return np.asarray(values, np.float32)


# One set of weights, rows of unequal norm; six features are never active.
W = f32(rng.normal(size=(D_SAE, D_IN)) / 4)
DEC = f32(rng.normal(size=(D_SAE, D_IN)) * np.linspace(0.3, 3, D_SAE)[:, None] / 4)
B_ENC, B_DEC = f32(rng.normal(size=D_SAE) * 0.1), f32(rng.normal(size=D_IN) * 0.3)
B_ENC[-6:] = -1e6
X = f32(rng.normal(size=(7, D_IN)))
X[1] *= 3000 / np.linalg.norm(X[1])
X[2] *= 0.01
X[3] += 40


def relu(z):
    return np.maximum(z, 0)


def topk(z, k):
    out = np.zeros_like(z)
    for row, values in enumerate(z):
        kept = np.argsort(-values, kind="stable")[:k]
        out[row, kept] = relu(values[kept])
    return out


def expect(case, acts, y):
    save_file({"x": X, "acts": f32(acts), "y": f32(y)}, OUT / case / "expected.safetensors")
    print(f"{case:30} active per token {(acts > 0).sum(1).tolist()}")


def main():
    w, dec, b_enc, b_dec, x = (v.astype(np.float64) for v in (W, DEC, B_ENC, B_DEC, X))
    pre = x @ w.T + b_enc
    path = folder("qwen_scope")
    torch_save(tensors(W_enc=W, W_dec=DEC.T, b_enc=B_ENC, b_dec=B_DEC), path / "layer2.sae.pt")
    config = dict(model_type="topk_sae", base_model="Qwen/Qwen3-1.7B-Base", d_model=D_IN, d_sae=D_SAE, k=K)
    (path / "config.json").write_text(json.dumps({**config, "num_layers": 28, "hook_point": "resid_post", "loss": float("nan")}))
    acts = topk(pre, K)
    expect("qwen_scope", acts, acts @ dec + b_dec)

    path = folder("goodfire")
    names = ("encoder_linear.weight", "encoder_linear.bias", "decoder_linear.weight", "decoder_linear.bias")
    torch_save(tensors(**dict(zip(names, (W, B_ENC, DEC.T, B_DEC)))), path / "Llama-3.1-8B-Instruct-SAE-l19.pth")
    expect("goodfire", relu(pre), relu(pre) @ dec + b_dec)

    path = folder("attention_out")
    name = "gpt2-small_L2_Hcat_z_v9"
    torch_save(tensors(W_enc=W.T, b_enc=B_ENC, W_dec=DEC, b_dec=B_DEC), path / f"{name}.pt")
    config = dict(act_name="blocks.2.attn.hook_z", act_size=D_IN, dict_size=D_SAE, layer=2, seq_len=128)
    (path / f"{name}_cfg.json").write_text(json.dumps(config))
    acts = relu((x - b_dec) @ w.T + b_enc)
    expect("attention_out", acts, acts @ dec + b_dec)

    skip = f32(rng.normal(size=(D_IN, D_IN)))
    for case, more in (("circuit_tracer", {}), ("circuit_tracer_skip", {"W_skip": skip})):
        path = folder(case)
        save_file({"W_enc": W, "b_enc": B_ENC, "W_dec": DEC, "b_dec": B_DEC, **more}, path / "layer_2.safetensors")
        (path / "config.yaml").write_text(
            "model_name: Qwen/Qwen3-0.6B\nmodel_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\n"
            "feature_output_hook: hook_mlp_out\nscan: [a/b]\n"
        )
        out = relu(pre) @ dec + b_dec
        expect(case, relu(pre), out + x @ skip.T.astype(np.float64) if more else out)

    # The first layout: norms folded into bias and decoder, then decoder rows brought to norm 1.
    for case, hooks, norms in (
        ("llama_scope", ["blocks.8.hook_resid_post"] * 2, [9.25, 9.25]),
        ("llama_scope_transcoder", ["blocks.8.ln2.hook_normalized", "blocks.8.hook_mlp_out"], [4.0, 1.5]),
    ):
        path = folder(case) / "Llama3_1-8B-Base-L8R-8x"
        (path / "checkpoints").mkdir(parents=True)
        names = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
        save_file(dict(zip(names, (W, B_ENC, np.ascontiguousarray(DEC.T), B_DEC))), path / "checkpoints/final.safetensors")
        config = dict(
            hook_point_in=hooks[0], hook_point_out=hooks[1], d_model=D_IN, d_sae=D_SAE, expansion_factor=4, act_fn="jumprelu",
            jump_relu_threshold=0.5, norm_activation="dataset-wise", top_k=50, sparsity_include_decoder_norm=True,
            dataset_average_activation_norm={"in": norms[0], "out": norms[1]}, use_decoder_bias=True,
            use_glu_encoder=False, apply_decoder_bias_to_pre_encoder=False,
        )
        (path / "hyperparams.json").write_text(json.dumps(config))
        s_in, s_out = (np.sqrt(D_IN) / norm for norm in norms)
        rows = dec * s_in / s_out
        length = np.linalg.norm(rows, axis=1)
        z = (x @ w.T + b_enc / s_in) * length
        acts = np.where(z > 0.5, z, 0)
        expect(case, acts, acts @ (rows / length[:, None]) + b_dec / s_out)

    # The second layout: activations of the training's scale, gates on those times the norms of decoder rows.
    logs = f32(rng.normal(size=D_SAE) * 0.5)
    hook = "blocks.3.hook_resid_post"
    path = folder("llamascopium")
    save_file(
        {"W_E": np.ascontiguousarray(W.T), "b_E": B_ENC, "W_D": DEC, "b_D": B_DEC,
         "activation_function.log_jumprelu_threshold": logs, f"dataset_average_activation_norm.{hook}": f32(9.25)},
        path / "sae_weights.safetensors",
    )
    config = dict(sae_type="sae", d_model=D_IN, expansion_factor=4.0, act_fn="jumprelu", norm_activation="dataset-wise",
                  sparsity_include_decoder_norm=True, hook_point_in=hook, hook_point_out=hook, use_glu_encoder=False)
    (path / "config.json").write_text(json.dumps(config))
    scale = np.sqrt(D_IN) / np.float64(np.float32(9.25))
    z = scale * x @ w.T + b_enc
    acts = np.where(z * np.linalg.norm(dec, axis=1) > np.exp(logs.astype(np.float64)), z, 0)
    expect("llamascopium", acts, (acts @ dec + b_dec) / scale)

    # AutoEncoder.from_pretrained brings decoder rows to norm 1.
    state = {"encoder.weight": W, "encoder.bias": B_ENC, "decoder.weight": DEC.T, "bias": B_DEC}
    trainer = dict(dict_class="AutoEncoder", activation_dim=D_IN, dict_size=D_SAE, layer=3,
                   lm_name="EleutherAI/pythia-70m-deduped", submodule_name="resid_post_layer_3")
    length = np.linalg.norm(dec, axis=1)
    acts = relu((x - b_dec) @ w.T + b_enc) * length
    y = acts @ (dec / length[:, None]) + b_dec
    for case, wrapped in (
        ("dl_april", tensors(**state)),
        ("dl_compiled", tensors(**{f"_orig_mod.{k}": v for k, v in state.items()})),
        ("dl_parallel", {"model_state_dict": tensors(**{f"module.{k}": v for k, v in state.items()}), "step": 5}),
        ("dl_dtype", {"state_dict": tensors(**state), "cfg": {"dtype": Constant("float32")}}),
    ):
        path = folder(case)
        torch_save(wrapped, path / "ae.pt")
        (path / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
        expect(case, acts, y)


main()
