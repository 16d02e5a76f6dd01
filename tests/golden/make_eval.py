"""Writes tests/golden/eval/: small autoencoders and what an evaluation of them has to find.

The models run in `transformers`, one text at a time, with a forward hook on the module that writes the site; all
that follows is numpy in f64: encoding, decoding, every metric from its definition. Nothing of saescope is used.

    python tests/golden/make_eval.py                            # the tiny cases, seconds
    python tests/golden/make_eval.py real [FOLDER [TEXT]]       # SmolLM2, a minute: real/smollm2_eval.json too
    python tests/golden/make_eval.py saelens                    # SAELens' own evaluation of the case gpt2
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

HERE = Path(__file__).parent
OUT = HERE / "eval"
DENSE = 0.1

torch.set_num_threads(2)
logging.set_verbosity_error()
logging.disable_progress_bar()


class Autoencoder:
    """`gate((x - b) W_enc + b_enc) W_dec + b_dec` in f64, from the tensors as they are on the disk."""

    def __init__(self, tensors: dict, cfg: dict):
        wide = {name: tensor.double().numpy() for name, tensor in tensors.items()}
        self.w_enc, self.w_dec, self.b_enc, self.b_dec = (wide[n] for n in ("W_enc", "W_dec", "b_enc", "b_dec"))
        self.threshold, self.k, self.subtract = wide.get("threshold"), cfg.get("k"), cfg["apply_b_dec_to_input"]

    def encode(self, x):
        pre = (x - self.b_dec if self.subtract else x) @ self.w_enc + self.b_enc
        if self.threshold is not None:
            return np.where(pre > self.threshold, np.maximum(pre, 0), 0)
        acts = np.maximum(pre, 0)
        if self.k:
            least = np.sort(pre, axis=1)[:, -self.k]
            acts[pre < least[:, None]] = 0
        return acts

    def decode(self, acts):
        return acts @ self.w_dec + self.b_dec


def save(folder: Path, tensors: dict, cfg: dict) -> Autoencoder:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(cfg))
    return Autoencoder(load_file(folder / "sae_weights.safetensors"), cfg)


def config(architecture: str, model: str, hook: str, tensors: dict, **more) -> dict:
    d_in, d_sae = tensors["W_enc"].shape
    metadata = {"sae_lens_version": "6.54.12", "model_name": model, "hook_name": hook} | more.pop("metadata", {})
    return {
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": str(tensors["W_enc"].dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": architecture != "transcoder",
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
        **more,
        "architecture": architecture,
    }


# Running a model


def first_of(output):
    return output[0] if isinstance(output, tuple) else output


def captured(model, modules: dict, text) -> tuple[dict, np.ndarray]:
    """What the modules write for a text, and the logits, in f64."""
    taken, handles = {}, []
    for name, module in modules.items():
        keep = lambda _m, _i, output, name=name: taken.__setitem__(name, first_of(output)[0].double().numpy())
        handles.append(module.register_forward_hook(keep))
    logits = logits_of(model, text)
    for handle in handles:
        handle.remove()
    return taken, logits


def logits_of(model, text) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([text]), use_cache=False).logits[0].double().numpy()


def replaced(model, module, text, rows: np.ndarray, skip: int) -> np.ndarray:
    """The logits with `rows` written by the module, from position `skip` on."""

    def replace(_module, _inputs, output):
        new = first_of(output).clone()
        new[0, skip:] = torch.tensor(rows[skip:], dtype=new.dtype)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handle = module.register_forward_hook(replace)
    logits = logits_of(model, text)
    handle.remove()
    return logits


# Metrics, each from its definition


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def losses(logits, text, skip: int) -> np.ndarray:
    log_p = log_softmax(logits)[:-1]
    return -log_p[np.arange(len(text) - 1), text[1:]][skip:]


def kl(before, after, skip: int) -> np.ndarray:
    p, q = log_softmax(before), log_softmax(after)
    return (np.exp(p) * (p - q)).sum(axis=1)[skip:]


def quality(model, module, sae, texts, seen, skip: int) -> dict:
    """Every number, the first `skip` positions of each text neither counted nor replaced."""
    x = np.concatenate([read[skip:] for read, _, _ in seen])
    target = np.concatenate([write[skip:] for _, write, _ in seen])
    acts = sae.encode(x)
    y = sae.decode(acts)
    error = ((target - y) ** 2).sum()
    norms = np.linalg.norm(target, axis=1), np.linalg.norm(y, axis=1)
    density = (acts > 0).mean(axis=0)
    mean = target.mean(axis=0)
    found = {
        "tokens": len(x),
        "explained_variance": 1 - error / ((target - mean) ** 2).sum(),
        "mse": ((target - y) ** 2).mean(),
        "cosine": ((target * y).sum(axis=1) / (norms[0] * norms[1])).mean(),
        "norm_in": norms[0].mean(),
        "norm_out": norms[1].mean(),
        "norm_ratio": (norms[1] / norms[0]).mean(),
        "reconstruction_bias": (y * y).sum() / (target * y).sum(),
        "l0": (acts > 0).sum(axis=1).mean(),
        "l1": acts.sum(axis=1).mean(),
        "dead": int((density == 0).sum()),
        "dense": int((density > DENSE).sum()),
    }
    ce = {name: [] for name in ("without_sae", "with_sae", "with_zero_ablation", "with_mean_ablation")}
    diverged = {name: [] for name in list(ce)[1:]}
    for text, (read, write, logits) in zip(texts, seen):
        ce["without_sae"].append(losses(logits, text, skip))
        rows = {
            "with_sae": sae.decode(sae.encode(read)),
            "with_zero_ablation": np.zeros_like(write),
            "with_mean_ablation": np.broadcast_to(mean, write.shape),
        }
        for name, rows in rows.items():
            changed = replaced(model, module, text, rows, skip)
            ce[name].append(losses(changed, text, skip))
            diverged[name].append(kl(logits, changed, skip))
    found["predictions"] = sum(map(len, ce["without_sae"]))
    found |= {f"ce_{name}": np.concatenate(values).mean() for name, values in ce.items()}
    found |= {f"kl_{name}": np.concatenate(values).mean() for name, values in diverged.items()}
    zero, mean = found["ce_with_zero_ablation"], found["ce_with_mean_ablation"]
    plain, spliced = found["ce_without_sae"], found["ce_with_sae"]
    found |= {
        "ce_increase": spliced - plain,
        "ce_increase_with_zero_ablation": zero - plain,
        "ce_increase_with_mean_ablation": mean - plain,
        "ce_recovered": (zero - spliced) / (zero - plain),
        "ce_recovered_from_mean": (mean - spliced) / (mean - plain),
        "kl_score": 1 - found["kl_with_sae"] / found["kl_with_zero_ablation"],
        "kl_score_from_mean": 1 - found["kl_with_sae"] / found["kl_with_mean_ablation"],
    }
    return {name: round(float(value), 9) if isinstance(value, float) else value for name, value in found.items()}


def nearest(rows: np.ndarray) -> dict:
    """Cosines of all pairs of rows."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T
    off = ~np.eye(len(rows), dtype=bool)
    return {
        "mean": np.abs(cosines[off]).mean(),
        "max": np.abs(cosines[off]).max(),
        "mean_nearest": np.where(off, cosines, -2).max(axis=1).mean(),
    }


