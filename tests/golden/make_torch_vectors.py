"""Writes vectors/torch/: directions as torch and numpy save them, without a site.

Row or layer L of six is [L, L + 1, L + 2, L + 3]; a single direction is that of layer 3. Same versions:
same bytes.

    python tests/golden/make_torch_vectors.py
"""
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "vectors" / "torch"
ROWS = np.arange(7)[:, None].astype(np.float32) + np.arange(4, dtype=np.float32)  # [7, 4]


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = torch.from_numpy(ROWS)
    saved = {
        "one": rows[3].clone(),
        "half_row": rows[3:4].to(torch.bfloat16),
        "parameter": torch.nn.Parameter(rows[3].clone()),
        "in_a_dict": {"steering_vector": rows[3].clone(), "layer": 3, "model": "org/name"},
        "by_number": {layer: rows[layer].clone() for layer in (1, 3)},
        "by_text": {f"layer_{layer}": rows[layer].clone() for layer in (1, 3)},
        "by_site": {f"resid_post.{layer}": rows[layer].clone() for layer in (1, 3)},
        "in_a_list": [rows[layer].clone() for layer in range(6)],
        "rows": rows[:6].clone(),
        "hidden_states": rows.clone(),
        "hidden_states_by_number": {layer: rows[layer].clone() for layer in range(7)},
        "several": {"mean": rows[1].clone(), "direction": rows[3].clone()},
        "positions": torch.zeros(6, 5, 4),
        "whole_numbers": torch.arange(4),
        "not_finite": torch.tensor([0.0, float("nan"), 1.0, 2.0]),
    }
    for name, value in saved.items():
        torch.save(value, FOLDER / f"{name}.pt")
    torch.save(rows[3].clone(), FOLDER / "old.bin", _use_new_zipfile_serialization=False)
    arrays = {
        "one": ROWS[3],
        "half": ROWS[3].astype(np.float16),
        "big": ROWS[3].astype(">f8"),
        "rows": ROWS[:6],
        "fortran": np.asfortranarray(ROWS[:6]),
        "objects": np.array([ROWS[3], None], dtype=object),
    }
    for name, array in arrays.items():
        np.save(FOLDER / f"{name}.npy", array)
    np.savez(FOLDER / "by_layer.npz", **{f"layer_{layer}": ROWS[layer] for layer in (1, 3)})
    np.savez(FOLDER / "only.npz", ROWS[3])
    np.savez_compressed(FOLDER / "compressed.npz", ROWS[3])
    for file in FOLDER.iterdir():
        file.chmod(0o644)


if __name__ == "__main__":
    main()
