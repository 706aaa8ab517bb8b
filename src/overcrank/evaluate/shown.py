"""A clip that was made for a question, and what looks at it.

Each clip is made once; every measure of a report sees it. So one question costs one generation,
however much is asked of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor

from overcrank.errors import RequestError
from overcrank.shapes import ClipSize
from overcrank.toybox.bench import BenchItem, bench
from overcrank.toybox.render import render
from overcrank.toybox.wording import Fact, tell

_TURNS = (("seen", 0), ("paraphrase", 0), ("seen", 1), ("unseen words", 0))
"""Wordings and variants of captions, in turn."""

OnClip = Callable[[int, int], None]
"""Called with (done, total) after each clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a model is asked for: a caption of a benchmark scene, in some wording.

    `wording` names how it is said: "seen" as captions for training are, or another way. `facts`
    are what the caption names, and so what a clip can be held to.
    """

    item: BenchItem
    wording: str
    caption: str
    seed: int
    facts: tuple[Fact, ...] = ()


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

    @property
    def scene_key(self) -> tuple[int, ClipSize, float]:
        """Of its true clip: a report counts that once, however often its scene is asked for."""
        return self.question.item.index, self.size, self.frame_rate

    @cached_property
    def true_frames(self) -> Tensor:
        """The scene itself, rendered in the same size: uint8 (F, H, W, 3)."""
        return render(self.question.item.scene, self.size, self.frame_rate)


def questions(count: int) -> list[Question]:
    """The first `count` of 2,048: bench-v1 four times over, one actor and two in turn.

    Of each four, two are in the seen wording, one is a paraphrase and one has unseen words; each
    item comes once in each of them, and once more in a seen caption that is not the item's own.
    """
    items = bench()
    half = len(items) // 2
    if not 1 <= count <= len(items) * len(_TURNS):
        raise RequestError(
            f"questions are counted from 1 to {len(items) * len(_TURNS)}, got {count}: "
            "choose how many to ask"
        )
    asked = []
    for number in range(count):
        lap, place = divmod(number, len(items))
        item = items[place // 2 + half * (place % 2)]
        wording, variant = _TURNS[(place // 2 + lap) % len(_TURNS)]
        asked.append(ask(item, wording, variant, seed=item.seed + lap * len(items)))
    return asked


def ask(
    item: BenchItem, wording: str = "seen", variant: int = 0, *, seed: int | None = None
) -> Question:
    """For an item: its own caption, or another; its own seed, or another."""
    told = tell(item.scene, wording, variant)
    return Question(
        item=item,
        wording=wording,
        caption=told.caption,
        seed=item.seed if seed is None else seed,
        facts=told.facts,
    )


class Measure(Protocol):
    """Sees clips one after the other, then says what it found, as plain data for JSON."""

    def see(self, shown: Shown) -> None:
        """Take in one clip."""

    def result(self) -> dict[str, Any]:
        """What all clips so far amount to."""
