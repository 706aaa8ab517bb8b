"""The clips that a run makes of its own network, to look at."""

from typing import Annotated

from pydantic import Field

from overcrank.train.config.base import Count, Pixels, Strict
from overcrank.weights.card import MAX_FRAME_RATE, MAX_GUIDANCE, MAX_STEPS, MIN_FRAME_RATE


class Samples(Strict):
    """Clips made before the first step and while the run goes on, always from the same noise."""

    every: Count | None = None
    """Steps from one look to the next, a multiple of `save_every`, which it is if not given."""
    prompts: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, max_length=16, examples=["[a red ball bounces on a blue floor]"]
    )
    """A clip is made of each."""
    frames: int | None = Field(default=None, ge=1, le=8193)
    """No more than a stage has; if not given, as the smallest stage at the run's end."""
    size: Pixels | None = None
    """No larger than a stage; if not given, that of the smallest stage at the run's end."""
    image: str | None = None
    """A picture that all of them begin with."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of the noise, always the same."""
    steps: int = Field(default=20, ge=1, le=MAX_STEPS)
    """Denoising steps; a few-step student takes its own."""
    guidance: float = Field(default=3.0, ge=0, le=MAX_GUIDANCE)
    """How strictly the text counts; 1 is without."""
    frame_rate: float = Field(default=24.0, ge=MIN_FRAME_RATE, le=MAX_FRAME_RATE)
    """Frames a second."""
