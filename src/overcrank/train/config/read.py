"""A run's configuration is read from one YAML file, strictly.

A key that is not known is an error that names the nearest one, or those of its group.
"""

import difflib
import os
import reprlib
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from overcrank.errors import RequestError
from overcrank.train.config.run import GROUPS, RunConfig


def read_config(source: str | Path, changes: Sequence[str] = ()) -> RunConfig:
    """A YAML file or the name of a shipped preset, with `a.b=value` changes applied."""
    values = _parse(_read(source), f"{source} is not YAML")
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
        raise RequestError(_explain(str(source), error, changes)) from None


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


def _parse(text: str, problem: str) -> Any:
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise RequestError(f"{problem}: it is nested too deeply: a run has two levels") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise RequestError(
            f"{problem}: {_reason(error)}: right is name: value, line by line"
        ) from None


def _reason(error: Exception) -> str:
    """What YAML does not like, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return str(error).partition("\n")[0]


def _apply(values: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    if not equals or not name:
        raise RequestError(f"--set takes name=value, got {change!r}: try optim.lr=1e-4")
    *parents, last = name.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise RequestError(
                f"{parent} is a value, not a group of keys, got --set {change}: "
                f"try --set {parent}=VALUE"
            )
    try:
        value = _parse(text, "--set")
    except RequestError:
        raise RequestError(
            f"a value of --set is YAML, got --set {change}: try a number, or a list: [1, 2]"
        ) from None
    if isinstance(value, str):
        with suppress(ValueError):  # YAML 1.1 reads 1e-4 as a string
            value = float(value)
    values[last] = value


def _explain(source: str, error: ValidationError, changes: Sequence[str] = ()) -> str:
    lines, names = [], []
    for issue in error.errors():
        name = ".".join(str(part) for part in issue["loc"])
        names.append(f"{name}.")
        if issue["type"] == "extra_forbidden":
            lines.append(f"unknown key {name}: {_instead_of(name)}")
        elif issue["type"] == "missing":
            lines.append(f"the key {name} is missing")
        elif issue["type"] == "value_error":
            lines.append(f"{name}: {issue['ctx']['error']}" if name else str(issue["ctx"]["error"]))
        else:
            lines.append(f"{name}: {issue['msg'].lower()}, got {reprlib.repr(issue['input'])}")
    # Which --set it may come from: the key itself, its group, or a key in it.
    keys = [f"{change.partition('=')[0]}." for change in changes]
    said = [
        f" --set {change}"
        for key, change in zip(keys, changes, strict=True)
        if any(name == "." or key.startswith(name) or name.startswith(key) for name in names)
    ]
    return f"{source}{' with' if said else ''}{','.join(said)} cannot be run: {'; '.join(lines)}"


def _instead_of(name: str) -> str:
    """What an unknown key may have meant, first of all in its own group."""
    *groups, last = name.split(".")
    group = groups[0] if groups else ""
    for likeness in (1.0, 0.6):  # the same name in another group, before one that is like it
        for place in (group, *GROUPS):
            near = difflib.get_close_matches(last, GROUPS[place].model_fields, 1, likeness)
            if near:
                return f"did you mean {place}.{near[0]}?" if place else f"did you mean {near[0]}?"
    return f"known are {', '.join(GROUPS[group].model_fields)}"
