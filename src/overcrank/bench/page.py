"""What was measured, as a page of Markdown with pictures beside it."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from overcrank.bench.chart import chart
from overcrank.bench.clips import Setting, settings
from overcrank.bench.growth import exponent

STAGES = ("text", "denoise", "decode")
HEADS = {
    "steps": "steps",
    "size": "pixels",
    "frames": "frames",
    "threads": "threads",
}
Row = dict[str, Any]


def rows(data: Mapping[str, Any]) -> list[Row]:
    """Each setting that was timed, the base first: its axis, its values, medians of its samples,
    and the slowest and the fastest realtime factor."""
    samples, found = data["samples"], []
    base = Setting(**data["about"]["base"])
    for name, (axis, setting) in settings(base).items():
        taken = samples.get(name)
        if not taken:
            continue
        factors = [each["realtime_factor"] for each in taken]
        found.append(
            {
                "axis": axis,
                "setting": setting,
                **{key: median(each[key] for each in taken) for key in taken[0]},
                "slowest": min(factors),
                "fastest": max(factors),
                "clips": len(taken),
                "memory": samples.get(f"memory {name}", [None])[0],
            }
        )
    return found


def pictures(data: Mapping[str, Any]) -> dict[str, str]:
    """File name -> SVG: seconds and memory over frames and over pixels."""
    drawn = {}
    for axis, title, across in (
        ("frames", "Longer clips", "frames"),
        ("size", "Larger clips", "pixels of a frame"),
    ):
        points = _growing(rows(data), axis)
        if len(points) > 1:
            lines = [("seconds", [(x, row["seconds"]) for x, row in points])]
            if all(row["memory"] for _, row in points):
                lines.append(("memory, GB", [(x, row["memory"] / 1e9) for x, row in points]))
            drawn[f"speed-{axis}.svg"] = chart(title, across, lines)
    return drawn


def page(data: Mapping[str, Any], folder: str) -> str:
    """The whole page; `folder` is where its pictures are, seen from it."""
    return "\n".join(_lines(data, folder)) + "\n"


def _lines(data: Mapping[str, Any], folder: str) -> Iterator[str]:
    about, found = data["about"], rows(data)
    machine, own = about["machine"], found[0]
    setting = own["setting"]
    yield "# Speed"
    yield ""
    yield (
        f"Made by `{about['command']}` on {machine['processor'] or 'a processor without a name'}, "
        f"{machine['threads']} threads, torch {machine['torch']}, overcrank {about['overcrank']}. "
        f"Seconds are from the prompt to the last frame on the host, timed from outside, warm; "
        "medians, with the slowest and the fastest. All settings take turns, so that what disturbs "
        f"one disturbs all. Unless a row says otherwise: {setting.width} x {setting.height}, "
        f"{setting.frames} frames, {setting.steps} steps, "
        f"{'its own guidance' if setting.guidance is None else f'guidance {setting.guidance:g}'}, "
        f"{machine['dtype']}, weights `{about['weights']}`."
    )
    yield from ("", "| | " + " | ".join(_dtype(row, machine) for row in _both(found)) + " |")
    yield "|---" * (1 + len(_both(found))) + "|"
    yield from _summary(data, found)
    yield from _goes(data, found)
    yield from _work(data, found)
    for axis, head in HEADS.items():
        yield from _axis(found, axis, head, folder)
    yield from _beside(data["samples"].get("beside", []))
    yield from ("", "## When", "")
    for session in data["sessions"]:
        load = "load of the machine {:.1f} before, {:.1f} after, of which this is a part"
        yield f"* {session['date']}: {load.format(*session['load'])}"


def _both(found: Sequence[Row]) -> list[Row]:
    """The base in each precision."""
    return [row for row in found if row["axis"] in ("own", "precision")]


def _dtype(row: Row, machine: Mapping[str, Any]) -> str:
    return str(row["setting"].dtype or machine["dtype"])


def _summary(data: Mapping[str, Any], found: Sequence[Row]) -> Iterator[str]:
    both, machine = _both(found), data["about"]["machine"]
    windows = [row for row in found if row["axis"] == "window"]

    def line(name: str, cells: Sequence[str]) -> str:
        return f"| {name} | {' | '.join(cells)} |"

    yield line(
        "realtime factor",
        [
            f"**{r['realtime_factor']:.2f}** ({r['slowest']:.2f} to {r['fastest']:.2f}, "
            f"{r['clips']} clips)"
            for r in both
        ],
    )
    yield line("seconds", [f"{row['seconds']:.3f}" for row in both])
    for name, key in (("first frame", "first_frame"), ("first 9 frames", "first_frames")):
        yield line(f"{name} after the last step", [f"{row[key] * 1e3:.0f} ms" for row in both])
    by_dtype = {_dtype(row, machine): row for row in windows}
    cells = [by_dtype.get(_dtype(row, machine)) for row in both]
    yield line(
        "9 frames in 2 steps, from the prompt",
        ["" if row is None else f"{row['seconds'] * 1e3:.0f} ms" for row in cells],
    )
    for part in ("denoise", "clip"):
        shares = [_share(data, row, part, "float32") for row in both]
        yield line(
            f"of the float32 peak, {'while denoising' if part == 'denoise' else 'whole clip'}",
            [f"{share:.0%}" for share in shares],
        )
    yield line("peak of memory", [_gigabytes(row["memory"]) for row in both])


def _share(data: Mapping[str, Any], row: Row, part: str, dtype: str) -> float:
    """Operations / (seconds x peak)."""
    seconds = row["seconds"] if part == "clip" else row[f"stage_{part}"]
    peak = median(data["samples"][f"peak {dtype}"])
    return float(data["samples"]["operations"][0][part] / seconds / peak)


def _gigabytes(memory: int | None) -> str:
    return "not known" if memory is None else f"{memory / 1e9:.2f} GB"


def _goes(data: Mapping[str, Any], found: Sequence[Row]) -> Iterator[str]:
    """Where each millisecond goes."""
    both, machine = _both(found), data["about"]["machine"]
    yield from ("", "## Where each millisecond goes", "")
    yield "| | " + " | ".join(f"{_dtype(row, machine)}, ms" for row in both) + " |"
    yield "|---" * (1 + len(both)) + "|"
    for stage in STAGES:
        yield f"| {stage} | " + " | ".join(f"{r[f'stage_{stage}'] * 1e3:.0f}" for r in both) + " |"
    watched = [
        found[0]
        for row in both
        if (found := data["samples"].get(f"kinds {row['setting'].dtype}".strip()))
    ]
    if len(watched) < len(both):
        return
    yield from ("", "The same by kind of operation, of one clip that torch's profiler watches:", "")
    yield "| | " + " | ".join(f"{_dtype(row, machine)}, ms" for row in both) + " |"
    yield "|---" * (1 + len(both)) + "|"
    for kind in watched[0]:
        yield f"| {kind} | " + " | ".join(f"{each[kind] * 1e3:.0f}" for each in watched) + " |"


def _work(data: Mapping[str, Any], found: Sequence[Row]) -> Iterator[str]:
    counted, machine = data["samples"]["operations"][0], data["about"]["machine"]
    yield from ("", "## Of the machine's peak", "")
    peaks = [
        f"{median(values) / 1e9:,.0f} GFLOP/s in {name.removeprefix('peak ')}"
        for name, values in data["samples"].items()
        if name.startswith("peak ")
    ]
    yield (
        f"Products of large square matrices reach {' and '.join(peaks)}, measured in every turn. "
        "Counted are matrices, convolutions and attention."
    )
    yield ""
    heads = [_dtype(row, machine) for row in _both(found)]
    yield "| | GFLOP | " + " | ".join(f"of the {head} peak, in {head}" for head in heads) + " |"
    yield "|---" * (2 + len(heads)) + "|"
    for part, operations in counted.items():
        shares = [_share(data, row, part, _dtype(row, machine)) for row in _both(found)]
        cells = " | ".join(f"{share:.0%}" for share in shares)
        yield f"| {part} | {operations / 1e9:,.1f} | {cells} |"


def _axis(found: Sequence[Row], axis: str, head: str, folder: str) -> Iterator[str]:
    points = _growing(found, axis)
    if len(points) < 2:
        return
    yield from ("", f"## By {head}", "")
    yield f"| {head} | seconds | realtime factor | {' | '.join(STAGES)} | memory | clips |"
    yield "|---" * (5 + len(STAGES)) + "|"
    for _, row in points:
        setting = row["setting"]
        name = {
            "size": f"{setting.width} x {setting.height}",
            "threads": str(setting.threads or "all"),
        }.get(axis, str(getattr(setting, axis, "")))
        stages = " | ".join(f"{row[f'stage_{stage}']:.3f}" for stage in STAGES)
        factor = f"{row['realtime_factor']:.2f} ({row['slowest']:.2f} to {row['fastest']:.2f})"
        yield (
            f"| {name} | {row['seconds']:.3f} | {factor} | {stages} "
            f"| {_gigabytes(row['memory'])} | {row['clips']} |"
        )
    grown = exponent([(x, row["seconds"]) for x, row in points])
    if axis not in ("frames", "size") or grown is None:
        return
    parts = [f"seconds grow with the power {grown:.2f} of the {head}"]
    for stage in ("denoise", "decode"):
        power = exponent([(x, row[f"stage_{stage}"]) for x, row in points])
        parts.append(f"{stage} {power:.2f}")
    if all(row["memory"] for _, row in points):
        power = exponent([(x, row["memory"]) for x, row in points])
        parts.append(f"memory, of which a part is there from the start, {power:.2f}")
    yield from ("", f"Fitted: {', '.join(parts)}.", "")
    yield f"![seconds and memory over {head}]({folder}/speed-{axis}.svg)"


def _growing(found: Sequence[Row], axis: str) -> list[tuple[float, Row]]:
    """The base among the rows of an axis, by what is varied."""

    def place(row: Row) -> float:
        setting = row["setting"]
        if axis == "size":
            return float(setting.width * setting.height)
        return float(getattr(setting, axis, 0)) or float("inf")

    mine = [(place(row), row) for row in found if row["axis"] in ("own", axis)]
    return sorted(mine, key=lambda each: each[0])


def _beside(taken: Sequence[Mapping[str, Any] | None]) -> Iterator[str]:
    calls = [each for each in taken if each]
    if not calls:
        return
    yield from ("", "## Beside diffusers", "")
    yield "One call of the transformer at the size above, with the activation and rotation of the"
    yield "published models, the same random weights and input, in turns, medians."
    yield ""
    yield "| precision | ours | diffusers | times as fast | outputs differ by |"
    yield "|---|---|---|---|---|"
    for dtype in calls[0]:
        ours, theirs = (median(each[dtype][who] for each in calls) for who in ("ours", "diffusers"))
        ratios = [each[dtype]["diffusers"] / each[dtype]["ours"] for each in calls]
        yield (
            f"| {dtype} | {ours * 1e3:.1f} ms | {theirs * 1e3:.1f} ms | {median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | {calls[0][dtype]['apart']:.1e} |"
        )
