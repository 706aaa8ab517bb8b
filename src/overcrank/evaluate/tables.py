"""A report's numbers as tables in HTML, whatever they are called."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from overcrank.evaluate.leaves import Leaf, leaf, shown, span, words
from overcrank.pages import interval


def cell(value: Any) -> str:
    """A number with its interval, as the content of a table's cell."""
    found = leaf(value, ("",))
    return "" if found is None else _with_interval(found)


def blocks(part: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """All of a part: first its own numbers, then tables of what is in it."""
    own, tables = [], []
    for name, value in part.items():
        found = leaf(value, (*path, name))
        if found is not None:
            own.append((words(name), _with_interval(found)))
        elif isinstance(value, str):
            own.append((words(name), escape(value)))
        elif isinstance(value, dict) and is_matrix(value):
            tables.append(f"<h3>{escape(words(name))}</h3>{matrix(value)}")
        elif isinstance(value, dict) and value:
            inner = blocks(value, (*path, name))
            tables.append(f"<h3>{escape(words(name))}</h3>{inner}")
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{v}</td></tr>" for k, v in own)
    return (f'<table class="numbers">{rows}</table>' if rows else "") + "".join(tables)


def is_matrix(value: Mapping[str, Any]) -> bool:
    """Whether these are several groups of the same kind of numbers with intervals."""
    groups = list(value.values())
    return len(groups) > 1 and all(
        isinstance(group, dict)
        and group
        and all(isinstance(x, dict) and leaf(x, ("",)) is not None for x in group.values())
        for group in groups
    )


def matrix(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """A column for each group, a row for each number."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    head = "".join(f"<th>{escape(words(name))}</th>" for name in groups)
    rows = "".join(
        f"<tr><th>{escape(words(name))}</th>"
        + "".join(f"<td>{cell(group.get(name))}</td>" for group in groups.values())
        + "</tr>"
        for name in names
    )
    return wide(f"<thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody>")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of HTML under headings of text."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr><th>{first}</th>" + "".join(f"<td>{text}</td>" for text in rest) + "</tr>"
        for first, *rest in rows
    )
    return wide(f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>")


def wide(content: str) -> str:
    """A table that may be wider than its page."""
    return f'<div class="wide"><table class="numbers">{content}</table></div>'


def _with_interval(found: Leaf) -> str:
    bar = ""
    if found.is_rate and found.low is not None and found.high is not None:
        bar = f" {interval(found.value, found.low, found.high)}"
    return f"{shown(found)}{bar} <small>{span(found)}</small>"
