"""Guidance by noise level: which entry counts, and how often a network is asked."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from overcrank.flow import Guidance, GuidanceByLevel, VelocityFn, guided, linear_quadratic

BY_LEVEL = GuidanceByLevel(
    (1.0, 0.985, 0.5),
    (
        Guidance(1.0),
        Guidance(3.0, stg_scale=2.0, stg_layers=(1,), rescale=0.5, project=True),
        Guidance(1.0, stg_scale=1.0, stg_layers=(2, 3), stg_mode="attention_skip"),
    ),
)


class Asked:
    """Counts who was asked; every network has a velocity of its own."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.layers: list[tuple[int, ...]] = []
        shape = (3, 2, 5, 4)
        self.values = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def network(self, index: int, name: str) -> VelocityFn:
        def velocity(x: Tensor, _: Tensor) -> Tensor:
            self.count[name] += 1
            return self.values[index]

        return velocity

    def perturb(self, guidance: Guidance) -> VelocityFn:
        self.layers.append(guidance.stg_layers)
        return self.network(2, "perturbed")

    def at(self, level: float, guidance: Guidance | GuidanceByLevel) -> Tensor:
        field = guided(
            self.network(0, "conditional"),
            self.network(1, "unconditional"),
            guidance,
            perturb=self.perturb,
        )
        return field(torch.zeros(2, 5, 4), torch.full((2, 1), level))


@pytest.mark.parametrize(
    ("level", "entry"), [(1.0, 0), (0.99, 1), (0.985, 1), (0.7, 2), (0.5, 2), (0.2, 2)]
)
def test_the_first_entry_whose_level_is_reached_counts(level: float, entry: int) -> None:
    assert BY_LEVEL.at(level) == BY_LEVEL.entries[entry]


def test_a_level_of_the_schedule_reaches_the_same_level_of_the_list() -> None:
    """0.985 is no float32: the tenth of thirty steps must still fall into the entry of 0.985."""
    levels = linear_quadratic(30)
    assert BY_LEVEL.at(float(levels[9])) == BY_LEVEL.entries[1]
    assert BY_LEVEL.at(float(levels[10])) == BY_LEVEL.entries[2]


def test_scale_zero_follows_the_negative_prompt_alone() -> None:
    asked = Asked()
    assert torch.equal(asked.at(0.5, Guidance(0.0)), asked.values[1])


def test_only_the_networks_that_matter_are_asked() -> None:
    asked = Asked()
    for level in (1.0, 0.985, 0.2):
        asked.at(level, BY_LEVEL)
    assert asked.count == {"conditional": 3, "unconditional": 1, "perturbed": 2}
    assert asked.layers == [(1,), (2, 3)]


def test_perturbing_no_layers_asks_nobody() -> None:
    asked = Asked()
    got = asked.at(0.5, Guidance(1.0, stg_scale=3.0))
    assert asked.count == {"conditional": 1}
    assert torch.equal(got, asked.values[0])


def test_guidance_is_upstreams_arithmetic_clip_by_clip() -> None:
    """Each clip of a batch is guided as if it were alone, by the formulas written out."""
    asked = Asked()
    got = asked.at(0.985, BY_LEVEL)
    for clip in range(2):
        positive, negative, weaker = asked.values[:, clip].double()
        negative = negative * (positive * negative).sum() / (negative.square().sum() + 1e-8)
        v = negative + 3 * (positive - negative) + 2 * (positive - weaker)
        v = v * (0.5 * positive.std() / v.std() + 0.5)
        torch.testing.assert_close(got[clip].double(), v, rtol=1e-5, atol=1e-6)


def test_it_is_known_whether_a_negative_prompt_is_needed() -> None:
    assert BY_LEVEL.uses_negative
    assert not GuidanceByLevel((1.0,), (Guidance(1.0),)).uses_negative
    assert Guidance(2.0).uses_negative


@pytest.mark.reference
def test_rescaling_equals_that_of_diffusers() -> None:
    from typing import Any

    from diffusers.pipelines.ltx import pipeline_ltx

    from overcrank.flow.guidance import restore_std

    untyped: Any = pipeline_ltx
    v, like = Asked().values[:2]
    expected = untyped.rescale_noise_cfg(v, like, guidance_rescale=0.7)
    torch.testing.assert_close(restore_std(v, like, 0.7), expected)


@pytest.mark.reference
def test_projection_equals_that_of_diffusers() -> None:
    from typing import Any

    from diffusers.guiders import classifier_free_zero_star_guidance

    untyped: Any = classifier_free_zero_star_guidance
    asked = Asked()
    positive, negative, _ = asked.values
    alpha = untyped.cfg_zero_star_scale(positive.flatten(1), negative.flatten(1))
    base = negative * alpha.view(2, 1, 1)
    got = asked.at(1.0, Guidance(4.0, project=True))
    torch.testing.assert_close(got, base + 4 * (positive - base), rtol=1e-5, atol=1e-5)


def test_both_velocities_may_come_from_one_call() -> None:
    """It is asked where both matter only, and gives what two calls give."""
    asked = Asked()

    def both(*_: Tensor) -> tuple[Tensor, Tensor]:
        asked.count["both"] += 1
        return asked.values[0], asked.values[1]

    field = guided(
        asked.network(0, "conditional"),
        asked.network(1, "unconditional"),
        Guidance(3.0, interval=(0.2, 0.8)),
        both=both,
    )
    x = torch.zeros(2, 5, 4)
    expected = asked.values[1] + 3.0 * (asked.values[0] - asked.values[1])
    torch.testing.assert_close(field(x, torch.full((2, 1), 0.5)), expected)
    torch.testing.assert_close(field(x, torch.full((2, 1), 0.9)), asked.values[0])
    assert asked.count == {"both": 1, "conditional": 1}
