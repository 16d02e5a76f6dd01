"""Writes small Parquet and Arrow files of every sort that is read, and what their rows hold.

    python make_corpora.py

Needs pyarrow.
"""

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

OUT = Path(__file__).resolve().parent / "corpora"

# Repeated texts go into a dictionary, long ones over a page's border, and some are missing or empty.
ROWS = [
    {
        "instruction": f"question {i}: {'왜 그래? ' * (i % 4)}",
        "text": None if i % 5 == 3 else ["", "좋은 영화", "fine", f"row {i} " + "la" * (i % 40)][i % 4],
        "label": i,
        "tags": ["a", "b"][: i % 3],
        "meta": None if i % 7 == 0 else {"note": None if i % 7 == 1 else f"n{i % 6}"},
    }
    for i in range(120)
]
SCHEMA = pa.schema(
    [
        pa.field("instruction", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("label", pa.int64()),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("meta", pa.struct([pa.field("note", pa.string())])),
    ]
)
TEXTS = ["instruction", "text", "meta.note"]
FILES = {
    "snappy": dict(compression="snappy"),
    "plain": dict(compression="none", use_dictionary=False, row_group_size=50, data_page_size=512),
    "gzip": dict(compression="gzip", use_dictionary=["text"], data_page_version="2.0", row_group_size=64),
    "zstd": dict(compression="zstd", data_page_version="2.0", data_page_size=256),
    "delta": dict(
        compression="zstd", use_dictionary=False, column_encoding={name: "DELTA_LENGTH_BYTE_ARRAY" for name in TEXTS}
    ),
    "lz4": dict(compression="lz4", data_page_version="2.0"),
    "brotli": dict(compression="brotli", data_page_size=512),
    "prefixes": dict(use_dictionary=False, column_encoding={name: "DELTA_BYTE_ARRAY" for name in TEXTS}),
}

# Chats and ids, as people publish them; the ids are padded to one length.
CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"question {i}"},
            {"role": "assistant", "content": None if i == 2 else f"answer {i}"},
        ],
        "conversations": [{"from": "human", "value": f"question {i}"}, {"from": "gpt", "value": f"answer {i}"}][: 1 + i % 2],
        "input_ids": [1, *range(3, 6 + i), 0, 0, 0][:9],
        "attention_mask": [1, *[1] * (3 + i), 0, 0, 0][:9],
        "made": datetime.datetime(2026, 1, 1 + i),
    }
    for i in range(5)
]
CHATS_SCHEMA = pa.schema(
    [
        pa.field("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        pa.field("conversations", pa.large_list(pa.struct([("from", pa.dictionary(pa.int32(), pa.string())), ("value", pa.large_string())]))),
        pa.field("input_ids", pa.list_(pa.int32())),
        pa.field("attention_mask", pa.list_(pa.int8())),
        pa.field("made", pa.timestamp("us")),
    ]
)


def write_arrow(table, name, stream=False, **options):
    options = ipc.IpcWriteOptions(**options)
    new = ipc.new_stream if stream else ipc.new_file
    with pa.OSFile(str(OUT / name), "wb") as file, new(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=50)


def main():
    OUT.mkdir(exist_ok=True)
    table = pa.Table.from_pylist(ROWS, schema=SCHEMA)
    for name, options in FILES.items():
        pq.write_table(table, OUT / f"{name}.parquet", write_statistics=False, store_schema=False, **options)
    # `datasets` writes streams under the name .arrow.
    write_arrow(table, "stream.arrow", stream=True)
    write_arrow(table, "lz4.arrow", compression="lz4")
    write_arrow(table, "zstd.arrow", compression="zstd")
    chats = pa.Table.from_pylist(CHATS, schema=CHATS_SCHEMA)
    pq.write_table(chats, OUT / "chats.parquet")
    write_arrow(chats, "chats.arrow", stream=True)
    lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in ROWS)
    (OUT / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
