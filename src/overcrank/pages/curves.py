"""Curves as SVG, drawn by hand: numbers over steps, for the page of a run."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import accumulate

WIDTH, HEIGHT = 520, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 26
MOST_POINTS = 240
"""Of a curve; more are averaged in groups, which nobody sees at this size."""
LOG_FROM = 8.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: (step, value) pairs, steps rising. A `faint` one has no name in the legend.

    `band` is what is usual: (step, low, high), drawn as far as the curves of the chart go.
    """

    name: str
    points: Points
    colour: str = "var(--c0)"
    faint: bool = False
    band: Sequence[tuple[float, float, float]] = ()

    def band_within(self, first: float, last: float) -> Sequence[tuple[float, float, float]]:
        """What there is to draw of the band between two steps; a single point is no area."""
        inside = [point for point in self.band if first <= point[0] <= last]
        return inside if len(inside) > 1 else ()


def figure(title: str, curves: Sequence[Curve], note: str = "", *, log: bool = True) -> str:
    """A chart with its title and legend, logarithmic where that helps and `log` lets it.

    Empty if there is nothing to draw.
    """
    curves = [replace(c, points=thin(c.points)) for c in curves if c.points]
    if not curves:
        return ""
    scale = _Scale.of([point for curve in curves for point in curve.points], log=log)
    lines = "".join(_band(curve, scale) for curve in curves)
    lines += "".join(_line(curve, scale) for curve in curves)
    named = [curve for curve in curves if not curve.faint]
    legend = "".join(
        f'<span><i style="background:{c.colour}"></i>{escape(c.name)} '
        f"<b>{short(c.points[-1][1])}</b></span>"
        for c in named
    )
    remarks = ", ".join(filter(None, [note, "logarithmic" if scale.log else ""]))
    digits = [[c.name, [[x, float(f"{y:.5g}")] for x, y in c.points]] for c in named]
    values = json.dumps(digits)
    attribute = escape(values, quote=False).replace("'", "&#39;")
    frame = json.dumps([scale.first, scale.last, LEFT, WIDTH - RIGHT, WIDTH])
    return (
        f"<figure data-curves='{attribute}' data-frame='{frame}'>"
        f"<figcaption>{escape(title)} <small>{escape(remarks)}</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} over steps">'
        f'{"".join(_grid(scale))}{lines}<line class="at" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/></svg>'
        f'<p class="legend">{legend}</p></figure>'
    )


def smooth(points: Points) -> Points:
    """Means over a twelfth of the curve around each point, half as much at its ends."""
    sums = [0.0, *accumulate(value for _, value in points)]
    side, smoothed = len(points) // 25, []
    for place, (step, _) in enumerate(points):
        first, last = max(0, place - side), min(len(points), place + side + 1)
        smoothed.append((step, (sums[last] - sums[first]) / (last - first)))
    return smoothed


def thin(points: Points) -> Points:
    """At most `MOST_POINTS`: means of neighbours; the first and the last stay."""
    if len(points) <= MOST_POINTS:
        return points
    size = -(-(len(points) - 2) // (MOST_POINTS - 2))
    groups = [points[i : min(i + size, len(points) - 1)] for i in range(1, len(points) - 1, size)]
    means = [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]
    return [points[0], *means, points[-1]]


def short(value: float) -> str:
    """A number in few signs: 0.0123, 12k, 3.4M."""
    rounded = abs(float(f"{value:.3g}"))
    if rounded < 1000 or not math.isfinite(value):
        return f"{value:.3g}"
    if abs(round(value)) < 10_000:
        return f"{value:.0f}"
    unit, size = next((u, s) for u, s in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if rounded >= s)
    return f"{value / size:.3g}{unit}"


@dataclass(frozen=True, slots=True)
class _Scale:
    """From steps and values to places."""

    first: float
    last: float
    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, points: Points, *, log: bool) -> "_Scale":
        steps, values = [x for x, _ in points], [y for _, y in points]
        low, high = min(values), max(values)
        log = log and low > 0 and high / low > LOG_FROM
        if log:
            low, high = low / 1.1, high * 1.1
        else:
            room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
            low, high = low - room, high + room
        last = max(steps) if max(steps) > min(steps) else min(steps) + 1
        return cls(min(steps), last, low, high, log)

    def x(self, step: float) -> float:
        """Pixels from the left."""
        part = (step - self.first) / (self.last - self.first)
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _line(curve: Curve, scale: _Scale) -> str:
    places = [f"{scale.x(step):.1f},{scale.y(value):.1f}" for step, value in curve.points]
    look = ' class="faint"' if curve.faint else ""
    if len(places) == 1:
        x, y = places[0].split(",")
        return f'<circle{look} cx="{x}" cy="{y}" r="3" style="fill:{curve.colour}"/>'
    return f'<polyline{look} points="{" ".join(places)}" style="stroke:{curve.colour}"/>'


def _band(curve: Curve, scale: _Scale) -> str:
    """As an area, cut off at the edges of the chart."""
    inside = curve.band_within(scale.first, scale.last)
    there = [(x, high) for x, _, high in inside] + [(x, low) for x, low, _ in reversed(inside)]
    places = [
        f"{scale.x(x):.1f},{scale.y(min(max(y, scale.low), scale.high)):.1f}" for x, y in there
    ]
    return f'<polygon points="{" ".join(places)}" style="fill:{curve.colour}"/>' if there else ""


def _grid(scale: _Scale) -> Iterator[str]:
    for value in ticks(scale.low, scale.high, log=scale.log):
        y = scale.y(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>'
    for step in ticks(scale.first, scale.last, log=False):
        x = min(max(scale.x(step), LEFT + 8), WIDTH - RIGHT - 12)
        yield f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{short(step)}</text>'


def ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Round numbers between `low` and `high`, about five; a short logarithmic axis has those of a
    linear one."""
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        several = len(decades) > 3
        marks = [m * 10.0**d for d in decades for m in ((1,) if several else (1, 2, 5))]
        inside = [mark for mark in marks if low <= mark <= high]
        if len(inside) > 1:
            return inside
    rough = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(m * size for m in (1, 2, 5, 10) if m * size >= rough)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step) + 1)]
