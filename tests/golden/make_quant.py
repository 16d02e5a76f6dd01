"""Writes tests/golden/quant/: random blocks of every quantised type and what `gguf` makes of them.

`blocks.gguf` holds one tensor per type, and metadata of every type that GGUF has; `expected.safetensors`
holds the same tensors as f32. Scales are finite, the other bits anything. Same versions: same bytes.

    python tests/golden/make_quant.py
"""

from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type, GGUFValueType, GGUFWriter, dequantize
from safetensors.numpy import save_file

OUT = Path(__file__).parent / "quant"

# Byte offsets of the f16 scales and minimums in a block.
SCALES = {
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q8_0: [0],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
}
PLAIN = [Type.F32, Type.F16, Type.BF16]


def blocks(kind: Type, random: np.random.Generator) -> np.ndarray:
    """Two rows of random blocks, as bytes: [2, bytes per row]."""
    length, size = GGML_QUANT_SIZES[kind]
    per_row = 1 if length == 256 else 2
    raw = random.integers(0, 256, (2, per_row, size), dtype=np.uint8)
    for at in SCALES[kind]:
        # Small numbers of either sign, subnormal ones too: exponents 0 to 15 of 31.
        scale = random.integers(0, 1 << 14, (2, per_row), dtype=np.uint16)
        scale |= random.integers(0, 2, (2, per_row), dtype=np.uint16) << 15
        raw[:, :, at : at + 2] = scale.view(np.uint8).reshape(2, per_row, 2)
    return raw.reshape(2, per_row * size)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    random = np.random.default_rng(20240601)
    writer = GGUFWriter(OUT / "blocks.gguf", "test")
    expected = {}
    for kind in PLAIN:
        x = random.standard_normal((2, 3, 8)).astype(np.float32)
        if kind == Type.F16:
            raw = x.astype(np.float16)
        elif kind == Type.BF16:
            raw = (x.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        else:
            raw = x
        expected[kind.name] = np.ascontiguousarray(dequantize(raw.view(np.uint8), kind)).reshape(2, 3, 8)
        writer.add_tensor(kind.name, raw, raw_dtype=kind)
    for kind in SCALES:
        raw = blocks(kind, random)
        expected[kind.name] = dequantize(raw, kind)
        writer.add_tensor(kind.name, raw, raw_dtype=kind)

    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -100)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -30000)
    writer.add_uint32("test.u32", 4_000_000_000)
    writer.add_int32("test.i32", -2_000_000_000)
    writer.add_uint64("test.u64", 1 << 60)
    writer.add_key_value("test.i64", -(1 << 60), GGUFValueType.INT64)
    writer.add_float32("test.f32", 0.1)
    writer.add_float64("test.f64", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_string("test.str", "안녕")
    writer.add_array("test.strs", ["a", "", "Ġb"])
    writer.add_array("test.f32s", [0.5, -1.0])
    writer.add_array("test.i32s", [1, -2, 3])
    writer.add_array("test.bools", [True, False])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, OUT / "expected.safetensors")


if __name__ == "__main__":
    main()
