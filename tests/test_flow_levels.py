"""Noise levels for training."""

import math

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
