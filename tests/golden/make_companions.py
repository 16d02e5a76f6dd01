"""Writes what transformers makes of the files beside a tokenizer, for the tests to compare with.

    python make_companions.py            tests/golden/tokens/companions.json

Needs sentencepiece, tokenizers and transformers 5.24. A case is a kind of tokenizer, the files beside it, and the ids of
some texts, BOS first, with the special tokens. The tokenizers are made here, and in the tests from the
same file.
"""

import base64
import json
import os
import tempfile
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

OUT = Path(__file__).resolve().parent / "tokens/companions.json"
TEXTS = ["Hi", "Hi<x>Hi", "Hi <x> Hi", "<s>Hi", "Hi<s> Hi<y>", "<z>H", "  the  old\nﬁne ▁½ 한 "]


def alphabet():
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in keep]
    return {b: chr(b) for b in keep} | {b: chr(256 + i) for i, b in enumerate(rest)}


QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(prefix=False, post=None, qwen2=False, flagged=None):
    names = alphabet()
    vocab = {names[b]: b for b in range(256)} | {"Hi": 256, names[32] + "Hi": 257}
    t = Tokenizer(models.BPE(vocab=vocab, merges=[("H", "i"), (names[32], "Hi")]))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    if qwen2:
        words = pre_tokenizers.Split(Regex(QWEN2), "isolated")
        t.normalizer, t.pre_tokenizer = normalizers.NFC(), pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(prefix, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<|endoftext|>", "<s>")])
    if flagged is not None:
        t.add_tokens([AddedToken("<x>", special=flagged, normalized=False, lstrip=True, rstrip=True)])
    if post == "template":
        t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 259)])
    if post == "roberta":
        t.post_processor = processors.RobertaProcessing(("<|endoftext|>", 258), ("<s>", 259))
    return t


def metaspace(kind):
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{b:02X}>": b + 3 for b in range(256)}
    for piece in ["H", "i", "▁", "x", "<", ">", "s", "Hi", "▁Hi"]:
        vocab[piece] = len(vocab)
    t = Tokenizer(models.BPE(vocab=vocab, merges=[("H", "i"), ("▁", "Hi")], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if kind == "normalizer":
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=kind, split=False)
    t.decoder = decoders.Sequence(steps + ([] if kind == "never" else [decoders.Strip(" ", 1, 0)]))
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<unk>", "<s>", "</s>")])
    return t


def unigram():
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -3.0), ("▁Hi", -2.0), ("H", -4.0), ("i", -4.5), ("Hi", -5.0), ("x", -6.0), ("<", -6.0), (">", -6.0), ("s", -6.0), ("▁<", -7.0), ("▁the", -5.0), ("old", -5.0)]
    t = Tokenizer(models.Unigram(pieces, 0, False))
    t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    t.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<unk>", "<s>", "</s>")])
    return t


def word_piece():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hi", "##hi", "h", "##s", "<", ">", "s", "x", "y", "z"]
    t = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    t.add_special_tokens(words[:4])
    return t


KINDS = {
    "bytes": byte_level(),
    "bytes_prefix": byte_level(True),
    "bytes_flagged": byte_level(flagged=True),
    "bytes_flagged_text": byte_level(flagged=False),
    "bytes_template": byte_level(post="template"),
    "bytes_roberta": byte_level(post="roberta"),
    "qwen2": byte_level(qwen2=True),
    "qwen2_prefix": byte_level(True, qwen2=True),
    "normalizer": metaspace("normalizer"),
    "first": metaspace("first"),
    "always": metaspace("always"),
    "never": metaspace("never"),
    "unigram": unigram(),
    "word_piece": word_piece(),
}


def token(content, special=True, **more):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": special, **more}


