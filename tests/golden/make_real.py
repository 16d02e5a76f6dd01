"""Writes tests/golden/real/{smollm2,gemma3}.json: what `transformers` computes from two real GGUF files.

The models are those of scripts/fetch-models, dequantised to f32 by `gguf`. Ids are written out, so that
the numbers test the model and not the tokenizer; `prompt` is there to test the tokenizer too.

    python tests/golden/make_real.py [FOLDER_OF_MODELS [wikitext2-valid.txt]]
"""

import json
import os
import sys
from pathlib import Path

import gguf
import torch
import transformers
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

OUT = Path(__file__).parent / "real"
MODELS = {
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma3": "gemma-3-270m-q4_k_m.gguf",
}
PROMPTS = [
    "The capital of France is",
    "Once upon a time, there was a little girl who",
    "Water boils at 100 degrees",
    "The quick brown fox jumps over the lazy",
    "In 1969, Neil Armstrong became the first person to",
    "She opened the door, looked around, and said: \"",
    "To make a good cup of tea, you need",
    "I can't believe it's not",
    "대한민국의 수도는",
    "안녕하세요, 저는",
    "오늘 날씨가 좋아서 공원에",
    "옛날 옛적에 한 마을에",
    "이 영화는 정말 재미있",
    "한국어로 번역하면",
    "def add(a, b):\n    return",
    "for i in range(10):\n    print(",
    "fn main() {\n    println!(\"Hello,",
    "import numpy as np\n\nx = np.",
    "SELECT name, age FROM users WHERE",
    "<html>\n  <head>\n    <title>",
]
N_CONTEXT, N_FIRST, N_CONTINUED = 512, 12, 16

torch.set_num_threads(2)
logging.set_verbosity_error()
logging.disable_progress_bar()


def logits_of(model, ids) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float()


def check_norms(model, path: Path):
    """GGUF stores Gemma's norms with one added; transformers must have taken it off, once."""
    stored = {t.name: torch.tensor(t.data.copy()) for t in GGUFReader(path).tensors if "norm" in t.name}
    offset = 1.0 if model.config.model_type.startswith("gemma") else 0.0
    layer = model.model.layers[0]
    pairs = {"output_norm.weight": model.model.norm, "blk.0.attn_norm.weight": layer.input_layernorm}
    if offset:
        pairs["blk.0.attn_q_norm.weight"] = layer.self_attn.q_norm
        pairs["blk.0.post_ffw_norm.weight"] = layer.post_feedforward_layernorm
        pairs["blk.0.post_attention_norm.weight"] = layer.post_attention_layernorm
        pairs["blk.0.ffn_norm.weight"] = layer.pre_feedforward_layernorm
    for name, module in pairs.items():
        torch.testing.assert_close(stored[name], module.weight.data + offset)


def make(name: str, folder: Path, text: str):
    file = MODELS[name]
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model, info = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=file,
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
    )
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    model.eval()
    check_norms(model, folder / file)

    prompts = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == prompt
        last = logits_of(model, ids)[-1]
        top = last.topk(6)
        out = model.generate(
            torch.tensor([ids]), do_sample=False, max_new_tokens=N_CONTINUED, pad_token_id=0
        )[0, len(ids) :]
        print(f"{prompt!r} -> {tokenizer.decode(out)!r}")
        prompts.append(
            {
                "prompt": prompt,
                "ids": ids,
                "top": [
                    {"id": i, "logit": round(v, 5), "text": tokenizer.decode([i])}
                    for i, v in zip(top.indices[:5].tolist(), top.values[:5].tolist())
                ],
                # The smallest distance between neighbours of the top 6: below the tolerance of a
                # comparison, their order means nothing.
                "gap": round((top.values[:-1] - top.values[1:]).min().item(), 5),
                "log_sum_exp": round(last.logsumexp(0).item(), 5),
                "greedy": out.tolist(),
            }
        )

    ids = tokenizer(text)["input_ids"][:N_CONTEXT]
    logp = logits_of(model, ids).log_softmax(-1)
    targets = torch.tensor(ids[N_FIRST:])
    nll = -logp[N_FIRST - 1 : N_CONTEXT - 1].gather(1, targets[:, None])[:, 0].double()
    assert len(nll) == N_CONTEXT - N_FIRST == 500
    print(f"{name}: nll {nll.mean():.5f}, perplexity {nll.mean().exp():.2f}")
    bos = tokenizer.bos_token_id
    record = {
        "file": file,
        "made_with": {
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "gguf": getattr(gguf, "__version__", None) or version_of("gguf"),
            "compute": "float32, eager attention",
        },
        "bos_id": bos,
        "bos_prepended": prompts[0]["ids"][0] == bos and prompts[1]["ids"][0] == bos,
        "prompts": prompts,
        "wikitext": {
            "source": "the first 20,000 characters of wikitext2-valid.txt as one text, its first 512 ids",
            "meaning": "mean over positions 12..=511 of -ln p(ids[t] | ids[0..t]), natural log, "
            "one forward pass of 512 tokens, 500 terms",
            "ids": ids,
            "first": N_FIRST,
            "count": len(nll),
            "nll": round(nll.mean().item(), 6),
        },
    }
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.json").write_text(compact(record))


def compact(record: dict) -> str:
    """JSON with one line for each prompt, so that the file can be read and diffed."""
    line = lambda x: json.dumps(x, ensure_ascii=False)
    rows = ",\n    ".join(line(p) for p in record["prompts"])
    fields = [
        f'  "{key}": ' + (f"[\n    {rows}\n  ]" if key == "prompts" else line(value))
        for key, value in record.items()
    ]
    return "{\n" + ",\n".join(fields) + "\n}\n"


def version_of(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def main():
    given = sys.argv[1:]
    folder = Path(given[0] if given else os.path.expanduser("~/.cache/saescope/test-models"))
    text = Path(given[1] if given[1:] else Path(__file__).resolve().parents[3] / "shared/data/text/wikitext2-valid.txt")
    # The first 20 kB are far more than 512 tokens; the cut is on a line, so no id depends on it.
    head = text.read_text(encoding="utf-8")[:20_000]
    head = head[: head.rindex("\n") + 1]
    for name in MODELS:
        make(name, folder, head)


if __name__ == "__main__":
    main()
