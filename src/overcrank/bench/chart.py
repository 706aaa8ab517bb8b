"""How costs grow, as a picture of its own: lines in a plane whose axes are both logarithmic."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from overcrank.pages import short
from overcrank.pages.curves import ticks

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 46, 40
INSET = 24
"""From the sides of the plane to the first and last points, whose values stand beside them."""
COLOURS = ("#c4502b", "#23558f", "#3b7d4f")

Line = tuple[str, Sequence[tuple[float, float]]]
"""Its name, and points of positive numbers."""


def chart(title: str, across: str, lines: Sequence[Line]) -> str:
    """A whole SVG; points are joined and carry their values."""
    xs, ys = ([point[axis] for _, points in lines for point in points] for axis in (0, 1))
    x = _Axis(min(xs), max(xs), LEFT + INSET, WIDTH - RIGHT - INSET)
    y = _Axis(min(ys) / 1.5, max(ys) * 1.5, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<text x="{LEFT}" y="18" font-weight="bold">{escape(title)}</text>',
        _middle((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, escape(across)),
        *_grid(x, y, sorted(set(xs))),
    ]
    for number, (name, points) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(
            f'<text x="{LEFT + 150 * number}" y="36" fill="{colour}">{escape(name)}</text>'
        )
        beside = 18 if number % 2 else -8  # below, above
        parts += _line([(x.at(a), y.at(b), b) for a, b in points], colour, beside)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


class _Axis:
    """From values to places, by their logarithms."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self.low, self.high = math.log10(low), math.log10(high)
        self.begin, self.end = begin, end

    def at(self, value: float) -> float:
        part = (math.log10(value) - self.low) / ((self.high - self.low) or 1.0)
        return self.begin + part * (self.end - self.begin)


def _grid(x: _Axis, y: _Axis, values: Sequence[float]) -> Iterator[str]:
    for value in ticks(10**y.low, 10**y.high, log=True):
        at = y.at(value)
        yield f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{short(value)}</text>'
    for value in values:
        at = x.at(value)
        yield _middle(at, HEIGHT - 24, short(value))


def _line(places: Sequence[tuple[float, float, float]], colour: str, beside: int) -> Iterator[str]:
    path = " L".join(f"{x:.1f} {y:.1f}" for x, y, _ in places)
    yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, y, value in places:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
        yield _middle(x, y + beside, short(value))


def _middle(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{text}</text>'
