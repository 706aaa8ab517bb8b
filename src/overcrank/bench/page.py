"""What was measured, as a page of Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HEADS = {
    "steps": ("steps", lambda row: str(row["steps"])),
    "frames": ("frames", lambda row: str(row["frames"])),
    "size": ("size", lambda row: f"{row['width']} x {row['height']}"),
    "threads": ("threads", lambda row: str(row["threads"] or "all")),
}


def page(report: Mapping[str, Any]) -> str:
    """The whole page; `report` is what `overcrank bench --json` prints."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    machine = report["machine"]
    own = next(row for row in report["clips"] if row["axis"] == "own")
    yield "# Speed"
    yield ""
    yield (
        f"`overcrank bench {report['model']}`, {report['date']}: {machine['processor'] or '?'}, "
        f"{machine['threads']} threads, {machine['dtype']}, torch {machine['torch']}. Seconds are "
        "from the prompt to the last frame, timed from outside, warm, medians of "
        f"{own['clips']} clips of each setting in turn. Load of the machine before: "
        f"{report['load'][0]:.1f}, after: {report['load'][1]:.1f}, of which this is a part."
    )
    yield ""
    yield (
        f"**The model's own clip**, {own['width']} x {own['height']}, {own['frames']} frames, "
        f"{own['steps']} steps: {own['seconds']:.2f} s, {own['realtime_factor']:.2f} times faster "
        f"than it plays ({own['slowest']:.2f} to {own['fastest']:.2f}); first frames after "
        f"{own['first_frames']:.2f} s."
    )
    for axis, (head, label) in HEADS.items():
        rows = [own, *(row for row in report["clips"] if row["axis"] == axis)]
        yield from ("", f"## By {head}", "")
        yield from _table(head, label, rows)
    yield from _work(report["work"])
    if report["beside"]:
        yield from _beside(report["beside"])


def _table(head: str, label: Any, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"| {head} | seconds | realtime factor | text | denoise | decode | first frames |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        name = f"{label(row)} (own)" if row["axis"] == "own" else label(row)
        stages = (f"{row[f'stage_{stage}']:.3f}" for stage in ("text", "denoise", "decode"))
        factor = f"{row['realtime_factor']:.2f} ({row['slowest']:.2f} to {row['fastest']:.2f})"
        yield (
            f"| {name} | {row['seconds']:.3f} | {factor} | {' | '.join(stages)} "
            f"| {row['first_frames']:.3f} |"
        )


def _work(work: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## Of the machine's peak", "")
    yield (
        f"Matrices of 1,024 x 1,024 reach {work['peak'] / 1e9:,.0f} GFLOP/s in the same precision, "
        f"measured between the clips, and {work['peak_float32'] / 1e9:,.0f} in float32."
    )
    yield ""
    yield "| | GFLOP | part of the peak that is reached |"
    yield "|---|---|---|"
    for name, operations in work["operations"].items():
        yield f"| {name} | {operations / 1e9:,.1f} | {work['reached'][name]:.0%} |"


def _beside(beside: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## Beside diffusers", "")
    yield "One call of the transformer in the model's own size, with the activation and rotation of"
    yield "the published models, the same random weights and input, in turns, medians."
    yield ""
    yield "| precision | ours | diffusers | times as fast | outputs differ by |"
    yield "|---|---|---|---|---|"
    for name, row in beside.items():
        yield (
            f"| {name} | {row['ours'] * 1e3:.1f} ms | {row['diffusers'] * 1e3:.1f} ms "
            f"| {row['times_as_fast']:.2f} | {row['apart']:.1e} |"
        )
