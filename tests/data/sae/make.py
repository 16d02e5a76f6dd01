"""Trains the autoencoder in this folder: TopK on what stories260K computes at resid_post.2.

    cargo build && python tests/data/sae/make.py target/debug/saescope

Needs torch, safetensors and numpy. Takes a minute; the same versions give the same file.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
MODEL, SITE = "tests/data/stories260K", "resid_post.2"
D_IN, D_SAE, K, STEPS, BATCH = 64, 512, 8, 6000, 1024


def activations(saescope: str) -> torch.Tensor:
    """The residual stream of every paragraph, less its first position: [tokens, D_IN]."""
    paragraphs = (ROOT / "tests/data/text/stories-en.txt").read_text().split("\n")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/a.safetensors"
        for text in (text.strip() for text in paragraphs if text.strip()):
            args = ["capture", MODEL, "-p", text, "--site", SITE, "-o", file]
            subprocess.run([saescope, *args], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
            rows.append(load_file(file)[SITE][1:].clone())
    return torch.cat(rows)


def encode(x, w_enc, b_enc, b_dec):
    values, features = (torch.relu((x - b_dec) @ w_enc + b_enc)).topk(K)
    return torch.zeros(len(x), D_SAE).scatter(1, features, values)


def train(x: torch.Tensor):
    """Mean squared error by Adam, decoder rows kept at norm 1, features that slept drawn anew."""
    torch.manual_seed(0)
    w_dec = torch.nn.functional.normalize(torch.randn(D_SAE, D_IN), dim=1).requires_grad_()
    w_enc = w_dec.detach().T.clone().requires_grad_()
    b_enc = torch.zeros(D_SAE, requires_grad=True)
    b_dec = x.mean(0).clone().requires_grad_()
    adam = torch.optim.Adam([w_enc, w_dec, b_enc, b_dec], lr=2e-3)
    fired = torch.zeros(D_SAE)
    for step in range(STEPS):
        adam.param_groups[0]["lr"] = 2e-3 * min(1.0, 3 * (1 - step / STEPS))
        batch = x[torch.randint(len(x), (BATCH,))]
        features = encode(batch, w_enc, b_enc, b_dec)
        loss = (features @ w_dec + b_dec - batch).square().sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        fired += (features > 0).sum(0)
        with torch.no_grad():
            w_dec /= w_dec.norm(dim=1, keepdim=True)
            if step % 500 == 499 and step < STEPS * 2 // 3:
                errors = batch - features @ w_dec - b_dec
                worst = errors.norm(dim=1).argsort(descending=True)
                for feature, token in zip((fired == 0).nonzero()[:, 0].tolist(), worst.tolist()):
                    direction = errors[token] / errors[token].norm()
                    w_dec[feature], w_enc[:, feature], b_enc[feature] = direction, 0.5 * direction, 0.0
                fired.zero_()
    return [p.detach() for p in (w_enc, b_enc, w_dec, b_dec)]


def main() -> None:
    x = activations(sys.argv[1])
    w_enc, b_enc, w_dec, b_dec = train(x)
    features = encode(x, w_enc, b_enc, b_dec)
    error = (features @ w_dec + b_dec - x).square().sum()
    fvu = error / (x - x.mean(0)).square().sum()
    dead = int((features > 0).sum(0).eq(0).sum())
    print(f"{len(x)} tokens, FVU {fvu:.3f}, {dead} dead features")
    tensors = {"W_enc": w_enc, "b_enc": b_enc, "W_dec": w_dec, "b_dec": b_dec}
    save_file({n: t.contiguous() for n, t in tensors.items()}, HERE / "sae_weights.safetensors")
    config = {
        "architecture": "topk", "d_in": D_IN, "d_sae": D_SAE, "k": K,
        "rescale_acts_by_decoder_norm": False, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.0.0", "model_name": MODEL, "hook_name": "blocks.2.hook_resid_post",
            "prepend_bos": True, "context_size": 512,
        },
    }
    (HERE / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
