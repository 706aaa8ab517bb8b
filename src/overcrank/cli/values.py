"""What stands on the command line, read and named as its user knows it."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from overcrank.errors import RequestError

FLAGS = {
    "frame_rate": "--fps",
    "guidance": "--guidance-scale",
    "num_frames": "--num-frames",
    "num_inference_steps": "--steps",
}
"""Fields of a request whose flag has another name."""

SETTABLE = {
    "decode_noise": "0.1",
    "decode_sigma": "0.05",
    "image_noise": "0.15",
    "negative_prompt": "blurry",
    "sigmas": "[1.0, 0.75, 0.5, 0.25]",
    "guidance.interval": "[0.0, 1.0]",
    "guidance.project": "true",
    "guidance.rescale": "0.7",
    "guidance.stg_layers": "[1]",
    "guidance.stg_mode": "attention_skip",
    "guidance.stg_scale": "1.0",
}
"""Fields of a request, and of its guidance, without a flag of their own, and a value of each."""

WITH_FLAG = {
    **FLAGS,
    **{name: f"--{name}" for name in ("width", "height", "seconds", "fps", "steps", "seed")},
    **{name: f"--{name}" for name in ("dtype", "image", "model", "output")},
    **{name: f"--{name}" for name in ("enhance", "lora", "passes", "reference", "upscaler", "vae")},
    **dict.fromkeys(("guidance.scale", "guidance_scale"), "--guidance-scale"),
    "allow_mismatch": "--allow-mismatch",
    "text_encoder": "--text-encoder",
}
"""What is no key of `--set` because a flag says it."""


@contextmanager
def naming_flags() -> Iterator[None]:
    """Refusals of a field name its flag as well."""
    flags = {**{name: f"--set {name}" for name in SETTABLE}, **WITH_FLAG}
    names = rf"(?:^|(?<=got ))({'|'.join(map(re.escape, flags))})(?=[ =])"

    def named(found: re.Match[str]) -> str:
        name, flag = found[1], flags[found[1]]
        return flag if flag.endswith(name) else f"{flag} ({name})"

    try:
        yield
    except RequestError as error:
        raise type(error)(re.sub(names, named, str(error))) from error


def read_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`--set` as fields of a request; the values are YAML, but a negative prompt is text as is."""
    import yaml

    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip().replace("-", "_")
        if key in WITH_FLAG:
            raise RequestError(
                f"--set is for what has no flag, got --set {setting}: "
                f"try {WITH_FLAG[key]} {text or 'VALUE'}"
            )
        if not equals or key not in SETTABLE:
            raise RequestError(
                f"--set takes KEY=VALUE, got {setting!r}: the keys are {', '.join(SETTABLE)}; "
                "other wishes have a flag of their own, see --help"
            )
        try:
            values[key] = text if key == "negative_prompt" else yaml.safe_load(text)
        # Some words make YAML stumble over itself instead of refusing them.
        except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise RequestError(
                f"the value of --set {key} cannot be read, got {text[:80]!r}: "
                f"try --set '{key}={SETTABLE[key]}'"
            ) from None
    return values


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
        if Path(path).is_file() and not Path(text).exists():
            raise RequestError(
                f"the weight of a LoRA is a number, got {weight!r} for {path}: try {path}:0.8"
            ) from None
        return text, 1.0
