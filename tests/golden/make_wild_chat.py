"""Writes tests/golden/chat/wild.json: templates that people met and older versions refused or wrote otherwise, as transformers renders them.

    python tests/golden/make_wild_chat.py

Needs transformers 5. The templates are small ones with the same constructs: the tag `generation`, a namespace as a message,
Python's printing and methods; and tools and documents, each list in templates that have a place for it.
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

OUT = Path(__file__).resolve().parent / "chat/wild.json"
USER = [{"role": "user", "content": "Hi"}]
MARKED = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>{% endgeneration %}"
    "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
TRIMMED = "{% for m in messages %}{{ m.content }}{%- generation -%} {{ m.role }} {%- endgeneration -%}.{% endfor %}"
NAMESPACE = (
    "{% set sys = namespace(role='system', content='') %}{% set sys.content = 'Be brief.' %}"
    "{% set all = [sys] + messages %}{% for m in all %}<{{ m.role }}>{{ m.content }}{% endfor %}"
)
PYTHON = [
    "{{ messages }}", "{{ ['a', none, true] }}", "{{ {'a': 1} | string }}", "{{ 'x,y'.split(',') }}", "{{ {'a': 1}.items() | list }}",
    "{{ 1e20 }}", "{{ '%s: %d' % ('a', 3) }}", "{{ '=' * 5 }}", "{{ 'a\nb' | indent(2) }}", "{{ [1, 2] | sum }}",
    "{{ 'aaa' | replace('a', 'b', 2) }}", "{{ 'abc'.removeprefix('a') }}", "{{ 'a b c'.rsplit(' ', 1) | last }}",
    "{{ 'abc'.partition('b') | first }}", "{{ 'abc'.index('c') }}", "{{ 'a b' | wordcount }}",
]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Finds \"it\" out – 날씨", "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1.0}}, "required": ["city"]}}}]
DOCUMENTS = [{"title": "A", "text": "One."}, {"text": "Two's", "score": 1e-07, "tags": [None, True]}]
LISTED = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}</tools>{% endif %}"
    "{% if documents is not none %}{% for d in documents %}[{{ loop.index }} {{ d.title or 'untitled' }}] {{ d }}\n{% endfor %}{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
)
INDENTED = "{% if tools is not none %}{{ tools | tojson(indent=4) }}{% endif %}{{ messages[0].content }}"


def main():
    rows = []

    def add(case, template, tools=None, documents=None, prompt=True):
        text = render_jinja_template([USER], tools, documents, template, add_generation_prompt=prompt)[0][0]
        rows.append({"case": case, "template": template, "tools": tools, "documents": documents, "prompt": prompt, "text": text})

    for template in [MARKED, TRIMMED]:
        add("01-generation-tag", template)
    add("03-namespace-as-message", NAMESPACE)
    for template in PYTHON:
        add("04-python-in-templates", template + ".")
    for template in [LISTED, INDENTED]:
        for tools in [None, [], TOOLS]:
            for documents in [None, [], DOCUMENTS]:
                add("lists", template, tools, documents, False)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    OUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(len(rows), "rows,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
