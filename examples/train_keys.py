"""The page of all keys of a training: `python examples/train_keys.py > docs/train-keys.md`.

What it says stands beside the keys in `overcrank.train.config`; a test compares the page with it.
"""

from collections.abc import Iterator
from typing import Any

import yaml

from overcrank.train.config.run import GROUPS, LISTS, ONLY_FOR, Strict

HEAD = """# The keys of a training

All keys of a run's file, written by `python examples/train_keys.py` from the code that reads them.
[train.md](train.md) says what they are for. `--set GROUP.KEY=VALUE` changes one,
`--set stages.0.batch=4` one of an entry in a list.
"""
_WORDS = {"integer": "whole number", "number": "number", "boolean": "true or false"}
_WORDS |= {"string": "text", "array": "list", "object": "names and numbers"}
_BOUNDS = (("minimum", "from {}"), ("ge", "from {}"), ("exclusiveMinimum", "above {}"))
_BOUNDS += (("maximum", "to {}"), ("le", "to {}"), ("exclusiveMaximum", "below {}"))
_ANY = 10**9
"""A bound that bounds nothing."""


def page() -> str:
    """Markdown: a table for each group."""
    return "\n".join(
        [HEAD, *(part for name, model in GROUPS.items() for part in group(name, model))]
    )


def group(name: str, model: type[Strict]) -> Iterator[str]:
    """A heading, who understands the group, and a row for each of its keys."""
    yield f"## {f'`{name}`' if name else 'At the top'}\n"
    if name:
        many = " A list of such groups." if name in LISTS else ""
        yield f"{_line(model.__doc__)}{many}{_only(name)}\n"
    yield "| key | values | default | what it is |\n|---|---|---|---|"
    schema = model.model_json_schema()
    for key, said in schema["properties"].items():
        if name or key not in GROUPS:
            required = key in schema.get("required", ())
            default = "needed" if required else _default(model, key)
            only = "" if name else _only(key)
            yield f"| `{key}` | {values(said)} | {default} | {_line(said['description'])}{only} |"
    yield ""


def values(said: dict[str, Any]) -> str:
    """What a key takes, in words."""
    if "enum" in said or "const" in said:
        return ", ".join(f"`{each}`" for each in said.get("enum") or [said["const"]])
    if "anyOf" in said:
        return values(next(each for each in said["anyOf"] if each.get("type") != "null"))
    if "type" not in said:  # a size is read by our own code
        return "whole number, or `WxH`"
    if "prefixItems" in said:
        return f"list of {len(said['prefixItems'])} numbers"
    if said["type"] == "array":
        return f"list: {values(said['items'])}"
    bounds = [form.format(f"{said[b]:,}") for b, form in _BOUNDS if said.get(b, _ANY) < _ANY]
    return " ".join([_WORDS[said["type"]], *bounds])


def _default(model: type[Strict], key: str) -> str:
    value = model.model_fields[key].default
    if value is None:
        return ""
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{yaml.safe_dump(plain, default_flow_style=True).splitlines()[0]}`"


def _only(key: str) -> str:
    """Which kinds of runs understand it, if not all do."""
    kinds = [kind for kind, names in ONLY_FOR.items() if key in names]
    return f" Kind {', '.join(kinds)} only." if 0 < len(kinds) < len(ONLY_FOR) else ""


def _line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
