"""Chat templates as transformers renders them, for tests/golden/chat/jinja2.json.

    python make_chat.py                 # writes the golden file
    python make_chat.py FOLDER OUT      # the same over the templates of a folder, without their text

Needs jinja2 alone: environment() sets it up as `apply_chat_template` of transformers 5 does. The
templates in chat/families use the constructs of published families under their names; chat/small.txt
has one construct each, separated by lines of `----`.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = Path(__file__).resolve().parent / "chat"


class Generation(jinja2.ext.Extension):
    """The tag that marks what the model writes. It puts out its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def from_json(value):
        try:
            return json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError:
            return value

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = to_json
    env.filters["fromjson"] = from_json
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return env


SYSTEM = {"role": "system", "content": "Be brief. "}
ASK = {"role": "user", "content": " What is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\n4\n"}
MORE = {"role": "user", "content": "Why's that?\n안녕 \"you\""}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather <now> & here",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "City's name", "enum": ["Köln", "Rome"]},
                "days": {"type": ["integer", "null"], "default": 3},
                "items": {"type": "array", "items": {"type": "number"}},
            },
            "required": ["city"],
        },
    },
}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Rome", "days": 2}}}
    ],
}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": '{"sky": "clear", "t": 21.5}'}
PARTS = {"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image"}, {"type": "text", "text": " this"}]}
DOCUMENTS = [{"title": "A", "text": "First."}, {"title": "B\n", "text": "Second's"}]

CHATS = {
    "one": {"messages": [ASK]},
    "system": {"messages": [SYSTEM, ASK]},
    "turns": {"messages": [ASK, ANSWER, MORE]},
    "all": {"messages": [SYSTEM, ASK, ANSWER, MORE, {"role": "assistant", "content": "Because."}]},
    "thinking": {"messages": [ASK, {"role": "assistant", "content": "4", "reasoning_content": "\nTwo.\n"}], "enable_thinking": False},
    "tools": {"messages": [SYSTEM, ASK, CALL, RESULT], "tools": [TOOL]},
    "results": {"messages": [ASK, CALL, RESULT, RESULT, ANSWER, MORE], "tools": [TOOL, TOOL]},
    "documents": {"messages": [ASK], "documents": DOCUMENTS},
    "parts": {"messages": [SYSTEM, PARTS]},
    "wrong": {"messages": [MORE, ASK, SYSTEM]},
    "empty": {"messages": []},
}


def values(chat, prompt):
    rest = {"tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"}
    return {**rest, **CHATS[chat], "add_generation_prompt": prompt}


def render(source, given):
    try:
        return {"text": environment().from_string(source).render(**given)}
    except jinja2.exceptions.TemplateError as error:
        if type(error) is jinja2.exceptions.TemplateError:
            return {"raised": str(error)}
        return {"refused": f"{type(error).__name__}: {error}"}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}


def rows(name, source, chats):
    seen = set()
    for chat in chats:
        for prompt in (False, True):
            row = {"template": name, "chat": chat, "prompt": prompt, **render(source, values(chat, prompt))}
            # The same text twice proves nothing new.
            key = json.dumps([row.get("text"), row.get("raised"), row.get("refused")])
            if key not in seen:
                seen.add(key)
                yield row


def main():
    if len(sys.argv) == 3:
        families = {path.stem: path.read_text(encoding="utf-8") for path in sorted(Path(sys.argv[1]).glob("*.jinja"))}
        small, out = [], Path(sys.argv[2])
    else:
        families = {path.stem: path.read_text(encoding="utf-8") for path in sorted((HERE / "families").glob("*.jinja"))}
        small, out = (HERE / "small.txt").read_text(encoding="utf-8").split("\n----\n"), HERE / "jinja2.json"
    all_rows = [row for name, source in families.items() for row in rows(name, source, CHATS)]
    for index, source in enumerate(small):
        all_rows += rows(index, source, ["all", "tools"] if "messages" in source else ["tools"])
    chats = {name: {**values(name, False)} for name in CHATS}
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in all_rows)
    head = json.dumps({"made_with": f"jinja2 {jinja2.__version__}"})[1:-1]
    out.write_text(f'{{{head},\n"chats": {json.dumps(chats, ensure_ascii=False)},\n"rows": [\n{lines}\n]}}\n', encoding="utf-8")
    kinds = [next(k for k in ("text", "raised", "refused") if k in row) for row in all_rows]
    print(len(families) + len(small), "templates,", len(all_rows), "rows:", {k: kinds.count(k) for k in set(kinds)})


main()
