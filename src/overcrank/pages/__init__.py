"""Pages for people: one HTML file that needs nothing beside it, with charts drawn as SVG."""

from overcrank.pages.curves import Curve, Points, figure, short, smooth
from overcrank.pages.page import embedded, page, picture, section, tiles

__all__ = [
    "Curve",
    "Points",
    "embedded",
    "figure",
    "page",
    "picture",
    "section",
    "short",
    "smooth",
    "tiles",
]
