"""What is kept: lengths, sizes, rates, motion, scores."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from overcrank.errors import RequestError

Scorer = Callable[[Tensor], float]
"""Frames of a clip as it is stored, uint8 (n, H, W, 3), up to four, to a number: more is better.

A function of a module, so that other processes find it, which gives equal frames equal numbers.
"""

LEAST = {
    "min_seconds": 0,
    "max_seconds": 0.1,
    "min_side": 2,
    "max_side": 2,
    "min_fps": 0,
    "max_fps": 0.1,
    "min_motion": 0,
    "min_score": -math.inf,
    "shard_mib": 1,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Less than a `min_` is dropped; more than a `max_` is cut, scaled or thinned to it."""

    min_seconds: float = 1.0
    max_seconds: float = 10.0
    """A longer shot becomes several clips."""
    min_side: int = 64
    max_side: int = 512
    """Pixels of the shorter side, without black bars."""
    min_fps: float = 8.0
    max_fps: float = 30.0
    """Of a faster video every second, third ... frame is kept. Tolerance 5 %: 30.02 is 30."""
    min_motion: float = 6.0
    """What moves changes by this much, of 255: see `motion_of`. 0 keeps still clips."""
    min_score: float | None = None
    require_captions: bool = False
    shard_mib: int = 256
    """Shards are no larger, except for a single clip that is."""

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= least):
                right = f"at least {least:g}" if math.isfinite(least) else "a finite number"
                raise RequestError(f"{name} is {right}, got {value}: leave it out or give that")
        for unit in ("seconds", "side", "fps"):
            low, high = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if low > high:
                raise RequestError(
                    f"nothing could be kept, got min_{unit} {low} above max_{unit} {high}: "
                    "give the smaller one first"
                )
