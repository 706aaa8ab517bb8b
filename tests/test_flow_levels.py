"""Noise levels for training."""

import math
import statistics

import pytest
import torch
from torch import Tensor

from overcrank.flow import shift, shifted_logit_normal


def draw(tokens: float, *, count: int = 20000, uniform_share: float = 0.1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return shifted_logit_normal(
        count, tokens=tokens, generator=generator, uniform_share=uniform_share
    )


def test_levels_are_between_zero_and_one() -> None:
    for tokens in (16, 1024, 13376):
        levels = draw(tokens)
        assert levels.min() >= 0
        assert levels.max() <= 1


def test_levels_follow_their_generator() -> None:
    assert torch.equal(draw(1024, seed=3), draw(1024, seed=3))
    assert not torch.equal(draw(1024, seed=3), draw(1024, seed=4))


def test_more_tokens_mean_more_noise() -> None:
    assert draw(4096).mean() > draw(1024).mean() + 0.1


def test_the_median_is_the_stretched_shift() -> None:
    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    mean = shift(1024)
    low, high = sigmoid(mean - 2.5758), sigmoid(mean + 3.0902)
    expected = (sigmoid(mean) - low) / (high - low)
    assert abs(draw(1024, uniform_share=0.0).median() - expected) < 0.01


def test_no_level_is_starved() -> None:
    """A tenth of the levels is uniform: each tenth of the range gets at least a hundredth."""
    counts = torch.histc(draw(13376), bins=10, min=0, max=1)
    assert counts.min() > 0.007 * 20000


def test_levels_take_any_shape() -> None:
    generator = torch.Generator().manual_seed(0)
    assert shifted_logit_normal((3, 4), tokens=112, generator=generator).shape == (3, 4)


@pytest.mark.parametrize(("tokens", "mean"), [(1024, 0.95), (4096, 2.05), (6144, 2.7833)])
def test_quantiles_are_those_of_the_stretched_logit_normal(tokens: int, mean: float) -> None:
    """Means as published; 0.5 % and 99.9 % of the plain distribution become 0 and 1."""
    assert abs(shift(tokens) - mean) < 1e-4
    normal = statistics.NormalDist(mean)
    plain = {q: 1 / (1 + math.exp(-normal.inv_cdf(q))) for q in (0.005, 0.1, 0.5, 0.9, 0.999)}
    levels = draw(tokens, count=200_000, uniform_share=0.0)
    for q in (0.1, 0.5, 0.9):
        expected = (plain[q] - plain[0.005]) / (plain[0.999] - plain[0.005])
        assert abs(levels.quantile(q) - expected) < 3e-3, q
    assert 0.0005 < (levels == 1).float().mean() < 0.0015, "above 99.9 %: clamped"
    assert (levels == 0).float().mean() < 1e-4, "below 0.5 %: folded back"
