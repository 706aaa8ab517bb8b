"""The numbers in a report, found whatever their place: rates, means and plain ones.

A rate is {"hits", "total", "rate", "low", "high"}, a mean {"mean", "low", "high", "n", ...}; that
of one value has no low and high.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from overcrank.pages import short

PARTS = {
    "text": "Does it show what its caption asks for?",
    "image": "Does it keep what it is given?",
    "vae": "What does the autoencoder lose?",
    "speed": "What does a clip cost?",
}
"""The parts of a report, and the question that each answers."""
_WORDS = {"psnr": "PSNR", "ssim": "SSIM", "vae": "VAE", "h264": "H.264"}
_UNITS = {
    **dict.fromkeys(("psnr", "below_round_trip", "first_delta", "last_delta", "decibels"), " dB"),
    "peak_memory": " MB",
    "seconds": " s",
}
"""By one of the last two names; memory is in bytes, and shown as megabytes."""
_SHARES = {"chance", "unsure"}
"""Names of numbers in [0, 1] without an interval of their own, also shown as percentages."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One number of a report, at `path` in it. `low` and `high` are its interval of 95 %, where it
    has one, and `count` how many clips it is of."""

    path: tuple[str, ...]
    value: float
    low: float | None = None
    high: float | None = None
    count: int | None = None
    is_rate: bool = False

    @property
    def name(self) -> str:
        """Its last name."""
        return self.path[-1]


def leaf(value: Any, path: tuple[str, ...]) -> Leaf | None:
    """`value` as a number, or None if it is not one."""
    if isinstance(value, dict) and {"rate", "low", "high", "total"} <= value.keys():
        return Leaf(path, value["rate"], value["low"], value["high"], value["total"], is_rate=True)
    if isinstance(value, dict) and {"mean", "n"} <= value.keys():
        return Leaf(path, value["mean"], value.get("low"), value.get("high"), value["n"])
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Leaf(path, value)
    return None


def leaves(part: Any, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """All numbers in nested dictionaries, in their order; lists are passed over."""
    found = leaf(part, path)
    if found is not None:
        yield found
    elif isinstance(part, dict):
        for name, value in part.items():
            yield from leaves(value, (*path, name))


def words(name: str) -> str:
    """A name of a report as people write it."""
    return " ".join(_WORDS.get(word, word) for word in name.split("_"))


def shown(found: Leaf) -> str:
    """The value with its unit."""
    if found.is_rate or set(found.path[-2:]) & _SHARES:
        return f"{found.value:.0%}"
    unit = next((unit for name, unit in _UNITS.items() if _named(found, name)), "")
    value = found.value / 1e6 if unit == " MB" else found.value
    if isinstance(value, int):
        return f"{value:,}{unit}"
    return f"{value:.2f}{unit}" if unit == " dB" else f"{short(value)}{unit}"


def span(found: Leaf) -> str:
    """Its interval and number of clips, or nothing if it has no interval."""
    if found.low is None or found.high is None:
        return ""
    if found.is_rate:
        return f"{found.low:.0%} to {found.high:.0%} of {found.count}"
    return f"{short(found.low)} to {short(found.high)}, {found.count} clips"


def _named(found: Leaf, name: str) -> bool:
    return any(f"_{name}_" in f"_{part}_" for part in found.path[-2:])
