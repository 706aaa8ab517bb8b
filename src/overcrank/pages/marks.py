"""Small charts beside numbers: intervals in a table, shares of a whole, points in a plane."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from overcrank.pages.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, short, ticks


def interval(value: float, low: float, high: float, *, full: float = 1.0) -> str:
    """A dot and its interval on a line from 0 to `full`."""
    ends = [100 * min(max(x / full, 0.0), 1.0) for x in (low, high, value)]
    return (
        '<span class="interval">'
        f'<i style="left:{ends[0]:.1f}%;width:{max(ends[1] - ends[0], 0.6):.1f}%"></i>'
        f'<b style="left:{ends[2]:.1f}%"></b></span>'
    )


def stack(parts: Sequence[tuple[str, float]], unit: str) -> str:
    """Parts of a whole, side by side, each as wide as it is large."""
    total = sum(value for _, value in parts) or 1.0
    bars = "".join(
        f'<i style="width:{100 * value / total:.2f}%;background:var(--l{number % 6})"></i>'
        for number, (_, value) in enumerate(parts)
    )
    names = "".join(
        f'<span><i style="background:var(--l{number % 6})"></i>{escape(name)} '
        f"<b>{short(value)} {escape(unit)}</b></span>"
        for number, (name, value) in enumerate(parts)
    )
    return f'<div class="stack">{bars}</div><p class="legend">{names}</p>'


@dataclass(frozen=True, slots=True)
class Point:
    """A named place in a plane; `low` and `high` are an interval of y."""

    name: str
    x: float
    y: float
    low: float
    high: float
    strong: bool = False


def scatter(title: str, x_name: str, y_name: str, points: Sequence[Point]) -> str:
    """Numbered points with intervals; x is logarithmic, y from 0 to 1. Empty without points."""
    if not points:
        return ""
    first = min(point.x for point in points) / 1.25
    last = max(point.x for point in points) * 1.45

    def across(x: float) -> float:
        return LEFT + math.log(x / first) / math.log(last / first) * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down(y):.1f}" '
        f'y2="{down(y):.1f}"/><text x="{LEFT - 7}" y="{down(y) + 4:.1f}" '
        f'text-anchor="end">{y:.0%}</text>'
        for y in (0, 0.25, 0.5, 0.75, 1)
    ) + "".join(
        f'<text x="{across(x):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{short(x)}</text>'
        for x in ticks(first, last, log=True)
    )
    drawn = "".join(
        f'<g class="{"strong" if point.strong else "point"}">'
        f'<line x1="{across(point.x):.1f}" x2="{across(point.x):.1f}" '
        f'y1="{down(point.low):.1f}" y2="{down(point.high):.1f}"/>'
        f'<circle cx="{across(point.x):.1f}" cy="{down(point.y):.1f}" r="4"/>'
        f'<text x="{across(point.x) + 7:.1f}" y="{down(point.y) - 5:.1f}">{number}</text></g>'
        for number, point in enumerate(points, 1)
    )
    names = "".join(
        f"<span>{number} {escape(point.name)} <b>{point.y:.0%} at {short(point.x)}</b></span>"
        for number, point in enumerate(points, 1)
    )
    return (
        f"<figure><figcaption>{escape(title)} <small>{escape(y_name)} over {escape(x_name)}"
        f'</small></figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{grid}{drawn}</svg><p class="legend">{names}</p></figure>'
    )
