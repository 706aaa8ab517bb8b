"""Rates that were counted, means that were measured, and how far they can be trusted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean, stdev


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


def difference(
    one: tuple[float, float, float], other: tuple[float, float, float]
) -> tuple[float, float, float]:
    """`one - other` with the interval of 95 %, of two measured on different clips.

    Each is (value, low, high). With values v and ends l, u: d -+ sqrt((v1 - l1)^2 + (u2 - v2)^2),
    and the same with the ends exchanged. Of two rates with Wilson's intervals this is method 10 of
    Newcombe, Statistics in Medicine 17 (1998), p. 873; in general, Zou & Donner, Statistics in
    Medicine 27 (2008), p. 1693.
    """
    (value, low, high), (other_value, other_low, other_high) = one, other
    between = value - other_value
    down = math.hypot(value - low, other_high - other_value)
    up = math.hypot(high - value, other_value - other_low)
    return between, between - down, between + up


def mean_of(values: Sequence[float]) -> dict[str, float]:
    """mean, n, and low and high, the interval of 95 % of the mean: mean -+ t s / sqrt(n).

    s is the standard deviation of the values, t Student's quantile of n - 1 degrees of freedom: it
    holds the truth 95 times of 100 for any n if values are normal. Of one value there is no
    interval: mean and n alone. Source: Student, Biometrika 6 (1908), p. 1. Raises ValueError
    without values.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    mean, count = fmean(values), len(values)
    if count == 1:
        return {"mean": mean, "n": 1}
    reach = student(count - 1) * stdev(values) / math.sqrt(count)
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "n": count}


@cache
def student(degrees: int, confidence: float = 0.95) -> float:
    """The t that a variable of Student's distribution stays within with that probability.

    Found by halving the angle atan(t / sqrt(degrees)), in which that probability is a finite sum.
    Source: Abramowitz & Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        if _within(angle, degrees) < confidence:
            low = angle
        else:
            high = angle
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """The probability of -t to t, with t = sqrt(degrees) tan(angle)."""
    odd, cosine = degrees % 2, math.cos(angle)
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for n in range(2 + odd, degrees, 2):
        term *= (n - 1) / n * cosine**2
        total += term
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
