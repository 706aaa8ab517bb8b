"""A run's configuration is read from one YAML file, strictly.

A key that is not known is an error that names the nearest one, or those of its group; a key that
is given twice is an error, too.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from overcrank.errors import RequestError
from overcrank.train.config.run import GROUPS, LISTS, RunConfig
from overcrank.train.config.words import dotted, explain


def read_config(source: str | Path, changes: Sequence[str] = ()) -> RunConfig:
    """A YAML file or the name of a shipped preset, with `a.b=value` changes applied."""
    try:
        values = _parse(_read(source))
    except NotYAMLError as error:
        raise RequestError(
            f"{source} is not YAML: {error}: right is name: value, line by line"
        ) from None
    except GivenTwiceError as error:
        raise RequestError(f"{source} gives a key twice: got {error}: leave one out") from None
    if not isinstance(values, dict):
        raise RequestError(
            f"{source} holds no run: got {type(values).__name__}: right is name: value, line by "
            "line, as in src/overcrank/train/presets"
        )
    for change in changes:
        _apply(values, change)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise RequestError(explain(str(source), error, changes)) from None


def _read(source: str | Path) -> str:
    presets = resources.files("overcrank.train") / "presets"
    names = sorted(p.name.removesuffix(".yaml") for p in presets.iterdir())
    if str(source) in names:
        return (presets / f"{source}.yaml").read_text()
    if not os.path.isfile(source):  # noqa: PTH113  unlike Path.is_file, False for any odd string
        raise RequestError(
            f"there is no such training preset or file: got {str(source)!r}: the presets are "
            f"{', '.join(names)}, or give a .yaml file"
        )
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"cannot read {source}: {error}: give a YAML file in UTF-8") from None


class NotYAMLError(Exception):
    """With the reason, in one line."""


class GivenTwiceError(Exception):
    """With the key and its lines."""


class _Strict(yaml.SafeLoader):
    """Refuses a key that a group has twice, of which YAML would take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                raise GivenTwiceError(f"{key.value} in lines {lines[key.value]} and {line}")
            lines[str(key.value)] = line
        return node


def _parse(text: str) -> Any:
    """Raises NotYAMLError or GivenTwiceError."""
    try:
        return yaml.load(text, _Strict)
    except RecursionError:
        raise NotYAMLError("it is nested too deeply, a run has two levels") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise NotYAMLError(_reason(error)) from None


def _reason(error: Exception) -> str:
    """What YAML does not like, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return str(error).partition("\n")[0]


def _apply(values: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    if not equals or not name:
        raise RequestError(f"--set takes name=value, got {change!r}: try optim.lr=1e-4")
    *groups, last = name.split(".")
    inside: Any = values
    for depth, group in enumerate(groups):
        inside = _entered(inside, group, name.split(".")[: depth + 1], change)
    value = _value(text, change)
    if isinstance(inside, list):
        inside[_place(inside, last, groups, change)] = value
    else:
        inside[last] = value


def _entered(inside: Any, group: str, path: Sequence[str], change: str) -> Any:
    """The group of keys, or the list, of that name; an empty one if there is none yet."""
    if isinstance(inside, list):
        found = inside[_place(inside, group, path[:-1], change)]
    else:
        if inside.get(group) is None:
            inside[group] = {}
        found = inside[group]
    if not isinstance(found, dict | list):
        raise RequestError(
            f"{dotted(path)} is a value, not a group of keys, got --set {change}: "
            f"try --set {dotted(path)}=VALUE"
        )
    return found


def _place(there: list[Any], number: str, path: Sequence[str], change: str) -> int:
    """Of an entry in a list."""
    if number.isdecimal() and int(number) < len(there):
        return int(number)
    name = dotted(path)
    entry: list[str | int] = [*path, 0]
    if name in LISTS:
        entry.append(number if number in GROUPS[name].model_fields else "frames")
    raise RequestError(
        f"{name} is a list of {len(there)}, got --set {change}: name an entry by its number from "
        f"0 on, as in --set {dotted(entry)}=VALUE, or give all: --set '{name}=[...]'"
    )


def _value(text: str, change: str) -> Any:
    try:
        value = _parse(text)
    except NotYAMLError:
        raise RequestError(
            f"a value of --set is YAML, got --set {change}: try a number, or a list: [1, 2]"
        ) from None
    except GivenTwiceError as error:
        key = str(error).partition(" ")[0]
        raise RequestError(
            f"--set gives the key {key} twice, got --set {change}: leave one out"
        ) from None
    if isinstance(value, str):
        with suppress(ValueError):  # YAML 1.1 reads 1e-4 as a string
            value = float(value)
    return value
