"""Clips timed from outside, prompt in to the last frame on the host."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from zlib import crc32

import torch

from overcrank.pipeline import Pipeline, Stream
from overcrank.runtime import peak_memory_of

OnStep = Callable[[int, int], None]

PROMPTS = (
    "a red ball bounces on a blue floor",
    "a small green cube spins on grass under a blue sky",
    "a large striped yellow cone slides left on sand at sunset",
)
"""In turn; what follows each makes it a text of its own, which no cache knows."""
SLOW = 3.0
"""Seconds; settings that take longer are timed in `SLOW_TURNS` only."""
SLOW_TURNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a clip is made with."""

    frames: int
    height: int
    width: int
    steps: int
    guidance: float | None = None
    """None: the model's own."""
    threads: int = 0
    """0: as many as there are."""
    dtype: str = ""
    """Empty: the one that is used here."""


def own(pipe: Pipeline, **wished: int | None) -> Setting:
    """What the model recommends, but for what is wished: frames, height, width, steps."""
    defaults, advice = pipe.model.defaults, pipe.model.advice
    recommended = Setting(
        frames=defaults.frames,
        height=defaults.height,
        width=defaults.width,
        steps=advice.walk.steps,
    )
    given = {name: value for name, value in wished.items() if value is not None}
    return replace(recommended, **given)  # type: ignore[arg-type]


AXES: dict[str, Sequence[Mapping[str, int | str]]] = {
    "precision": [{"dtype": "float32"}],
    "threads": [{"threads": 1}],
    "window": [{"frames": 9, "steps": 2}, {"frames": 9, "steps": 2, "dtype": "float32"}],
    "steps": [{"steps": count} for count in (1, 2, 4, 8)],
    "size": [{"height": side, "width": side} for side in (128, 256, 384, 512)],
    "frames": [{"frames": count} for count in (17, 49, 121, 241, 481, 1001)],
}
"""What is varied, one thing at a time; the rest is the base's. `window` is a look ahead."""


def settings(base: Setting) -> dict[str, tuple[str, Setting]]:
    """Name -> (axis, setting), the base first; a setting that is the base itself is left out."""
    changed = {
        " ".join(f"{key}={value}" for key, value in change.items()): (
            axis,
            replace(base, **change),  # type: ignore[arg-type]
        )
        for axis, changes in AXES.items()
        for change in changes
    }
    return {"own": ("own", base)} | {
        name: found for name, found in changed.items() if found[1] != base
    }


def clip(
    pipe: Pipeline, setting: Setting, turn: int, on_step: OnStep | None = None
) -> dict[str, float]:
    """Seconds from the call to the last frame, from the last step to the first frame and to the
    first nine, and of each stage."""
    with _threads(setting.threads):
        begin, frames, at = perf_counter(), 0, []
        stream = _stream(pipe, setting, turn, on_step)
        while True:
            try:
                frames += len(next(stream))
                at.append((frames, perf_counter() - begin))
            except StopIteration as end:
                report = end.value.report
                break
        seconds = perf_counter() - begin
    before = sum(value for name, value in report.seconds.items() if name != "decode")
    nine = next(when for count, when in at if count >= min(9, setting.frames))
    return {
        "seconds": seconds,
        "first_frame": at[0][1] - before,
        "first_frames": nine - before,
        "realtime_factor": report.video_seconds / seconds,
        **{f"stage_{name}": value for name, value in report.seconds.items()},
    }


def warm(pipe: Pipeline, setting: Setting) -> int | None:
    """Make the beginning of a clip, in one step: the peak of memory meanwhile, in bytes;
    None where the system does not tell it.

    All that is large is in it: a step, and the largest piece that is decoded at once.
    """

    def beginning() -> None:
        stream = _stream(pipe, replace(setting, steps=1), 0)
        for _ in itertools.islice(stream, 4):
            pass
        stream.close()

    with _threads(setting.threads):
        return peak_memory_of(beginning, pipe.hardware.device)


def _stream(pipe: Pipeline, setting: Setting, turn: int, on_step: OnStep | None = None) -> Stream:
    return pipe.stream(
        f"{PROMPTS[turn % len(PROMPTS)]}, {turn} {crc32(repr(setting).encode()) % 10_000}",
        seed=turn,
        num_frames=setting.frames,
        height=setting.height,
        width=setting.width,
        num_inference_steps=setting.steps,
        guidance=setting.guidance,
        on_step=on_step,
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
