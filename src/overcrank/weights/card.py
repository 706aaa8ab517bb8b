"""model.json: what a model is called, which text encoder it reads, what it recommends."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from overcrank.errors import ModelError, SizeError
from overcrank.shapes import MAX_FRAMES, MAX_SIDE, ClipSize
from overcrank.text import is_text
from overcrank.weights.files import FORMAT_VERSION, write_atomically

CARD_FILE = "model.json"
VAE_FILE = "vae.safetensors"
TRANSFORMER_FILE = "transformer.safetensors"
STUDENT_FILE = "student.safetensors"
UPSAMPLER_FILE = "upsampler.safetensors"
TEXT_ENCODERS = ("overcrank-small", "t5")

MIN_FRAME_RATE, MAX_FRAME_RATE = 0.1, 1_000.0
MAX_STEPS = 1_000
MAX_GUIDANCE = 100.0
MAX_DECODE_SIGMA = 0.9
"""A decoder can be told of more noise, but nothing would be left of the clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a model recommends where a request says nothing."""

    frames: int
    height: int
    width: int
    frame_rate: float
    steps: int
    guidance: float
    """Classifier-free scale; 1 is none."""
    decode_sigma: float | None
    """Noise level at which the decoder takes over; None where it takes none."""
    negative_prompt: str
    levels: tuple[float, ...] = ()
    """Of a distilled model: the noise level that each step begins with; fresh noise follows it."""
    second: tuple[float, ...] = ()
    """Of a model that makes clips at half the size first, which its upscaler enlarges: the noise
    level that each step of the second pass begins with, the first of them below 1."""
    student: tuple[float, ...] = ()
    """Of a model with a few-step student beside its transformer: the noise level that each of the
    student's steps begins with. It takes the first pass, or the only one, where no guidance is
    asked for; `steps` and `guidance` are then those of clips for which some is."""

    def __post_init__(self) -> None:
        for name, high in (
            ("frames", MAX_FRAMES),
            ("height", MAX_SIDE),
            ("width", MAX_SIDE),
            ("steps", MAX_STEPS),
        ):
            value = getattr(self, name)
            fits = type(value) is int and 1 <= value <= high
            _check(name, value, fits, f"a whole number from 1 to {high}")
        _check_number("frame_rate", self.frame_rate, MIN_FRAME_RATE, MAX_FRAME_RATE)
        _check_number("guidance", self.guidance, 0, MAX_GUIDANCE)
        if self.decode_sigma is not None:
            _check_number("decode_sigma", self.decode_sigma, 0, MAX_DECODE_SIGMA, ", or null")
        text = is_text(self.negative_prompt)
        _check("negative_prompt", self.negative_prompt, text, "a text, which may be empty")
        levels = _fall(self.levels) and len(self.levels) in (0, self.steps)
        _check("levels", self.levels, levels, "one falling number in (0, 1] a step")
        second = _fall(self.second) and 1 not in self.second
        _check("second", self.second, second, "falling numbers between 0 and 1")
        student = _fall(self.student) and not (self.student and self.levels)
        _check("student", self.student, student, "falling numbers in (0, 1], and no levels beside")
        try:
            ClipSize(self.frames, self.height, self.width)
        except SizeError as error:
            raise ModelError(f"the defaults of a model do not fit: {error}") from error

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From JSON, where a tuple is a list."""
        lists = {name: values.get(name, ()) for name in ("levels", "second", "student")}
        levels = {name: tuple(x) if isinstance(x, list) else x for name, x in lists.items()}
        return cls(**{**values, **levels})


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The contents of model.json."""

    name: str
    text_encoder: str | None
    """One of `TEXT_ENCODERS`, or None: prompts come as embeddings."""
    defaults: Defaults

    def __post_init__(self) -> None:
        named = isinstance(self.name, str) and self.name != "" and self.name.isprintable()
        _check("name", self.name, named, "a text of one line that is not empty")
        known = self.text_encoder is None or self.text_encoder in TEXT_ENCODERS
        right = f"{' or '.join(TEXT_ENCODERS)} or null"
        _check("text_encoder", self.text_encoder, known, right)

    def write(self, folder: Path) -> None:
        """Write model.json into the folder, in one step."""
        values = {"format_version": FORMAT_VERSION, **asdict(self)}
        with write_atomically(folder / CARD_FILE) as path:
            path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Card":
        """Read model.json; what is unknown, missing or of the wrong type is refused by name."""
        path = folder / CARD_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            names = ", ".join(sorted(file.name for file in folder.iterdir())[:5])
            found = f"it holds {names} but no {CARD_FILE}" if names else "the folder is empty"
            raise ModelError(
                f"{folder} is not a model: {found}: a model folder has "
                f"{CARD_FILE}, {VAE_FILE} and {TRANSFORMER_FILE}"
            ) from error
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"{path} cannot be read: {error}: it must be a JSON object") from error
        if not isinstance(values, dict):
            raise ModelError(
                f"{path} must be a JSON object, got {type(values).__name__}: right is "
                '{"format_version": 1, "name": ..., "text_encoder": ..., "defaults": {...}}'
            )
        version = values.pop("format_version", None)
        if type(version) is not int or version != FORMAT_VERSION:
            raise ModelError(
                f"{path} has a format this version does not read: got format_version {version!r}, "
                f"right is {FORMAT_VERSION}"
            )
        _same_keys(str(path), values, cls)
        if not isinstance(values["defaults"], dict):
            raise ModelError(
                f"defaults in {path} must be an object, got {values['defaults']!r}: right is "
                '{"frames": ..., "height": ..., "width": ..., and so on}'
            )
        _same_keys(f"defaults in {path}", values["defaults"], Defaults)
        try:
            return cls(
                name=values["name"],
                text_encoder=values["text_encoder"],
                defaults=Defaults.of(values["defaults"]),
            )
        except ModelError as error:
            raise ModelError(f"{path} cannot be used: {error}") from error


def _same_keys(what: str, values: Mapping[str, Any], cls: type[Card] | type[Defaults]) -> None:
    names = {field.name for field in fields(cls)}
    needed = {field.name for field in fields(cls) if field.default is MISSING}
    for problem, keys in (("unknown", set(values) - names), ("missing", needed - set(values))):
        if keys:
            raise ModelError(
                f"{what} has {problem} keys: got {', '.join(sorted(values))}, {problem} "
                f"{', '.join(sorted(keys))}: right are {', '.join(sorted(names))}"
            )


def _fall(levels: Any) -> bool:
    if not isinstance(levels, tuple):
        return False
    numbers = all(type(level) in (int, float) and 0 < level <= 1 for level in levels)
    return numbers and all(a > b for a, b in pairwise(levels))


def _check_number(name: str, value: Any, low: float, high: float, other: str = "") -> None:
    fits = type(value) in (int, float) and low <= value <= high
    _check(name, value, fits, f"a number from {low:g} to {high:g}{other}")


def _check(name: str, value: Any, fits: bool, right: str) -> None:
    if not fits:
        raise ModelError(f"{name} of a model cannot be used, got {value!r}: right is {right}")
