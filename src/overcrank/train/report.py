"""The page of a run: one HTML file that needs nothing beside it.

It is made of what the run left in its folder: config.yaml, metrics.jsonl, clips and contact sheets.
"""

import json
import platform
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import torch
import yaml

from overcrank import __version__
from overcrank.pages import (
    Curve,
    Points,
    embedded,
    figure,
    page,
    picture,
    section,
    short,
    smooth,
    tiles,
)
from overcrank.runtime import processor
from overcrank.train.config.run import title as title_of
from overcrank.train.health import Band, reference
from overcrank.train.pictures import SAMPLES
from overcrank.weights.files import write_atomically

FILE = "report.html"
MOST_BYTES = 12_000_000
"""Of clips and pictures in a page; what is newest goes in first."""
USUAL = "areas: reference runs of the preset, with other seeds"
MOST_SHEETS, MOST_CLIPS = 3, 6
"""Contact sheets, and steps of which clips are shown."""
_FIRST = ("loss", "norm", "lr", "seconds")
_TITLES = {
    "loss": "Training loss",
    "norm": "Norm of the gradient",
    "lr": "Learning rate",
    "seconds": "Seconds per step",
    "psnr": "Decibels in training",
    "low": "Training loss below noise level 0.5",
    "given": "Training loss of clips that are given frames",
}

Lines = list[dict[str, Any]]


