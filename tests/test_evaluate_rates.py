"""Rates and their intervals."""

import pytest

from overcrank.metrics import Rate, wilson


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (8, 10, 0.490162, 0.943318),
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        (205, 256, 0.747567, 0.845102),
    ],
)
def test_the_wilson_interval_has_its_known_values(
    hits: int, total: int, low: float, high: float
) -> None:
    assert wilson(hits, total) == pytest.approx((low, high), abs=1e-5)


def test_more_trials_make_a_narrower_interval() -> None:
    few, many = Rate(8, 10).interval, Rate(800, 1000).interval
    assert few[0] < many[0] < 0.8 < many[1] < few[1]