BYTES = {"bos_token": "<s>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
PIECES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
GENERAL = {**BYTES, "tokenizer_class": "PreTrainedTokenizerFast"}


def cases():
    for model in ["gpt2", "llama", "qwen2", "qwen3", "mistral", "gpt_neox", None]:
        for name in ["GPT2Tokenizer", "GPTNeoXTokenizerFast", "PreTrainedTokenizerFast", "LlamaTokenizer", "Qwen2Tokenizer", "CodeGenTokenizer", None]:
            # Qwen2's class cuts texts by its own expression, whatever the file says.
            qwen2 = model == "qwen2" or (model, name) == ("qwen3", None) or (model != "mistral" and name == "Qwen2Tokenizer")
            for kind in ["qwen2", "qwen2_prefix"] if qwen2 else ["bytes", "bytes_prefix"]:
                for prefix in [None, False, True]:
                    yield kind, model, BYTES | ({"tokenizer_class": name} if name else {}) | ({} if prefix is None else {"add_prefix_space": prefix}), {}
    for model in ["llama", "mistral", "gemma3_text", None]:
        for name in ["LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast"]:
            for kind in ["normalizer", "first", "always", "never"]:
                for more in [{}, {"legacy": True}, {"legacy": False}, {"add_prefix_space": False}, {"add_prefix_space": True, "legacy": True}, {"add_prefix_space": None, "legacy": None}]:
                    yield kind, model, PIECES | {"tokenizer_class": name} | more, {}
    for name in ["GPT2Tokenizer", "PreTrainedTokenizerFast", "LlamaTokenizerFast", "Qwen2Tokenizer"]:
        for kind in ["bytes", "bytes_template"]:
            for flag in [False, True]:
                yield kind, "llama", BYTES | {"tokenizer_class": name, "add_bos_token": flag, "add_eos_token": flag}, {}
    yield "bytes_roberta", "llama", GENERAL, {}
    yield "unigram", None, PIECES | {"tokenizer_class": "PreTrainedTokenizerFast"}, {}
    yield "word_piece", None, {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "[CLS]", "eos_token": "[SEP]"}, {}
    for more in [
        {"added_tokens_decoder": {"260": token("<x>")}},
        {"added_tokens_decoder": {"260": token("<x>", False)}},
        {"added_tokens_decoder": {"261": token("<y>"), "260": token("<x>")}},
        {"added_tokens_decoder": {"260": token("<x>", lstrip=True, rstrip=True)}},
        {"added_tokens_decoder": {"260": token("<x>", single_word=True)}},
        {"added_tokens_decoder": {"259": token("<s>", rstrip=True)}},
        {"added_tokens_decoder": {"256": token("Hi")}},
        {"additional_special_tokens": ["<x>", "<y>"]},
        {"extra_special_tokens": ["<x>"]},
        {"extra_special_tokens": {"image_token": "<x>", "audio_token": "<y>"}},
        {"extra_special_tokens": [], "additional_special_tokens": ["<x>"]},
        {"extra_special_tokens": ["<y>"], "additional_special_tokens": ["<x>"]},
        {"image_token": "<x>"},
        {"pad_token": "<x>"},
        {"pad_token": None, "additional_special_tokens": None},
        {"mask_token": {"__type": "AddedToken", **token("<y>")}, "sep_token": "<x>"},
        {"bos_token": "<x>"},
        {"bos_token": None},
        {"eos_token": {"__type": "AddedToken", **token("<x>", False)}},
        {"split_special_tokens": True, "additional_special_tokens": ["<x>"]},
        {"pad_token": "a", "additional_special_tokens": ["H"]},
        {"pad_token": "<y>", "added_tokens_decoder": {"260": token("<x>")}},
    ]:
        yield "bytes", "llama", GENERAL | more, {}
    flagged = {"260": token("<x>", lstrip=True, rstrip=True)}
    for kind in ["bytes_flagged", "bytes_flagged_text"]:
        for more in [{}, {"mask_token": "<x>"}, {"additional_special_tokens": ["<x>"]}, {"image_token": "<x>"}, {"added_tokens_decoder": flagged}, {"mask_token": "<x>", "added_tokens_decoder": flagged}, {"additional_special_tokens": ["<x>", "<y>"], "added_tokens_decoder": flagged}, {"mask_token": "<x>", "added_tokens_decoder": {"258": token("<|endoftext|>")}}]:
            yield kind, "llama", GENERAL | more, {}
        yield kind, "llama", GENERAL, {"added_tokens.json": {"<x>": 260}}
        yield kind, "llama", GENERAL, {"added_tokens.json": {"<x>": 260, "<y>": 261}, "special_tokens_map.json": {"mask_token": "<x>"}}
        yield kind, "llama", GENERAL, {"special_tokens_map.json": {"additional_special_tokens": ["<x>"]}}
    yield "bytes", "llama", GENERAL | {"additional_special_tokens": ["<x>"]}, {"special_tokens_map.json": {"additional_special_tokens": ["<y>"]}}
    yield "bytes", "llama", GENERAL, {"special_tokens_map.json": {"pad_token": "<x>", "additional_special_tokens": ["<y>"]}}
    yield "bytes", "llama", GENERAL, {"special_tokens_map.json": {"bos_token": "<|endoftext|>"}}
    yield "bytes", "llama", GENERAL | {"added_tokens_decoder": {"259": token("<s>")}}, {"special_tokens_map.json": {"bos_token": "<|endoftext|>", "pad_token": "<x>"}}
    yield "bytes", "llama", None, {"special_tokens_map.json": {"bos_token": token("<s>"), "eos_token": "<|endoftext|>", "pad_token": "<x>"}}
    yield "bytes", "llama", GENERAL, {"added_tokens.json": {"<y>": 261, "<x>": 260}}
    yield "bytes", "llama", GENERAL | {"additional_special_tokens": ["<x>"]}, {"added_tokens.json": {"<x>": 260}}
    yield "bytes", "llama", GENERAL | {"added_tokens_decoder": {"259": token("<s>")}}, {"added_tokens.json": {"<x>": 260}}


def two_files(folder, with_end=True):
    names = alphabet()
    vocab = {names[b]: b for b in range(256)} | {"Hi": 256, names[32] + "Hi": 257, "<|endoftext|>": 258}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text(f"#version: 0.2\nH i\n{names[32]} Hi\n", encoding="utf-8")


def cases_of_two_files():
    own = {"tokenizer_class": "GPT2Tokenizer"}
    yield "gpt2", None, {}
    for more in [{}, {"add_bos_token": True}, {"add_eos_token": True}, {"add_bos_token": False}, {"add_prefix_space": True}, {"additional_special_tokens": ["<x>"]}, {"bos_token": "<x>", "add_bos_token": True}]:
        yield "gpt2", own | more, {}
    yield "gpt2", own, {"added_tokens.json": {"<x>": 259}}
    yield "gpt2", own | {"additional_special_tokens": ["<x>"]}, {"added_tokens.json": {"<x>": 259}}
    yield "gpt2", own, {"special_tokens_map.json": {"bos_token": "<x>"}}


def sentence_piece(**more):
    """The bytes of a tokenizer.model, trained on a few words."""
    text = ["Hi Hi hello world", "the old man and the sea", "Hi <x> <y> ½ ﬁne"] * 60
    with tempfile.TemporaryDirectory() as folder:
        prefix = f"{folder}/tokenizer"
        if rules := more.pop("rules", None):
            more["normalization_rule_tsv"] = f"{folder}/rules.tsv"
            Path(more["normalization_rule_tsv"]).write_text(rules)
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(text), model_prefix=prefix, model_type="bpe", minloglevel=2, hard_vocab_limit=False, **more)
        return Path(prefix + ".model").read_bytes()


