"""A clip that was made for a question, and what looks at it.

Each clip is made once; every measure of a report sees it. So one question costs one generation,
however much is asked of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor

from overcrank.shapes import ClipSize
from overcrank.toybox.bench import BenchItem
from overcrank.toybox.render import render

OnClip = Callable[[int, int], None]
"""Called with (done, total) after each clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a model is asked for: a caption of a benchmark scene, in some wording.

    `wording` names how it is said: "seen" as captions for training are, or another way.
    """

    item: BenchItem
    wording: str
    caption: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What it made: `frames` uint8 (F, H, W, 3), `frame_rate` a second."""

    question: Question
    frames: Tensor
    frame_rate: float

    @property
    def size(self) -> ClipSize:
        """Frames, height and width of the clip."""
        return ClipSize(*self.frames.shape[:3])

    @cached_property
    def true_frames(self) -> Tensor:
        """The scene itself, rendered in the same size: uint8 (F, H, W, 3)."""
        return render(self.question.item.scene, self.size, self.frame_rate)


class Measure(Protocol):
    """Sees clips one after the other, then says what it found, as plain data for JSON."""

    def see(self, shown: Shown) -> None:
        """Take in one clip."""

    def result(self) -> dict[str, Any]:
        """What all clips so far amount to."""
