"""Rates that were counted, and how far they can be trusted."""

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` of `total`."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        """In [0, 1]."""
        return self.hits / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson interval of 95 %."""
        return wilson(self.hits, self.total)

    def to_dict(self) -> dict[str, float]:
        """hits, total, rate, and low and high, the ends of the interval."""
        low, high = self.interval
        return {
            "hits": self.hits,
            "total": self.total,
            "rate": self.value,
            "low": low,
            "high": high,
        }


def wilson(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a rate, both ends in [0, 1].

    With p = hits / total, n = total and z the normal quantile:
    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).
    Source: Wilson, JASA 22 (1927), p. 209.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = hits / total
    centre = rate + z * z / (2 * total)
    reach = z * math.sqrt(rate * (1 - rate) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)
