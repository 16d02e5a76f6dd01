"""Writes the token ids that Hugging Face's libraries give, for the tests to compare with.

    python make_tokens.py data SHARED     tests/data, from the project's shared folder
    python make_tokens.py ids SHARED      tests/golden/tokens of the tokenizers in tests/data
    python make_tokens.py gguf MODELS     tests/golden/tokens of the real Gemma's GGUF
    python make_tokens.py chat            tests/golden/chat

Needs tokenizers and transformers; `gguf` also sentencepiece and gguf.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
OUT = HERE / "tokens"
TOKENIZERS = {"gpt2": "gpt2/tokenizer.json", "smollm2": "smollm2/tokenizer.json", "pythia": "pythia-neox/20B_tokenizer.json"}
N_LINES = 1000


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def texts():
    names = ["stories-en", "reviews-ko", "books-en", "wikitext2-en"]
    return {name: (DATA / "text" / f"{name}.txt").read_text(encoding="utf-8").split("\n")[:-1] for name in names}


def odd():
    return json.loads((DATA / "text" / "odd.json").read_text(encoding="utf-8"))


def fnv(ids):
    """FNV-1a over the ids as little-endian u32, 32 bits: enough to tell which line differs."""
    value = 0x811C9DC5
    for byte in b"".join(i.to_bytes(4, "little") for i in ids):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{value:08x}"


def hashes(encode, lines):
    return "".join(fnv(encode(line)) for line in lines)


def samples(encode, decode):
    rows = []
    for text in odd():
        row = {"text": text, "ids": encode(text)}
        if (decoded := decode(row["ids"])) != text:
            row["decoded"] = decoded
        rows.append(row)
    return rows


def data(shared):
    def jsonl(name):
        with open(shared / "data/text" / name, encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["text"]

    def save(name, lines):
        lines = [line for line in lines if line.strip()][:N_LINES]
        (DATA / "text" / f"{name}.txt").write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    save("stories-en", [line for story in jsonl("stories-en.jsonl") for line in story.split("\n")])
    save("reviews-ko", jsonl("reviews-ko.jsonl"))
    # Past the preamble of the first book.
    books = (shared / "data/text/books-en.txt").read_text(encoding="utf-8").split("\n")
    save("books-en", books[400:])
    save("wikitext2-en", (shared / "data/text/wikitext2-valid.txt").read_text(encoding="utf-8").split("\n"))

    for name, file in TOKENIZERS.items():
        source = json.loads((shared / "data/tokenizers" / file).read_text(encoding="utf-8"))
        folder = DATA / "tokenizers" / name
        if name == "gpt2":
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / "vocab.json", source["model"]["vocab"])
            merges = (shared / "data/tokenizers/gpt2/merges.txt").read_bytes()
            (folder / "merges.txt").write_bytes(merges)
            continue
        pairs = source["model"]["merges"]
        source["model"]["merges"] = [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]
        write(folder / "tokenizer.json", source)
    template = (shared / "data/tokenizers/smollm2/chat_template.jinja").read_bytes()
    (DATA / "tokenizers/smollm2/chat_template.jinja").write_bytes(template)


def ids(shared):
    import tokenizers

    for name, file in TOKENIZERS.items():
        # The original file, not the compact copy in tests/data.
        tokenizer = tokenizers.Tokenizer.from_file(str(shared / "data/tokenizers" / file))
        encode = lambda text: tokenizer.encode(text).ids
        decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=True)
        write(OUT / f"{name}.json", {
            "made_with": f"tokenizers {tokenizers.__version__}",
            "hashes": {key: hashes(encode, lines) for key, lines in texts().items()},
            "samples": samples(encode, decode),
        })

    encode, decode = llama2c(DATA / "stories260K/tok512.bin", 512)
    write(OUT / "llama2c.json", {
        "made_with": "llama2c() in make_tokens.py",
        "hashes": {key: hashes(encode, lines) for key, lines in texts().items()},
        "samples": samples(encode, decode),
    })


def llama2c(path, d_vocab):
    """llama2.c's own way, quadratic, over its tokenizer.bin: encode and decode."""
    import struct

    file, at, tokens = path.read_bytes(), 4, []
    for _ in range(d_vocab):
        score, length = struct.unpack_from("<fi", file, at)
        tokens.append((file[at + 8 : at + 8 + length], score))
        at += 8 + length
    index = {}
    for i, (token, _) in enumerate(tokens):
        index.setdefault(token, i)

    def encode(text):
        ids = [1]
        if text:
            ids.append(index[b" "])
        for char in text:
            char = char.encode()
            ids.extend([index[char]] if char in index else [byte + 3 for byte in char])
        while True:
            best = None
            for i in range(len(ids) - 1):
                joined = index.get(tokens[ids[i]][0] + tokens[ids[i + 1]][0])
                if joined is not None and (best is None or tokens[joined][1] > best[0]):
                    best = tokens[joined][1], joined, i
            if best is None:
                return ids
            ids[best[2] : best[2] + 2] = [best[1]]

    def decode(ids):
        pieces = [bytes([i - 3]) if 3 <= i < 259 else tokens[i][0] for i in ids[1:]]
        return b"".join(pieces).removeprefix(b" ").decode(errors="replace")

    return encode, decode