def evaluation(model, modules: dict, sae: Autoencoder, texts) -> dict:
    seen = []
    for text in texts:
        taken, logits = captured(model, modules, text)
        seen.append((taken["read"], taken.get("write", taken["read"]), logits))
    module = modules.get("write", modules["read"])
    return {
        "texts": texts,
        "all": quality(model, module, sae, texts, seen, 0),
        "without_first": quality(model, module, sae, texts, seen, 1),
        "decoder": nearest(sae.w_dec),
        "encoder": nearest(sae.w_enc.T),
    }


# Tiny cases


def dictionary(x: torch.Tensor, target: torch.Tensor, d_sae: int, seed: int) -> dict:
    """Directions of some of the activations: sensible, never perfect, a few of them never active."""
    generator = torch.Generator().manual_seed(seed)
    pick = torch.randint(len(x), (d_sae,), generator=generator)
    unit = lambda rows: rows / rows.norm(dim=1, keepdim=True)
    reads = unit(x[pick] - x.mean(0) + 0.2 * torch.randn(d_sae, x.shape[1], generator=generator))
    writes = unit(target[pick] - target.mean(0) + 0.2 * torch.randn(d_sae, target.shape[1], generator=generator))
    b_enc = 0.1 * torch.randn(d_sae, generator=generator)
    b_enc[-3:] = -1e4
    return {"W_enc": reads.T.contiguous(), "W_dec": writes, "b_enc": b_enc, "b_dec": target.mean(0)}


