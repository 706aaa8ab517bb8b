"""What the groups of a run's keys are made of."""

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator

from overcrank.errors import RequestError
from overcrank.shapes import ClipSize

Share = Annotated[float, Field(ge=0, lt=1)]
"""A number in [0, 1)."""


def _no_yes_or_no(given: Any) -> Any:
    """YAML's true is a 1 to Python."""
    if isinstance(given, bool):
        raise RequestError(f"a whole number is asked for, got {str(given).lower()}: try 100")
    return given


Step = Annotated[int, BeforeValidator(_no_yes_or_no), Field(ge=0, le=10**9)]
Count = Annotated[int, BeforeValidator(_no_yes_or_no), Field(ge=1, le=10**9)]


LARGEST = 8192


def _pixels(given: Any) -> int | str:
    """128 or "768x512"; a square is a number."""
    sides = re.fullmatch(r"\s*(\d{1,5})\s*x\s*(\d{1,5})\s*", str(given).lower())
    if isinstance(given, int) and not isinstance(given, bool):
        width = height = given
    elif sides:
        width, height = int(sides[1]), int(sides[2])
    else:
        width = height = 0
    if not (1 <= width <= LARGEST and 1 <= height <= LARGEST):
        raise RequestError(
            f"a size is a side of a square or WIDTHxHEIGHT, 1 to {LARGEST}, got {given}: "
            "try 128 or 768x512"
        )
    return width if width == height else f"{width}x{height}"


Pixels = Annotated[int | str, PlainValidator(_pixels)]
"""The side of a square, or width x height as in 768x512."""


class Strict(BaseModel):
    """No unknown keys, no infinite numbers, no changes after reading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Shaped(Strict):
    """A group of keys with the size of a clip."""

    frames: int = Field(ge=1, le=8193, examples=[17])
    """8n + 1 of them; 1 is a picture."""
    size: Pixels = Field(examples=[128])
    """Pixels: the side of a square, or WIDTHxHEIGHT, multiples of 32."""

    @property
    def clip(self) -> ClipSize:
        """The size as the networks know it."""
        width, _, height = str(self.size).partition("x")
        return ClipSize(self.frames, int(height or width), int(width))

    @property
    def pixels(self) -> int:
        """Of all frames of a clip."""
        return self.frames * self.clip.height * self.clip.width

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        _ = self.clip
        return self