def sentencepiece_of(path):
    """SentencePiece itself over the vocabulary of a GGUF, as a second opinion."""
    import gguf
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb

    fields = gguf.GGUFReader(path).fields
    get = lambda key: fields[f"tokenizer.ggml.{key}"].contents()
    model = pb.ModelProto()
    for token, score, kind in zip(get("tokens"), get("scores"), get("token_type")):
        model.pieces.add(piece=token.replace(" ", "▁"), score=score, type=kind)
    model.trainer_spec.model_type = pb.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.unk_id, model.trainer_spec.bos_id = get("unknown_token_id"), get("bos_token_id")
    model.trainer_spec.eos_id, model.trainer_spec.pad_id = get("eos_token_id"), get("padding_token_id")
    model.trainer_spec.unk_piece, model.trainer_spec.bos_piece = "<unk>", "<bos>"
    model.trainer_spec.eos_piece, model.trainer_spec.pad_piece = "<eos>", "<pad>"
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = get("add_space_prefix")
    model.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def gguf(models):
    import transformers

    # SmolLM2's has to give the ids of its tokenizer.json; transformers, reading the GGUF, forgets
    # that digits are cut apart.
    file = "gemma-3-270m-q4_k_m.gguf"
    lines = {"stories-en": 100, "reviews-ko": 150, "books-en": 100}
    tokenizer = transformers.AutoTokenizer.from_pretrained(models, gguf_file=file)
    second = sentencepiece_of(models / file)

    def encode(text):
        # transformers rebuilds merges from the scores and joins long runs of spaces by halves;
        # SentencePiece, which Gemma was trained with, takes the longest token of spaces (31).
        if " " * 32 in text:
            return [second.bos_id(), *second.encode(text)]
        return tokenizer(text).input_ids

    decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=True)
    write(OUT / "gemma3_gguf.json", {
        "made_with": f"transformers {transformers.__version__}",
        "hashes": {key: hashes(encode, texts()[key][:n]) for key, n in lines.items()},
        "samples": samples(encode, decode),
    })
    # What is left to differ are special tokens written out, which SentencePiece takes as text.
    for text in [*odd(), *(line for key, n in lines.items() for line in texts()[key][:n])]:
        if encode(text)[1:] != second.encode(text):
            print("SentencePiece differs:", repr(text), encode(text), second.encode(text))


CHATS = {
    "one": [("user", "What is the capital of France?")],
    "system": [("system", " Be brief. "), ("user", "안녕하세요!")],
    "turns": [("user", "  one\n"), ("assistant", "<think>hm</think>\n\ntwo \n"), ("user", "three"), ("assistant", "four")],
    "wrong order": [("assistant", "I begin."), ("user", "ok")],
}


def chat():
    import transformers
    from tokenizers import Tokenizer, models

    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token="<bos>", eos_token="<eos>"
    )
    templates = {path.stem: path for path in (HERE / "chat").glob("*.jinja")}
    templates["smollm2"] = DATA / "tokenizers/smollm2/chat_template.jinja"
    rows = []
    for name, path in sorted(templates.items()):
        for chat, turns in CHATS.items():
            messages = [{"role": role, "content": content} for role, content in turns]
            for prompt in (False, True):
                render = lambda: tokenizer.apply_chat_template(
                    messages, chat_template=path.read_text(encoding="utf-8"), tokenize=False, add_generation_prompt=prompt
                )
                row = {"template": name, "chat": chat, "messages": messages, "prompt": prompt}
                try:
                    row["text"] = render()
                except Exception as error:
                    row["error"] = str(error)
                rows.append(row)
    write(HERE / "chat" / "expected.json", rows)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["data", shared]:
            data(Path(shared))
        case ["ids", shared]:
            ids(Path(shared))
        case ["gguf", models]:
            gguf(Path(models))
        case ["chat"]:
            chat()
        case _:
            sys.exit(__doc__)
