"""What a clip costs, and what quality it buys."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from overcrank.evaluate.adherence import ALL_OF, Ledger, match
from overcrank.evaluate.shown import OnClip, Question
from overcrank.evaluate.suites import Setting, Studio
from overcrank.metrics import mean_of
from overcrank.runtime import peak_memory
from overcrank.shapes import ClipSize
from overcrank.toybox.bench import BenchItem
from overcrank.toybox.recogniser import Recogniser

STEPS = (2, 4, 8)
"""In the plot of quality and speed, beside the model's own."""


def speed(studio: Studio, items: Sequence[BenchItem], on_clip: OnClip) -> dict[str, Any]:
    """Seconds of each stage and the realtime factor of warm clips in the model's own size.

    The first clip warms up and does not count. Memory is the peak of the whole process.
    """
    studio.make(items[0].caption, items[0].seed)
    stages: dict[str, list[float]] = {}
    factors = []
    for number, item in enumerate(items):
        report = studio.make(item.caption, item.seed).report
        for name, seconds in report.seconds.items():
            stages.setdefault(name, []).append(seconds)
        factors.append(report.realtime_factor)
        on_clip(number + 1, len(items))
    size = studio.own_size
    return {
        "clips": len(items),
        "size": {"frames": size.frames, "height": size.height, "width": size.width},
        "realtime_factor": {
            **mean_of(factors),
            "median": median(factors),
            "slowest": min(factors),
            "fastest": max(factors),
        },
        "seconds": {name: median(values) for name, values in stages.items()},
        "peak_memory": peak_memory(studio.pipe.hardware),
    }


def trade(
    studio: Studio, recogniser: Recogniser, asked: Sequence[Question], on_clip: OnClip
) -> list[dict[str, Any]]:
    """How often clips show all that is asked at once, and the realtime factor, in some settings:
    one point of the plot each. All captions are about one actor."""
    whole = studio.own_size
    half = ClipSize(whole.frames, _half(whole.height), _half(whole.width))
    settings = [(whole, setting) for setting in settings_of(studio)] + [(half, studio.setting)]
    points = []
    for place, (size, setting) in enumerate(settings):
        found, factors = Ledger(), []
        other = Studio(studio.pipe, setting)
        for number, question in enumerate(asked):
            video = other.make(question.caption, question.seed, size)
            reading = recogniser.read(video.frames, video.frame_rate)
            found.add(question, match(question, reading))
            factors.append(video.report.realtime_factor)
            on_clip(place * len(asked) + number + 1, len(settings) * len(asked))
        points.append(
            {
                **setting.to_dict(),
                "width": size.width,
                "height": size.height,
                "frames": size.frames,
                "realtime_factor": median(factors),
                "all_facts": found.table()[ALL_OF[1]],
            }
        )
    return points


def settings_of(studio: Studio) -> list[Setting]:
    """The own one; then fewer and more steps, with the own guidance and without. No two of them
    are the same, also where None is the model's own number."""
    own, advice = studio.setting, studio.pipe.model.advice
    scale = getattr(advice.walk.guidance, "scale", None)  # a schedule of guidance has many
    found: dict[tuple[int, float | None], Setting] = {}
    others = [
        replace(own, steps=steps, guidance=guidance)
        for steps in STEPS
        for guidance in (own.guidance, 1.0)
    ]
    for each in (own, *others):
        steps = advice.walk.steps if each.steps is None else each.steps
        guidance = scale if each.guidance is None else each.guidance
        found.setdefault((steps, guidance), each)
    return list(found.values())


def _half(side: int) -> int:
    return max(32, side // 2 // 32 * 32)