SENTENCE_PIECES = {
    "spm_llama": dict(vocab_size=320, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False),
    "spm_rules": dict(vocab_size=320, byte_fallback=True, rules="FB01\t66 69\nBD\t31 2F 32\nA\t20\n"),
    "spm_gemma": dict(vocab_size=330, byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3, control_symbols=["<z>"]),
    "spm_whole": dict(vocab_size=60, normalization_rule_name="identity", user_defined_symbols=["<x>", "H"]),
}


def cases_of_sentence_piece():
    pieces = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    for kind in ["spm_llama", "spm_rules"]:
        for more in [{}, {"legacy": True}, {"legacy": False}, {"add_prefix_space": False}, {"add_bos_token": True, "add_eos_token": True}, {"added_tokens_decoder": {"0": token("<unk>"), "1": token("<s>"), "2": token("</s>")}}]:
            yield kind, "llama", pieces | {"tokenizer_class": "LlamaTokenizer"} | more, {}
    for kind in SENTENCE_PIECES:
        for more in [{"legacy": True}, {"legacy": False}, {"legacy": None}, {}]:
            yield kind, "mistral", {"tokenizer_class": "LlamaTokenizer"} | more, {}


def row(kind, model, config, files, make):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make(folder)
        beside = dict(files)
        if config is not None:
            beside["tokenizer_config.json"] = config
        if model is not None:
            beside["config.json"] = {"model_type": model}
        for name, value in beside.items():
            (folder / name).write_text(json.dumps(value))
        t = AutoTokenizer.from_pretrained(folder)
        added = t.added_tokens_decoder
        special = sorted({i for i, a in added.items() if a.special} | set(t.all_special_ids))
        return {"kind": kind, "files": beside, "bos": t.bos_token_id, "eos": t.eos_token_id, "special": special, "ids": [t(text)["input_ids"] for text in TEXTS]}


def main():
    rows = [row(kind, model, config, files, lambda folder: KINDS[kind].save(str(folder / "tokenizer.json"))) for kind, model, config, files in cases()]
    rows += [row("two_files", model, config, files, two_files) for model, config, files in cases_of_two_files()]
    kinds = {name: json.loads(t.to_str()) for name, t in KINDS.items()}
    for kind, more in SENTENCE_PIECES.items():
        model = sentence_piece(**dict(more))
        kinds[kind] = base64.b64encode(model).decode()
        rows += [row(kind, family, config, files, lambda folder: (folder / "tokenizer.model").write_bytes(model)) for of, family, config, files in cases_of_sentence_piece() if of == kind]
    with tempfile.TemporaryDirectory() as folder:
        two_files(Path(folder))
        kinds["two_files"] = {path.name: path.read_text(encoding="utf-8") for path in Path(folder).iterdir()}
    lines = ",\n".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in rows)
    head = json.dumps({"texts": TEXTS, "kinds": kinds}, ensure_ascii=False, separators=(",", ":"))
    OUT.write_text(head[:-1] + ',"cases":[\n' + lines + "\n]}\n", encoding="utf-8")
    print(len(rows), "cases,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
