"""Writes tests/golden/tokens/unigram.json: SentencePiece's Unigram in `tokenizer.model`, as transformers or SentencePiece reads it.

    python tests/golden/make_unigram.py

Needs transformers 5 and sentencepiece. Every case has files beside a small Unigram vocabulary that is trained here, and
the ids of some texts. transformers' general class and T5's read Unigram; Llama's class reads every vocabulary as BPE since
transformers 5, and T5's takes 2 for the unknown piece's id, so that the ids of cases with `owner: sentencepiece` are those
of SentencePiece itself, as transformers 4 gave them.
"""

import base64
import json
import os
import tempfile
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import sentencepiece
from transformers import AutoTokenizer

OUT = Path(__file__).resolve().parent / "tokens/unigram.json"
PLAIN = ["", "Hi", "Hi hello the world", "the old man  and the sea", "  the  old\nﬁne ½ 한 ", "<x> Hi<x>", "Hihellotheworld 12 %"]
SPECIAL = ["<s>Hi", "Hi</s> the <s>", "Hi<z>the"]
TRAINING = ["Hi Hi hello world", "the old man and the sea", "Hi <x> <y> ½ ﬁne"] * 60
# Three of SentencePiece's replacements; all of them would take 300 kB a model.
RULES = "FB01\t66 69\nBD\t31 2F 32\nA\t20\n"
KINDS = {
    "plain": dict(vocab_size=60, rules=RULES),
    "bytes": dict(vocab_size=320, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False),
    "bare": dict(vocab_size=330, byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3),
    "user": dict(vocab_size=60, rules=RULES, user_defined_symbols=["<x>", "the"], control_symbols=["<z>"]),
    "t5": dict(vocab_size=60, rules=RULES, pad_id=0, eos_id=1, unk_id=2, bos_id=-1),
}


def train(**more):
    with tempfile.TemporaryDirectory() as folder:
        prefix = f"{folder}/tokenizer"
        if rules := more.pop("rules", None):
            more["normalization_rule_tsv"] = f"{folder}/rules.tsv"
            Path(more["normalization_rule_tsv"]).write_text(rules)
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TRAINING), model_prefix=prefix, model_type="unigram", minloglevel=2, hard_vocab_limit=False, **more)
        return Path(prefix + ".model").read_bytes()


def cases():
    """Kind, owner, name of the file, tokenizer_config.json."""
    token = {"content": "<y>", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    for kind in KINDS:
        for more in [{}, {"legacy": False}, {"tokenizer_class": "PreTrainedTokenizerFast", "legacy": True}]:
            yield kind, "transformers", "tokenizer.model", more
        yield kind, "sentencepiece", "tokenizer.model", {"tokenizer_class": "LlamaTokenizer"}
    ends = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    yield "plain", "transformers", "tokenizer.model", ends | {"additional_special_tokens": ["<y>"]}
    yield "plain", "transformers", "tokenizer.model", ends | {"added_tokens_decoder": {"31": token}}
    yield "t5", "transformers", "spiece.model", {"tokenizer_class": "T5Tokenizer"}
    yield "t5", "transformers", "tokenizer.model", {"tokenizer_class": "T5TokenizerFast", "extra_ids": 3, "eos_token": "</s>"}
    for kind in ["plain", "user"]:
        yield kind, "sentencepiece", "spiece.model", {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "eos_token": "</s>"}


def main():
    models = {kind: train(**dict(more)) for kind, more in KINDS.items()}
    rows = []
    for kind, owner, name, config in cases():
        texts = PLAIN if owner == "sentencepiece" else PLAIN + SPECIAL
        if owner == "sentencepiece":
            own = sentencepiece.SentencePieceProcessor(model_proto=models[kind])
            after = [own.eos_id()] if "T5" in config["tokenizer_class"] else []
            ids = [own.encode(text) + after for text in texts]
            size = own.get_piece_size()
        else:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, name).write_bytes(models[kind])
                Path(folder, "tokenizer_config.json").write_text(json.dumps(config))
                tokenizer = AutoTokenizer.from_pretrained(folder)
                ids = [tokenizer(text)["input_ids"] for text in texts]
                size = len(tokenizer)
        rows.append({"kind": kind, "owner": owner, "file": name, "config": config, "size": size, "texts": texts, "ids": ids})
    models = {kind: base64.b64encode(model).decode() for kind, model in models.items()}
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    OUT.write_text(f'{{"models":{json.dumps(models)},"cases":[\n{lines}\n]}}\n', encoding="utf-8")
    print(len(rows), "cases,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
