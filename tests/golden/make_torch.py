"""Writes tests/golden/torch/: what `torch.save` makes of tensors of every kind, and pickles that attack.

`state.pt` (zip) and `state_old.pt` (the format before PyTorch 1.6) hold the same object, with tensors that
are views, transposed, expanded, empty and of every type; `expected.safetensors` holds them as f32 under
their dotted names. `sae.pt` has the layout of OpenAI's autoencoders. Same versions: same bytes, but for the old format, which names storages by address.

    python tests/golden/make_torch.py
"""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

OUT = Path(__file__).parent / "torch"


def state() -> dict:
    torch.manual_seed(0)
    base = torch.randn(6, 4)
    cube = torch.randn(2, 3, 5)
    inner = OrderedDict(
        transposed=base.T,
        every_second=base[1::2, ::3],
        row=base[2],
        permuted=cube.permute(2, 0, 1),
        one_of_a_size=torch.randn(4, 1, 3)[:, :, 1:2],
        expanded=torch.randn(3, 1).expand(3, 7),
    )
    inner._metadata = OrderedDict({"": {"version": 1}})
    kinds = {
        str(kind).removeprefix("torch."): torch.tensor([[0, 1, 2], [5, 7, 100]]).to(kind)
        for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        + (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
    }
    return {
        "base": base,
        "inner": inner,
        "kinds": kinds,
        "parameter": torch.nn.Parameter(base[:2] * 2),
        "transposed_half": base.half().T,
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "list": [torch.arange(3.0), (torch.arange(2.0), None)],
        7: torch.arange(4.0),
        "size": cube.shape,
        "activation": "TopK",
        "big": 1 << 40,
        "negative": -5,
        "ratio": 0.25,
        "yes": True,
        "text": "한국어",
    }


def tensors(value, name: str, out: dict) -> dict:
    if isinstance(value, torch.Tensor):
        out[name] = value.detach().to(torch.float32).contiguous().clone()
    elif isinstance(value, dict):
        for key, inner in value.items():
            tensors(inner, f"{name}.{key}".lstrip("."), out)
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            tensors(inner, f"{name}.{i}".lstrip("."), out)
    return out


def sae() -> dict:
    torch.manual_seed(1)
    return OrderedDict(
        pre_bias=torch.randn(4),
        latent_bias=torch.randn(8),
        stats_last_nonzero=torch.arange(8) << 33,
        **{"encoder.weight": torch.randn(8, 4), "decoder.weight": torch.randn(8, 4).T},
        activation="TopK",
        activation_state_dict={"k": 2, "postact_fn": "ReLU"},
    )


class Hostile:
    """Runs a command when an ordinary reader opens it."""

    def __reduce__(self):
        return os.system, ("echo this must never be run",)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    save = lambda value, name, **how: torch.save(value, OUT / name, **how)
    save(state(), "state.pt")
    save(state(), "state_old.pt", _use_new_zipfile_serialization=False)
    save_file(tensors(state(), "", {}), OUT / "expected.safetensors")
    save(sae(), "sae.pt")
    save(torch.arange(6.0).reshape(2, 3), "only.pt")
    hostile = {"weight": torch.zeros(2), "extra": Hostile()}
    save(hostile, "hostile.pt")
    save(hostile, "hostile_old.pt", _use_new_zipfile_serialization=False)
    (OUT / "hostile_bare.pkl").write_bytes(pickle.dumps(Hostile(), protocol=4))
    # A whole module instead of its state: what people save by mistake.
    save(torch.nn.Linear(2, 1), "module.pt")


if __name__ == "__main__":
    main()
