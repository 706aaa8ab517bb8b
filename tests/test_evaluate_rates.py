"""Rates, means, and their intervals."""

import random

import pytest

from overcrank.evaluate.leaves import leaf, span
from overcrank.metrics import Rate, difference, mean_of, student, wilson


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


def test_the_interval_of_a_difference_has_its_known_value() -> None:
    one, other = Rate(56, 70), Rate(48, 80)  # the first example of Newcombe's paper
    triples = [(rate.value, *rate.interval) for rate in (one, other)]
    assert difference(*triples) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    assert difference(*reversed(triples)) == pytest.approx((-0.2, -0.3339, -0.0524), abs=1e-4)


@pytest.mark.parametrize(
    ("degrees", "confidence", "quantile"),
    [
        *((1, 0.95, 12.7062), (2, 0.95, 4.3027), (3, 0.95, 3.1824), (5, 0.95, 2.5706)),
        *((10, 0.95, 2.2281), (30, 0.95, 2.0423), (2047, 0.95, 1.9611)),
        *((2, 0.99, 9.9248), (4, 0.99, 4.6041)),
    ],
)
def test_students_quantiles_have_their_known_values(
    degrees: int, confidence: float, quantile: float
) -> None:
    assert student(degrees, confidence) == pytest.approx(quantile, abs=1e-4)


@pytest.mark.parametrize("count", [2, 4, 16])
def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says(count: int) -> None:
    dice, held = random.Random(0), 0
    for _ in range(2000):
        mean = mean_of([dice.gauss(3, 1) for _ in range(count)])
        assert mean["low"] < mean["mean"] < mean["high"]
        held += mean["low"] <= 3 <= mean["high"]
    assert 0.935 <= held / 2000 <= 0.965


def test_one_value_has_no_interval_and_none_is_refused() -> None:
    assert mean_of([2.0]) == {"mean": 2.0, "n": 1}
    found = leaf(mean_of([2.0]), ("psnr",))
    assert found is not None
    assert (found.value, found.low, found.count, span(found)) == (2.0, None, 1, "")
    with pytest.raises(ValueError, match="at least one"):
        mean_of([])
