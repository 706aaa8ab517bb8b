"""How much a report measures, and how a model is run for it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from overcrank.errors import RequestError
from overcrank.evaluate.vae_report import as_frames, trip
from overcrank.pipeline import Pipeline
from overcrank.request import Request
from overcrank.shapes import ClipSize
from overcrank.video import Video


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Numbers of clips. Questions are asked at `size`; None: the size that the model recommends,
    in which everything else is measured."""

    name: str
    questions: int
    size: ClipSize | None
    random: int
    """Questions that a model of random weights is asked, too."""
    pictures: int
    """Clips that begin with a given picture, and as many that are continued."""
    round_trips: int
    speed: int
    trade: int
    """Clips of each setting in the plot of quality and speed."""


QUICK = Suite(
    name="quick",
    questions=256,
    size=ClipSize(49, 128, 128),
    random=32,
    pictures=16,
    round_trips=48,
    speed=16,
    trade=16,
)
FULL = Suite(
    name="full",
    questions=2048,
    size=None,
    random=256,
    pictures=128,
    round_trips=384,
    speed=32,
    trade=96,
)
SUITES = {suite.name: suite for suite in (QUICK, FULL)}


def chosen(name: str, most: int | None = None) -> Suite:
    """A suite by its name, with at most so many clips of each kind."""
    if name not in SUITES:
        raise RequestError(f"a suite is {' or '.join(SUITES)}, got {name!r}: try quick")
    if most is None:
        return SUITES[name]
    if most < 1:
        raise RequestError(f"items are at least 1, got {most}: choose how many to measure")
    suite = SUITES[name]
    counts = ("questions", "random", "pictures", "round_trips", "speed", "trade")
    return replace(suite, **{count: min(most, getattr(suite, count)) for count in counts})


_SETTING = re.compile(r"(.*?)(?::(\d+)(?::(\d+(?:\.\d+)?))?)?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A model, and how it is run: what is None is left to the model's recommendation."""

    model: str
    steps: int | None = None
    guidance: float | None = None

    @classmethod
    def read(cls, text: str) -> "Setting":
        """Of MODEL, MODEL:STEPS or MODEL:STEPS:GUIDANCE."""
        found = _SETTING.fullmatch(text)
        assert found is not None  # any text is at least a model's name
        model, steps, guidance = found.groups()
        return cls(
            model=model,
            steps=None if steps is None else int(steps),
            guidance=None if guidance is None else float(guidance),
        )

    def check(self) -> None:
        """RequestError if no clip could be made with it."""
        Request(prompt="any", num_inference_steps=self.steps, guidance=self.guidance)

    def to_dict(self) -> dict[str, Any]:
        """steps and guidance; None is the model's own."""
        return {"steps": self.steps, "guidance": self.guidance}


class Studio:
    """A pipeline that makes clips in one setting, and what a report needs of its model."""

    def __init__(self, pipe: Pipeline, setting: Setting) -> None:
        self.pipe, self.setting = pipe, setting

    @property
    def own_size(self) -> ClipSize:
        """The size that the model recommends."""
        defaults = self.pipe.model.defaults
        return ClipSize(defaults.frames, defaults.height, defaults.width)

    @property
    def frame_rate(self) -> float:
        """The one that the model recommends."""
        return self.pipe.model.defaults.frame_rate

    def make(
        self, prompt: str, seed: int, size: ClipSize | None = None, conditions: Sequence[Any] = ()
    ) -> Video:
        """A clip, `size` None in the model's own."""
        size = size or self.own_size
        return self.pipe.generate(
            Request(
                prompt=prompt,
                seed=seed,
                num_frames=size.frames,
                height=size.height,
                width=size.width,
                conditions=conditions,
                num_inference_steps=self.setting.steps,
                guidance=self.setting.guidance,
            )
        )

    def round_trip(self, frames: Tensor) -> Tensor:
        """Frames through the model's VAE: uint8 (F, H, W, 3) in and out."""
        return as_frames(trip(self.pipe, frames).output_BCFHW)
