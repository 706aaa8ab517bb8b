"""Clips timed from outside, prompt in to frames on the host, in settings that take turns.

The machine may be busy with other things: every round makes one clip of each setting, so that what
disturbs one disturbs all, and medians are told with their spread.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any

import torch

from overcrank.pipeline import Pipeline

PROMPTS = (
    "a red ball bounces on a blue floor",
    "a small green cube spins on grass under a blue sky",
    "a large striped yellow cone slides left on sand at sunset",
)
"""In turn; what follows each makes it a text of its own, which no cache knows."""

OnClip = Callable[[int, int], None]
"""Called with (done, total) after each clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a clip is made with; `threads` 0 is as many as there are."""

    frames: int
    height: int
    width: int
    steps: int
    threads: int = 0


def own(pipe: Pipeline) -> Setting:
    """What the model recommends."""
    defaults = pipe.model.defaults
    steps = len(defaults.levels) or defaults.steps
    return Setting(
        frames=defaults.frames, height=defaults.height, width=defaults.width, steps=steps
    )


AXES: dict[str, Sequence[dict[str, int]]] = {
    "steps": [{"steps": count} for count in (1, 2, 4, 8)],
    "frames": [{"frames": count} for count in (9, 17, 49, 121, 241, 481)],
    "size": [{"height": side, "width": side} for side in (128, 192, 256, 384)],
    "threads": [{"threads": 1}],
}
"""What is varied, one thing at a time; the rest is the model's own."""


def sweep(pipe: Pipeline, rounds: int, on_clip: OnClip) -> list[dict[str, Any]]:
    """Every setting of `AXES` once in each round, after one that warms up: by axis, its setting and
    the medians, slowest and fastest of what it took."""
    base = own(pipe)
    settings = [("own", base)] + [
        (axis, replace(base, **change)) for axis, changes in AXES.items() for change in changes
    ]
    times: list[list[dict[str, float]]] = [[] for _ in settings]
    total = (rounds + 1) * len(settings)
    for turn in range(rounds + 1):
        for place, (_, setting) in enumerate(settings):
            taken = clip(pipe, setting, turn)
            if turn:
                times[place].append(taken)
            on_clip(turn * len(settings) + place + 1, total)
    return [
        {"axis": axis, **asdict(setting), **summary(taken)}
        for (axis, setting), taken in zip(settings, times, strict=True)
    ]


def clip(pipe: Pipeline, setting: Setting, turn: int) -> dict[str, float]:
    """Seconds from the call to the last frame, to the first frames, and of each stage."""
    with _threads(setting.threads):
        begin, first = perf_counter(), 0.0
        stream = pipe.stream(
            f"{PROMPTS[turn % len(PROMPTS)]}, {turn} {setting.steps} {setting.frames}",
            seed=turn,
            num_frames=setting.frames,
            height=setting.height,
            width=setting.width,
            num_inference_steps=setting.steps,
        )
        while True:
            try:
                next(stream)
            except StopIteration as end:
                report = end.value.report
                break
            first = first or perf_counter() - begin
        seconds = perf_counter() - begin
    return {
        "seconds": seconds,
        "first_frames": first,
        "realtime_factor": report.video_seconds / seconds,
        **{f"stage_{name}": value for name, value in report.seconds.items()},
    }


def summary(taken: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Medians; and of the realtime factor the slowest and the fastest."""
    factors = [each["realtime_factor"] for each in taken]
    medians = {name: median(each[name] for each in taken) for name in taken[0]}
    return {**medians, "slowest": min(factors), "fastest": max(factors), "clips": len(taken)}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
