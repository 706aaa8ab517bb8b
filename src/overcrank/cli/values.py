"""What stands on the command line, read and named as its user knows it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from overcrank.errors import RequestError

FLAGS = {
    "frame_rate": "--fps",
    "guidance": "--guidance-scale",
    "num_frames": "--num-frames",
    "num_inference_steps": "--steps",
}
"""Fields of a request whose flag has another name."""


@contextmanager
def naming_flags() -> Iterator[None]:
    """Refusals of a field name its flag as well."""
    try:
        yield
    except RequestError as error:
        names = rf"(?:^|(?<=got ))({'|'.join(FLAGS)})(?=[ =])"
        message = re.sub(names, lambda found: f"{FLAGS[found[1]]} ({found[1]})", str(error))
        raise type(error)(message) from error


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"got {text!r}: try a whole number") from error


def number(text: str) -> float:
    """Any number."""
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"got {text!r}: try a number") from error


def weighted(text: str) -> tuple[str, float]:
    """`PATH:WEIGHT`, or a path alone, whose weight is 1."""
    path, _, weight = text.rpartition(":")
    try:
        return (path, float(weight)) if path else (text, 1.0)
    except ValueError:
        return text, 1.0