def tiny(case: str, family: str, architecture: str, hooks: tuple, find, seed: int):
    model = AutoModelForCausalLM.from_pretrained(HERE / "models" / family, dtype=torch.float32).eval()
    modules = find(model)
    generator = torch.Generator().manual_seed(seed)
    draw = lambda length: torch.randint(3, 60, (length,), generator=generator).tolist()
    texts = [draw(length) for length in (20, 9, 1, 24, 2, 16)]
    taken = [captured(model, modules, text)[0] for text in texts]
    stack = lambda name: torch.tensor(np.concatenate([t[name] for t in taken])).float()
    x, target = stack("read"), stack("write" if "write" in modules else "read")
    tensors = dictionary(x, target, 48, seed)
    more = {"k": 4} if architecture == "topk" else {}
    if architecture == "jumprelu":
        tensors["threshold"] = 0.2 + torch.rand(48, generator=generator)
    if architecture == "transcoder":
        tensors["b_dec"] = 0.5 * tensors["b_dec"]
        more = {"d_out": tensors["W_dec"].shape[1], "metadata": {"hook_name_out": hooks[1]}}
    cfg = config(architecture, f"tiny-{family}", hooks[0], tensors, **more)
    # The multiple of the directions that fits best.
    wrote = Autoencoder(tensors, cfg).encode(x.double().numpy()) @ tensors["W_dec"].double().numpy()
    wanted = (target - tensors["b_dec"]).double().numpy()
    tensors["W_dec"] *= float((wrote * wanted).sum() / (wrote * wrote).sum())
    sae = save(OUT / case, tensors, cfg)
    write(OUT / case / "expected.json", evaluation(model, modules, sae, texts))
    print(case, json.loads((OUT / case / "expected.json").read_text())["all"])


def write(path: Path, record: dict) -> None:
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in record.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def tiny_cases() -> None:
    post = "blocks.{}.hook_resid_post".format
    tiny("gpt2", "gpt2", "topk", (post(0),), lambda m: {"read": m.transformer.h[0]}, 1)
    # What Gemma adds to the residual stream has passed a norm of its own.
    gemma = lambda m: {"read": m.model.layers[1].post_feedforward_layernorm}
    tiny("gemma2", "gemma2", "jumprelu", ("blocks.1.hook_mlp_out",), gemma, 2)
    llama = lambda m: {"read": m.model.layers[0].post_attention_layernorm, "write": m.model.layers[0].mlp}
    hooks = ("blocks.0.ln2.hook_normalized", "blocks.0.hook_mlp_out")
    tiny("llama_transcoder", "llama", "transcoder", hooks, llama, 3)


# SmolLM2


