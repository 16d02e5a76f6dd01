"""Writes vectors/: a control vector as the `gguf` package writes it, with the keys of repeng.

    python tests/golden/make_vectors.py            # write it
    python tests/golden/make_vectors.py check FILE # read a vector that saescope wrote, print it
"""
import sys
from pathlib import Path

import gguf
import numpy as np

FOLDER = Path(__file__).parent / "vectors"


def directions() -> dict[int, np.ndarray]:
    """64 wide, as the residual stream of tests/data/stories260K; numbers that f32 holds exactly."""
    return {
        layer: ((np.arange(64) * (layer + 3)) % 17 - 8).astype(np.float32) / 4 for layer in (1, 2, 4)
    }


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(str(FOLDER / "control.gguf"), "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_uint32("controlvector.layer_count", 3)
    for layer, direction in directions().items():
        writer.add_tensor(f"direction.{layer}", direction)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check(path: str) -> None:
    reader = gguf.GGUFReader(path)
    for name in ("general.architecture", "controlvector.model_hint", "controlvector.layer_count"):
        print(name, reader.fields[name].contents())
    for tensor in reader.tensors:
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32, tensor.tensor_type
        assert len(tensor.shape) == 1, tensor.shape
        print(tensor.name, tensor.shape, float(np.linalg.norm(tensor.data)))


if __name__ == "__main__":
    write() if len(sys.argv) == 1 else check(sys.argv[2])
