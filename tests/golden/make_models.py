"""Writes tests/golden/models/: tiny random checkpoints and what `transformers` computes from them.

Each folder holds `config.json`, checkpoint files, and `expected.safetensors` with every site of every
layer (README.md has the names). The numbers come from the folder as it lies on disk, loaded again the
way a user would. Cases about maths list config edits that must change the logits, so that a reader who
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

from model_cases import CASES

ROOT = Path(__file__).parent / "models"
N_A, N_B, N_NEW = 24, 9, 12

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
logging.set_verbosity_error()
logging.disable_progress_bar()


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
        state = model.state_dict()
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
    seen = sites(loaded, a)
    if case.get("slim"):
        kept = ("embed", "resid_post", "final_norm", "logits")
        seen = {site: value for site, value in seen.items() if site.startswith(kept)}
    expected = {f"a.{site}": value for site, value in seen.items()}
    expected |= {"a.tokens": a, "b.tokens": b}
    expected |= {"b.logits": logits_of(loaded, b), "b.greedy": continued}
    for key, value in expected.items():
        assert value.dtype in (torch.float32, torch.int64) and torch.isfinite(value).all(), key
    expected = {k: v.contiguous().clone() for k, v in expected.items()}
    save_file(expected, folder / "expected.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)
    check_edits(name, config, loaded, a, case.get("edits", {}))


def main():
    wanted = sys.argv[1:] or list(CASES)
    for name in wanted:
        make(name, CASES[name])
    total = sum(f.stat().st_size for f in ROOT.rglob("*") if f.is_file())
    print(f"{len(wanted)} cases, {total / 1e6:.2f} MB in {ROOT}")
    assert total < 2_100_000


if __name__ == "__main__":
    main()
