"""A report's numbers as tables in HTML, whatever they are called."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from overcrank.evaluate.leaves import Leaf, leaf, shown, span, words
from overcrank.evaluate.told import TOLD
from overcrank.pages import interval


def blocks(part: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """All of a part: its own numbers, then groups of the same kind as columns of one table, then
    what lies deeper."""
    own: list[tuple[str, str]] = []
    columns: dict[str, Mapping[str, Any]] = {}
    deeper: list[str] = []
    for name, value in part.items():
        found = leaf(value, (*path, name))
        if found is not None:
            own.append((words(name), _with_interval(found)))
        elif isinstance(value, str):
            own.append((words(name), escape(value)))
        elif isinstance(value, dict) and _is_group(value) and _alike(value, columns):
            columns[name] = value
        elif isinstance(value, dict) and value:
            deeper.append(_titled(name, blocks(value, (*path, name))))
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{v}</td></tr>" for k, v in own)
    numbers = f'<table class="numbers">{rows}</table>' if rows else ""
    if len(columns) == 1:
        ((name, group),) = columns.items()
        return numbers + _titled(name, blocks(group, (*path, name))) + "".join(deeper)
    return numbers + (matrix(columns, path) if columns else "") + "".join(deeper)


def _titled(name: str, content: str) -> str:
    """Under a heading, with what the name means where that is known."""
    told = f"<p>{escape(TOLD[name])}</p>" if name in TOLD else ""
    return f"<h3>{escape(words(name))}</h3>{told}{content}"


def _is_group(value: Mapping[str, Any]) -> bool:
    """Whether these are numbers and nothing else."""
    return bool(value) and all(leaf(x, ("",)) is not None for x in value.values())


def _alike(group: Mapping[str, Any], columns: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether it has a row of the first column, if there is one."""
    return not columns or not group.keys().isdisjoint(next(iter(columns.values())))


def matrix(groups: Mapping[str, Mapping[str, Any]], path: tuple[str, ...] = ()) -> str:
    """A column for each group, a row for each number."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    rows = []
    for name in names:
        cells = [_cell(group.get(name), (*path, key, name)) for key, group in groups.items()]
        rows.append([escape(words(name)), *cells])
    return table(["", *map(words, groups)], rows)


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


def _cell(value: Any, path: tuple[str, ...]) -> str:
    """A number whose interval is drawn, and told when it is pointed at."""
    found = leaf(value, path)
    if found is None:
        return ""
    bar = ""
    if found.is_rate and found.low is not None and found.high is not None:
        bar = f" {interval(found.value, found.low, found.high)}"
    return f'<span title="{escape(span(found))}"><em>{shown(found)}</em>{bar}</span>'