def write_report(folder: Path, device: str) -> None:
    """Write report.html into a run's folder, in one step. Raises OSError."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    lines = _read(folder / "metrics.jsonl")
    title = f"{folder.resolve().name}: {title_of(config)}"
    pictures = "".join([*_clips(folder, config), *_sheets(folder)])
    main = (
        f"{pictures}{section('Curves', _curves(lines, reference(config)))}{_about(config, device)}"
    )
    content = page(title, _tiles(config, lines), main)
    with write_atomically(folder / FILE) as temporary:
        temporary.write_text(content, encoding="utf-8")


def _read(log: Path) -> Lines:
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text().splitlines()]


def _points(lines: Lines) -> dict[str, Points]:
    """By the names of the numbers, in the order in which they come up."""
    points: dict[str, Points] = defaultdict(list)
    for line in lines:
        for name, value in line.items():
            if name != "step":
                points[name].append((line["step"], value))
    return points


def _curves(lines: Lines, bands: Mapping[str, Band]) -> str:
    points = _points(lines)
    held_out = {name: points.pop(name) for name in list(points) if name.startswith("held_out")}
    charts = [_training("loss", points.get("loss", []))]
    charts += _held_out(held_out, bands)
    charts += [_training(name, points.get(name, [])) for name in _FIRST[1:]]
    charts += [_training(name, points[name]) for name in points if name not in _FIRST]
    return f'<div class="charts">{"".join(charts)}</div>' if lines else "<p>No step yet.</p>"


def _training(name: str, points: Points) -> str:
    """What every step has: where it jumps, smoothed over what it is."""
    title = _TITLES.get(name, name)
    if name in ("lr", "seconds"):
        return figure(title, [Curve(name, points)], log=name != "lr")
    averaged = Curve(name, smooth(points))
    return figure(title, [Curve(name, points, faint=True), averaged], "smoothed")


def _held_out(points: dict[str, Points], bands: Mapping[str, Band]) -> Iterator[str]:
    """One chart for each size, with a curve for each noise level; one for each other number."""
    by_size: dict[str, list[tuple[float, Curve]]] = defaultdict(list)
    for name, values in points.items():
        usual = bands[name].points if name in bands else ()
        level = re.fullmatch(r"held_out_(?:(.+)_)?([01]\.\d+)", name)
        if level:
            curve = Curve(f"{float(level[2]):g}", values, band=usual)
            by_size[level[1] or ""].append((float(level[2]), curve))
        else:
            title = name.replace("_", " ").capitalize()
            alone = Curve(name, values, band=usual)
            yield figure(title, [alone], USUAL if _has_area([alone]) else "")
    for size, levels in by_size.items():
        curves = [
            replace(curve, colour=f"var(--l{number % 6})")
            for number, (_, curve) in enumerate(sorted(levels, key=lambda pair: pair[0]))
        ]
        note = f"fixed noise; {USUAL}" if _has_area(curves) else "fixed noise"
        of = f", {size} pixels" if size else ""
        yield figure(f"Held-out loss by noise level{of}", curves, note)


def _has_area(curves: Sequence[Curve]) -> bool:
    """Whether a band is drawn in a chart of these."""
    steps = [step for curve in curves for step, _ in curve.points]
    return any(curve.band_within(min(steps), max(steps)) for curve in curves)


def _tiles(config: dict[str, Any], lines: Lines) -> str:
    """The run in a few numbers."""
    points = _points(lines)
    done = max((line["step"] for line in lines), default=0)
    pairs = [("steps done", f"{done:,} of {config['steps']:,}")]
    if points["loss"]:
        pairs.append(("loss, smoothed", short(smooth(points["loss"])[-1][1])))
    if points["held_out_psnr"]:
        pairs.append(("held out, decibels", f"{points['held_out_psnr'][-1][1]:.2f}"))
    seconds = sorted(value for _, value in points["seconds"])
    if seconds:
        middle = seconds[len(seconds) // 2]
        stages = [s for s in config["stages"] if s["start"] <= done]
        pairs.append(("seconds per step, median", short(middle)))
        pairs.append(("clips a second, last stage", short(stages[-1]["batch"] / middle)))
    share = 100 * min(1.0, done / config["steps"])
    return f'<div class="bar"><i style="width:{share:.1f}%"></i></div>{tiles(pairs)}'


def _clips(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    """Rows are prompts, columns steps; clips until the room is used up, strips for the others."""
    sheets = sorted((folder / SAMPLES).glob("step-*.webp"))
    if not sheets or not config.get("samples"):
        return
    steps = _spread([int(sheet.stem.removeprefix("step-")) for sheet in sheets])
    prompts = config["samples"]["prompts"]
    room, found = MOST_BYTES, dict[tuple[int, int], str]()
    for step in sorted(steps, reverse=True):
        for number in range(len(prompts)):
            path = folder / SAMPLES / f"step-{step:06d}-{number}.mp4"
            if path.exists() and path.stat().st_size <= room:
                room -= path.stat().st_size
                source = embedded(path.read_bytes(), "video/mp4")
                found[step, number] = (
                    f'<video src="{source}" autoplay loop muted playsinline></video>'
                )
    head = "".join(f"<th>step {step:,}</th>" for step in steps)
    rows = "".join(
        f"<tr><th>{escape(prompt)}</th>"
        + "".join(f"<td>{found.get((step, number), '')}</td>" for step in steps)
        + "</tr>"
        for number, prompt in enumerate(prompts)
    )
    note = "<p>Of the moving average of the weights, always from the same noise.</p>"
    table = f'<table class="clips"><tr><th></th>{head}</tr>{rows}</table>'
    yield section("Samples", f'{note}<div class="wide">{table}</div>')


def _sheets(folder: Path) -> Iterator[str]:
    """Held-out clips above what the autoencoder makes of them."""
    sheets = {
        int(path.stem.removeprefix("round-trip-")): path
        for path in sorted(folder.glob("round-trip-*.png"))
    }
    shown = _spread(list(sheets), MOST_SHEETS)
    if shown:
        pictures = "".join(
            f'<figure class="sheet"><figcaption>step {step:,}</figcaption>'
            f'<img alt="round trip after step {step}" src="{picture(sheets[step])}"></figure>'
            for step in reversed(shown)
        )
        note = "<p>Pairs of rows: clips that were never trained on, and what comes back.</p>"
        yield section("Round trip", note + pictures)


def _spread(steps: Sequence[int], most: int = MOST_CLIPS) -> list[int]:
    """The first, the last, and some evenly in between."""
    if len(steps) <= most:
        return list(steps)
    places = [round(n * (len(steps) - 1) / (most - 1)) for n in range(most)]
    return [steps[place] for place in places]


def _about(config: dict[str, Any], device: str) -> str:
    """What was run, and on what."""
    facts = {
        "device": ", ".join(filter(None, [device, processor(device)])),
        "threads": str(torch.get_num_threads()),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": f"overcrank {__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}",
    }
    rows = "".join(f"<tr><th>{k}</th><td>{escape(v)}</td></tr>" for k, v in facts.items())
    text = escape(yaml.safe_dump(config, sort_keys=False))
    return section("Hardware", f'<table class="facts">{rows}</table>') + section(
        "Configuration", f"<details open><summary>config.yaml</summary><pre>{text}</pre></details>"
    )