def train(x: torch.Tensor, d_sae: int, k: int, steps: int) -> dict:
    """A small TopK autoencoder of `x`, trained for a few seconds."""
    generator = torch.Generator().manual_seed(0)
    w_dec = torch.randn(d_sae, x.shape[1], generator=generator)
    w_dec /= w_dec.norm(dim=1, keepdim=True)
    parts = {"W_enc": w_dec.T.contiguous(), "W_dec": w_dec, "b_enc": torch.zeros(d_sae), "b_dec": x.mean(0)}
    for part in parts.values():
        part.requires_grad_(True)
    optimiser = torch.optim.Adam(parts.values(), lr=2e-3)
    for _ in range(steps):
        batch = x[torch.randint(len(x), (1024,), generator=generator)]
        pre = (batch - parts["b_dec"]) @ parts["W_enc"] + parts["b_enc"]
        top = pre.relu().topk(k, dim=1)
        acts = torch.zeros_like(pre).scatter(1, top.indices, top.values)
        loss = ((acts @ parts["W_dec"] + parts["b_dec"] - batch) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            parts["W_dec"] /= parts["W_dec"].norm(dim=1, keepdim=True)
    return {name: part.detach().bfloat16().contiguous() for name, part in parts.items()}


def real(folder: Path, text: Path) -> None:
    file, layer, length = "SmolLM2-135M-Instruct.Q4_1.gguf", 15, 128
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    words = text.read_text(encoding="utf-8")[:80_000]
    ids = tokenizer(words)["input_ids"]
    chunks = [ids[start : start + length] for start in range(0, 40 * length, length)]
    modules = {"read": model.model.layers[layer]}
    taken = [captured(model, modules, chunk)[0]["read"][1:] for chunk in chunks[8:]]
    x = torch.tensor(np.concatenate(taken)).float()
    tensors = train(x, 160, 16, 1500)
    hook = f"blocks.{layer}.hook_resid_post"
    cfg = config("topk", "HuggingFaceTB/SmolLM2-135M-Instruct", hook, tensors, k=16)
    sae = save(OUT / "smollm2", tensors, cfg)
    record = evaluation(model, modules, sae, chunks[:4])
    write(HERE / "real" / "smollm2_eval.json", {"file": file} | record)
    for part in ("all", "without_first", "decoder"):
        print(part, record[part])


# SAELens


class Texts:
    """What SAELens' evaluation asks of an `ActivationsStore`: one batch of tokens."""

    def __init__(self, tokens: torch.Tensor):
        self.tokens = tokens
        self.store_batch_size_prompts, self.context_size = tokens.shape

    def get_batch_tokens(self, _batch_size: int) -> torch.Tensor:
        return self.tokens

    def reset_input_dataset(self) -> None:
        pass


def hooked(folder: Path):
    """The checkpoint in TransformerLens, no weight processed."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    own = model.config
    shape = HookedTransformerConfig(
        n_layers=own.n_layer,
        d_model=own.n_embd,
        n_heads=own.n_head,
        d_head=own.n_embd // own.n_head,
        d_mlp=4 * own.n_embd,
        n_ctx=own.n_positions,
        d_vocab=own.vocab_size,
        act_fn="gelu_new",
        normalization_type="LN",
        eps=own.layer_norm_epsilon,
        device="cpu",
    )
    lens = HookedTransformer(shape)
    raw = dict(fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False)
    lens.load_and_process_state_dict(convert_gpt2_weights(model, shape), **raw)
    return model, lens


def saelens() -> None:
    import sae_lens
    from sae_lens import SAE
    from sae_lens.evals import get_eval_everything_config, run_evals
    from sae_lens.training.activation_scaler import ActivationScaler

    bos = 63
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(3, 60, (6, 20), generator=generator)
    tokens[:, 0] = bos
    model, lens = hooked(HERE / "models/gpt2")
    with torch.no_grad():
        torch.testing.assert_close(lens(tokens), model(tokens).logits, atol=1e-4, rtol=1e-4)
    sae = SAE.load_from_disk(OUT / "gpt2", device="cpu")
    config = get_eval_everything_config(6, n_eval_reconstruction_batches=1, n_eval_sparsity_variance_batches=1)
    found = {}
    for name, special in (("all", False), ("without_first", [bos])):
        metrics, features = run_evals(sae, Texts(tokens), lens, ActivationScaler(), config, {}, special)
        found[name] = metrics | {"dead": sum(density == 0 for density in features["feature_density"])}
        print(name, json.dumps(found[name], indent=1))
    record = {"sae_lens": sae_lens.__version__, "texts": tokens.tolist()} | found
    write(OUT / "gpt2" / "saelens.json", record)


def main() -> None:
    given = sys.argv[1:]
    if given[:1] == ["saelens"]:
        return saelens()
    if given[:1] == ["real"]:
        folder = Path(given[1] if given[1:] else os.path.expanduser("~/.cache/saescope/test-models"))
        real(folder, Path(given[2] if given[2:] else HERE.parent / "data/text/books-en.txt"))
    else:
        tiny_cases()


if __name__ == "__main__":
    main()
