"""What the groups of a run's keys are made of."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from overcrank.shapes import ClipSize

Share = Annotated[float, Field(ge=0, lt=1)]
"""A number in [0, 1)."""
Step = Annotated[int, Field(ge=0, le=10**9)]
Count = Annotated[int, Field(ge=1, le=10**9)]


class Strict(BaseModel):
    """No unknown keys, no infinite numbers, no changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Shaped(Strict):
    """A group of keys with the size of a clip."""

    frames: int = Field(ge=1, le=8193)
    size: int = Field(ge=1, le=8192)

    @property
    def clip(self) -> ClipSize:
        """The size as the networks know it."""
        return ClipSize(self.frames, self.size, self.size)

    @property
    def pixels(self) -> int:
        """Of all frames of a clip."""
        return self.frames * self.size**2

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        _ = self.clip
        return self
