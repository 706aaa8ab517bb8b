"""The page of an evaluation: what the model makes, and all that was measured of it."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

from overcrank.evaluate.adherence import ALL_OF
from overcrank.evaluate.leaves import PARTS, words
from overcrank.evaluate.tables import blocks
from overcrank.pages import (
    Curve,
    Point,
    embedded,
    figure,
    page,
    picture,
    scatter,
    section,
    short,
    stack,
    tiles,
)
from overcrank.weights.files import write_atomically

FILE = "index.html"


def write_page(folder: Path, report: Mapping[str, Any]) -> None:
    """Write index.html beside report.json, from it and the clips and pictures of the folder."""
    title = f"{report['model']} on {report['bench']}"
    parts = "".join(_part(folder, name, report[name]) for name in PARTS if name in report)
    content = page(title, tiles(headline(report)), _clips(folder, report) + parts + _about(report))
    with write_atomically(folder / FILE) as temporary:
        temporary.write_text(content, encoding="utf-8")


def headline(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few numbers that most people look for."""
    found = []
    if "text" in report:
        rates = report["text"]["adherence"]["clips"]
        found += [(name, f"{rates[name]['rate']:.0%}") for name in ALL_OF.values() if name in rates]
    if "speed" in report:
        factor = report["speed"]["realtime_factor"]["median"]
        found.append(("realtime factor, median", short(factor)))
        found.append(
            ("peak memory, whole evaluation", f"{report['speed']['peak_memory'] / 1e6:,.0f} MB")
        )
    return found


def _part(folder: Path, name: str, part: Mapping[str, Any]) -> str:
    sheets = "".join(_sheet(path) for path in sorted(folder.glob(f"{name}*.png")))
    charts = {"speed": _costs, "text": _distances}.get(name, lambda _: "")(part)
    numbers = {key: value for key, value in part.items() if key not in ("clips", "trade")}
    return section(PARTS[name], charts + blocks(numbers, (name,)) + sheets)


def _sheet(path: Path) -> str:
    what = path.stem.partition("-")[2].replace("_", " ")
    title = f"The first clips{', ' + what if what else ''}"
    return (
        f'<figure class="sheet"><figcaption>{title} <small>pairs of rows: what is true, what the '
        f'model made</small></figcaption><img alt="contact sheet" src="{picture(path)}"></figure>'
    )


def _costs(part: Mapping[str, Any]) -> str:
    """Seconds by stage as one bar, and quality over speed."""
    seconds = stack(list(part["seconds"].items()), "s")
    points = [_point(number, point) for number, point in enumerate(part["trade"])]
    plot = scatter("Quality and speed", "realtime factor", "all facts, one actor", points)
    return (
        f"<figure><figcaption>Seconds of a clip, by stage</figcaption>{seconds}</figure>"
        f'<div class="charts">{plot}</div>'
    )


def _distances(part: Mapping[str, Any]) -> str:
    """Of all, a half and a quarter of the clips: a distance says little without their number."""
    charts = []
    for name, found in part["distance"].items():
        if isinstance(found, dict) and len(found["curve"]) > 1:
            curves = [
                Curve(words(key), [(p["n"], fmean(p[key])) for p in found["curve"]], colour)
                for key, colour in (("distance", "var(--c0)"), ("noise_floor", "var(--l5)"))
            ]
            charts.append(figure(f"{name} by number of clips", curves, log=False))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _point(number: int, point: Mapping[str, Any]) -> Point:
    rate = point["all_facts"]
    steps = "own" if point["steps"] is None else f"{point['steps']} steps"
    guided = "" if point["guidance"] is None else f", guidance {point['guidance']:g}"
    name = f"{steps}{guided}, {point['width']} px"
    factor = point["realtime_factor"]
    return Point(name, factor, rate["rate"], rate["low"], rate["high"], strong=number == 0)


def _clips(folder: Path, report: Mapping[str, Any]) -> str:
    """The first clips, not selected, with their captions."""
    clips = report.get("text", {}).get("clips", [])
    cards = "".join(
        f'<figure class="clip">{video(folder / clip["made"])}'
        f"<figcaption>{escape(clip['caption'])} <small>item {clip['item']}, seed {clip['seed']}"
        f"{'' if clip['wording'] == 'seen' else ', ' + escape(clip['wording'])}"
        "</small></figcaption></figure>"
        for clip in clips
    )
    if not cards:
        return ""
    note = "<p>The first questions of the benchmark, not selected.</p>"
    return section("Clips", f'{note}<div class="gallery">{cards}</div>')


def video(path: Path) -> str:
    source = embedded(path.read_bytes(), "video/mp4")
    return f'<video src="{source}" autoplay loop muted playsinline></video>'


def _about(report: Mapping[str, Any]) -> str:
    """What was run, and on what."""
    facts = {
        **report["hardware"],
        "overcrank": report["overcrank"],
        "suite": report["suite"]["name"],
        **{key: "the model's own" if x is None else x for key, x in report["setting"].items()},
        **{f"{name} hash": value[:16] for name, value in report["hashes"].items()},
        "minutes": ", ".join(f"{part} {x / 60:.1f}" for part, x in report["seconds"].items()),
    }
    rows = "".join(
        f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>"
        for key, value in facts.items()
    )
    return section("How it was measured", f'<table class="facts">{rows}</table>')
