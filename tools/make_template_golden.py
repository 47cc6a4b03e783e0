#!/usr/bin/env python3
"""Golden outputs for the chat templates: what jinja2 renders in transformers' own environment.

usage: make_template_golden.py [DATA]     (DATA: the folder of shared test data; default ../shared/data)

Needs jinja2 and transformers. Writes into tests/data/templates:
  snippets.json  each line of snippets.txt: its text, or that it is an error (and the line of a syntax error)
  own.json       the *.jinja fixtures of this project, with every context of contexts.json, in full
  shared.json    the templates of DATA with every context and with DATA's own contexts: FNV-1a hashes of the outputs.
                 Those templates belong to others and are not copied.
"""
import datetime
import json
import pathlib
import sys

import jinja2
import transformers.utils.chat_template_utils as chat_template_utils

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/data/templates"
NOW = datetime.datetime(2024, 7, 26, 12, 34, 56)  # what strftime_now tells; the tests set the same


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


# What the snippets see.
VARIABLES = {
    "d": {"a": 1, "b": "x", "z": None},
    "l": [1, 2, 3],
    "s": "hello wORLD",
    "v": "outer",
    "t": True,
    "n": None,
    "f": 1.0,
    "big": 18446744073709551615,
    "tree": [{"n": 1, "c": [{"n": 2}, {"n": 3, "c": [{"n": 4}]}]}, {"n": 5}],
    "messages": [{"role": "system", "content": "sys"}, {"role": "user", "content": "hi"},
                 {"role": "assistant", "content": "yo"}],
}


def compile_template(source):
    return chat_template_utils._cached_compile_jinja_template(source)


def render(template, variables):
    """The text, or None for an error."""
    try:
        return template.render(**variables)
    except Exception:  # any error of Python is an error of the template
        return None


def snippet(source):
    try:
        template = compile_template(source)
    except jinja2.exceptions.TemplateSyntaxError as error:
        return {"template": source, "line": error.lineno}
    except Exception:
        return {"template": source, "error": True}
    text = render(template, VARIABLES)
    return {"template": source, "error": True} if text is None else {"template": source, "text": text}


def snippets():
    lines = (OUT / "snippets.txt").read_text(encoding="utf-8").split("\n")[:-1]
    # Whitespace control is about lines: indented lines also count together with the two behind them.
    sources = lines + ["\n".join(lines[i:i + 3]) for i, line in enumerate(lines) if line[:1] in " \t"]
    return {"variables": VARIABLES, "now": NOW.isoformat(), "cases": [snippet(source) for source in sources]}


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def contexts():
    given = json.loads((OUT / "contexts.json").read_text(encoding="utf-8"))
    return [{**given["base"], **setting, "messages": chat} for chat in given["chats"] for setting in given["settings"]]


def outputs(source, variables):
    template = compile_template(source)
    return [render(template, each) for each in variables]


def shared_templates(data):
    """Name (a path below DATA, and "#" for a key of a JSON file) to source."""
    found = {}
    for path in sorted([*data.glob("chat_templates/*.jinja"), *data.glob("tokenizers/*/chat_template.jinja")]):
        found[str(path.relative_to(data))] = path.read_bytes().decode()
    for path in sorted(data.glob("tokenizers/*/tokenizer_config.json")):
        template = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
        if isinstance(template, str) and not (path.parent / "chat_template.jinja").exists():
            found[str(path.parent.relative_to(data))] = template
    return found


def write(name, content):
    (OUT / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main():
    data = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "../shared/data").resolve()
    chat_template_utils.datetime = FixedTime
    write("snippets.json", snippets())
    own = {path.name: outputs(path.read_bytes().decode(), contexts()) for path in sorted(OUT.glob("*.jinja"))}
    write("own.json", own)
    given = {str(path.relative_to(data)): json.loads(path.read_text(encoding="utf-8"))
             for path in sorted(data.glob("chat_templates/*.json"))}
    shared = {}
    for name, source in shared_templates(data).items():
        hashed = lambda texts: [None if text is None else fnv1a(text) for text in texts]
        shared[name] = {"ours": " ".join(h or "error" for h in hashed(outputs(source, contexts()))),
                        "theirs": dict(zip(given, hashed(outputs(source, given.values()))))}
    write("shared.json", shared)
    print(f"{len(own)} own and {len(shared)} shared templates, {len(contexts())} contexts")


if __name__ == "__main__":
    main()
