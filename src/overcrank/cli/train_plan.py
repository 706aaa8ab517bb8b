"""The plan of a run on the terminal: what `overcrank train --dry-run` prints."""

from collections.abc import Iterator

import yaml

from overcrank.train.plan import RunPlan

MEMORY = ("weights", "average", "optimiser", "gradients", "activations")


def lines(plan: RunPlan) -> Iterator[str]:
    """The configuration, what it trains, what that takes."""
    yield yaml.safe_dump(plan.config.model_dump(mode="json"), sort_keys=False)
    yield from _table("parameters", [("part", "trained", "frozen"), *_parts(plan)])
    yield from _table("memory", _memory(plan))
    yield from _table("steps", [_STAGE, *_stages(plan)])
    yield (
        f"time        {duration(plan.seconds)} for {steps(plan.config.steps)} on {plan.device} in "
        f"{plan.precision}, from {plan.timed_by}"
    )
    yield "            without what is done besides: making latents, measuring, saving"
    for remark in plan.remarks:
        yield f"note        {remark}"


def duration(seconds: float) -> str:
    """In the two largest units: 3 h 20 min."""
    left, words = round(seconds), list[str]()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= length or (unit == "s" and not words):
            words.append(f"{left // length} {unit}")
            left %= length
    return " ".join(words[:2])


def steps(count: int) -> str:
    """1 step, 2,000 steps."""
    return f"{count:,} step{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """Bytes in words: 2.3 GB."""
    for unit, large in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= large:
            return f"{count / large:.3g} {unit}"
    return f"{count:.0f} B"


def _parts(plan: RunPlan) -> Iterator[tuple[str, str, str]]:
    for part in plan.parts:
        yield part.name, f"{part.trained:,}", f"{part.frozen:,}"
    trained, frozen = (sum(getattr(p, key) for p in plan.parts) for key in ("trained", "frozen"))
    yield "all", f"{trained:,}", f"{frozen:,}"


def _memory(plan: RunPlan) -> Iterator[tuple[str, str]]:
    for name in MEMORY:
        yield name, size(getattr(plan.memory, name))
    free = "" if plan.free is None else f" of {size(plan.free)} that are free"
    yield "all", f"{size(plan.memory.total)}{free}"


_STAGE = ("from step", "steps", "clips", "frames", "pixels", "tokens", "s/step", "clips/s")


def _stages(plan: RunPlan) -> Iterator[tuple[str, ...]]:
    for stage in plan.stages:
        counts = (stage.first, stage.steps, stage.batch, stage.frames)
        yield (
            *(f"{count:,}" for count in counts),
            str(stage.size),
            f"{stage.tokens:,}",
            f"{stage.seconds:.3g}",
            f"{stage.samples_per_second:.3g}",
        )


def _table(title: str, rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> Iterator[str]:
    """Rows under each other: words to the left, numbers to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        words = [
            word.ljust(width) if column == 0 and row[0][:1].isalpha() else word.rjust(width)
            for column, (word, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"{'' if number else title:12}{'  '.join(words)}".rstrip()
    yield ""
