"""Pages for people: one HTML file that needs nothing beside it, with charts drawn as SVG."""

from overcrank.pages.curves import Curve, Points, figure, short, smooth
from overcrank.pages.marks import Point, interval, scatter, stack
from overcrank.pages.page import embedded, page, picture, section, tiles

__all__ = [
    "Curve",
    "Point",
    "Points",
    "embedded",
    "figure",
    "interval",
    "page",
    "picture",
    "scatter",
    "section",
    "short",
    "smooth",
    "stack",
    "tiles",
]
