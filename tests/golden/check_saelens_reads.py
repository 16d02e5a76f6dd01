"""Opens with SAELens what saescope writes, and compares its encode and decode with the golden files.

    cargo test -p saescope --test suite sae::saved     # writes every case to target/tmp/saes
    python tests/golden/check_saelens_reads.py
"""

import json
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from sae_lens.saes.sae import SAE

ROOT = Path(__file__).parents[2]
WRITTEN, GOLDEN = ROOT / "target/tmp/saes", ROOT / "tests/golden/saes"


def run(sae, x):
    if "transcoder" in sae.cfg.architecture():
        y, acts = sae.forward_with_activations(x)
        return acts, y
    if sae.cfg.reshape_activations == "hook_z":
        acts = sae.encode(x.view(len(x), 4, -1))
        return acts, sae.decode(acts).reshape(x.shape)
    acts = sae.encode(x)
    return acts, sae.decode(acts)


def relative(found, expected) -> float:
    scale = expected.abs().amax(-1).clamp(min=1e-30)
    return ((found - expected).abs().amax(-1) / scale).max().item()


@torch.no_grad()
def main() -> None:
    warnings.simplefilter("ignore")
    worst, read, refused = 0.0, [], []
    for folder in sorted(p for p in GOLDEN.iterdir() if p.is_dir()):
        case = folder.name
        config = json.loads((WRITTEN / case / "cfg.json").read_text())
        if config["architecture"].startswith("topk_"):
            # SAELens has no transcoder with TopK.
            try:
                SAE.load_from_disk(WRITTEN / case)
            except (KeyError, ValueError):
                refused.append(case)
                continue
            raise AssertionError(f"{case}: SAELens knows {config['architecture']} by now")
        sae = SAE.load_from_disk(WRITTEN / case)
        expected = load_file(folder / "expected.safetensors")
        x = expected["x"]
        loaded = config["metadata"].get("model_from_pretrained_kwargs") or {}
        mean = x.mean(-1, keepdim=True) if loaded.get("center_writing_weights") else 0.0
        acts, y = run(sae, x - mean)
        off = max(relative(acts, expected["acts"]), relative(y + mean, expected["y"]))
        assert off < 1e-5 and ((acts > 0) == (expected["acts"] > 0)).all(), f"{case}: {off}"
        worst = max(worst, off)
        read.append(case)
    print(f"{len(read)} read, at most {worst:.1e} off; refused: {', '.join(refused)}")


if __name__ == "__main__":
    main()
