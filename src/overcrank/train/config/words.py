"""What is said of a configuration that cannot be run."""

import difflib
import reprlib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from overcrank.train.config.run import GROUPS, LISTS

_WHOLE = ("a whole number is asked for", "try 100")
_NUMBER = ("a number is asked for", "try 0.1")
_CHOICE = ("yes or no is asked for", "right is true or false")
_GROUP = ("a group of keys is asked for", "try {{key: value}}")
_LIST = ("a list is asked for", "put it in brackets: [...]")

_WORDS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), _CHOICE),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), _GROUP),
    **dict.fromkeys(("list_type", "tuple_type"), _LIST),
    "finite_number": ("a finite number is asked for", "try 0.1"),
    "string_type": ("a text is asked for", "put it in quotes"),
    "string_too_short": ("an empty text says nothing", "write something, or leave the key out"),
    "literal_error": ("there is no such choice", "right is {expected}"),
    "greater_than": ("the number is too small", "right is more than {gt}"),
    "greater_than_equal": ("the number is too small", "right is {ge} or more"),
    "less_than": ("the number is too large", "right is less than {lt}"),
    "less_than_equal": ("the number is too large", "right is {le} or less"),
    "too_short": ("the list is too short", "right is at least {min_length}"),
    "invalid_key": ("a key is a name", "put it in quotes, or write its name"),
    "too_long": ("the list is too long", "right is at most {max_length}"),
}
"""What is wrong and what is right, by pydantic's name of the mistake."""


def explain(source: str, error: ValidationError, changes: Sequence[str] = ()) -> str:
    """All that is wrong with a configuration, and which `--set` it may come from."""
    issues = error.errors()
    names = [f"{dotted(issue['loc'])}." for issue in issues]
    # The key itself, its group, or a key in it.
    keys = [f"{change.partition('=')[0]}." for change in changes]
    said = [
        f" --set {change}"
        for key, change in zip(keys, changes, strict=True)
        if any(name == "." or key.startswith(name) or name.startswith(key) for name in names)
    ]
    lines = "; ".join(map(_line, issues))
    return f"{source}{' with' if said else ''}{','.join(said)} cannot be run: {lines}"


def dotted(place: Sequence[str | int]) -> str:
    """The name of a key as `--set` knows it."""
    return ".".join(map(str, place))


def _line(issue: ErrorDetails) -> str:
    place, name = issue["loc"], dotted(issue["loc"])
    if issue["type"] == "extra_forbidden":
        return f"unknown key {name}: {_instead_of(place)}"
    if issue["type"] == "value_error":
        return f"{name}: {issue['ctx']['error']}" if name else str(issue["ctx"]["error"])
    if issue["type"] == "missing":
        return _missing(issue)
    wrong, right = _WORDS.get(issue["type"], (issue["msg"].lower(), "look at docs/train.md"))
    return f"{name}: {wrong}, got {shown(issue['input'])}: {right.format(**issue.get('ctx', {}))}"


def _missing(issue: ErrorDetails) -> str:
    *groups, last = issue["loc"]
    if isinstance(last, int):
        return f"{dotted(groups)}: the list is too short, got {shown(issue['input'])}: add to it"
    field = GROUPS[str(groups[0]) if groups else ""].model_fields[last]
    given = ", ".join(map(str, issue["input"])) or "nothing"
    example = (field.examples or ["..."])[0]
    return f"the key {dotted(issue['loc'])} is missing, got {given}: add {last}: {example}"


def shown(value: Any) -> str:
    """A value as YAML has it, shortened."""
    plain = {None: "null", True: "true", False: "false"}
    is_plain = value is None or isinstance(value, bool)
    return plain[value] if is_plain else reprlib.repr(value)


def _instead_of(place: Sequence[str | int]) -> str:
    """What an unknown key may have meant, first of all in its own group."""
    *groups, last = place
    own = str(groups[0]) if groups else ""
    for likeness in (1.0, 0.6):  # the same name in another group, before one that is like it
        for group in (own, *GROUPS):
            near = difflib.get_close_matches(str(last), GROUPS[group].model_fields, 1, likeness)
            if near:
                entry = [group, 0] if group in LISTS else [group] if group else []
                return f"did you mean {dotted([*(groups if group == own else entry), near[0]])}?"
    return f"known are {', '.join(GROUPS[own].model_fields)}"
