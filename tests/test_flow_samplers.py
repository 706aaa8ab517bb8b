"""The path, the sampler and guidance."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from overcrank.flow import (
    Guidance,
    data_from,
    euler,
    guided,
    linear_quadratic,
    mix,
    uniform,
    velocity,
)
from overcrank.flow.guidance import restore_std


def two(*shape: int) -> tuple[Tensor, Tensor]:
    """Data and noise."""
    data, noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return data, noise


def constant(value: float | Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, _: torch.zeros_like(x) + value


def never(x: Tensor, sigma: Tensor) -> Tensor:
    raise AssertionError("this network is not needed here")


def test_the_path_runs_from_data_to_noise() -> None:
    data, noise = two(4, 3)
    torch.testing.assert_close(mix(data, noise, 0.0), data)
    torch.testing.assert_close(mix(data, noise, 1.0), noise)


def test_a_point_and_its_velocity_give_the_data_back() -> None:
    data, noise = two(4, 3)
    sigma = torch.rand(4, 1, generator=torch.Generator().manual_seed(1))
    x = mix(data, noise, sigma)
    torch.testing.assert_close(data_from(x, velocity(data, noise), sigma), data)


@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("end", [0.0, 0.1])
def test_euler_lands_on_the_path_when_it_is_straight(steps: int, end: float) -> None:
    """The true velocity is constant along the path, so the number of steps must not matter."""
    data, noise = two(2, 5, 3)
    got = euler(constant(velocity(data, noise)), noise, uniform(steps, end=end))
    torch.testing.assert_close(got, mix(data, noise, end))


def test_a_pinned_token_never_moves() -> None:
    data, noise = two(2, 5, 3)
    cap = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]).expand(2, -1)
    start = torch.where(cap[..., None] == 0, data, noise)
    got = euler(constant(velocity(data, noise)), start, uniform(4), cap=cap)
    assert torch.equal(got[:, :2], data[:, :2])
    torch.testing.assert_close(got, data)


def test_a_partly_noisy_token_sets_out_when_its_level_comes() -> None:
    data, noise = two(1, 1, 3)
    seen = []

    def field(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(float(sigma))
        return velocity(data, noise)

    got = euler(field, mix(data, noise, 0.3), uniform(4), cap=torch.tensor([[0.3]]))
    assert seen == pytest.approx([0.3, 0.3, 0.3, 0.25])
    torch.testing.assert_close(got, data)


def test_clocks_are_one_for_each_token_only_where_they_differ() -> None:
    shapes = []

    def field(x: Tensor, sigma: Tensor) -> Tensor:
        shapes.append(tuple(sigma.shape))
        return torch.zeros_like(x)

    euler(field, torch.zeros(2, 5, 3), uniform(1))
    euler(field, torch.zeros(2, 5, 3), uniform(1), cap=torch.ones(2, 5))
    assert shapes == [(2, 1), (2, 5)]


def test_steps_are_reported_and_may_cancel() -> None:
    steps = []

    def cancel(step: int, x: Tensor, data: Tensor) -> None:
        steps.append(step)
        if step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        euler(constant(0.0), torch.zeros(1, 2, 3), uniform(5), on_step=cancel)
    assert steps == [0, 1]


def test_each_step_may_begin_with_other_tokens() -> None:
    seen: list[tuple[int, float]] = []

    def begin(step: int, level: float, x: Tensor) -> Tensor:
        seen.append((step, level))
        return x + 1

    end = euler(constant(0.0), torch.zeros(1, 2, 3), uniform(4), before_step=begin)
    assert seen == [(0, 1.0), (1, 0.75), (2, 0.5), (3, 0.25)]
    assert (end == 4).all()


def test_guidance_at_scale_one_asks_one_network() -> None:
    field = guided(constant(2.0), never, Guidance(1.0))
    assert (field(torch.zeros(1, 2, 3), torch.ones(1, 1)) == 2).all()


@pytest.mark.parametrize(("level", "expected"), [(0.95, 2.0), (0.5, 4.0), (0.1, 2.0)])
def test_guidance_works_inside_its_interval_only(level: float, expected: float) -> None:
    field = guided(constant(2.0), constant(1.0), Guidance(3.0, interval=(0.2, 0.9)))
    assert (field(torch.zeros(1, 2, 3), torch.tensor([[level, 0.0]])) == expected).all()


def test_spatiotemporal_guidance_steers_away_from_the_perturbed_network() -> None:
    guidance = Guidance(3.0, stg_scale=2.0, stg_layers=(1,))
    field = guided(constant(2.0), constant(1.0), guidance, perturb=lambda _: constant(1.5))
    assert (field(torch.zeros(1, 2, 3), torch.ones(1, 1)) == 1 + 3 * 1 + 2 * 0.5).all()


def test_projected_guidance_ignores_the_length_of_the_unconditional_velocity() -> None:
    towards, away = two(2, 5, 3)
    x, sigma = torch.zeros(2, 5, 3), torch.ones(2, 1)
    guidance = Guidance(3.0, project=True)
    short = guided(constant(towards), constant(away), guidance)(x, sigma)
    long = guided(constant(towards), constant(7 * away), guidance)(x, sigma)
    torch.testing.assert_close(short, long)


def test_rescaled_guidance_has_the_conditional_deviation() -> None:
    towards, away = two(2, 5, 3)
    guidance = Guidance(8.0, rescale=1.0)
    got = guided(constant(towards), constant(away), guidance)(
        torch.zeros(2, 5, 3), torch.ones(2, 1)
    )
    torch.testing.assert_close(got.std((1, 2)), towards.std((1, 2)))


def test_half_a_rescale_goes_half_way() -> None:
    v, like = two(2, 5, 3)
    half = (restore_std(v, like, 0.0) + restore_std(v, like, 1.0)) / 2
    torch.testing.assert_close(restore_std(v, like, 0.5), half)


def fresh(shape: tuple[int, ...], seed: int = 7) -> Callable[[int], Tensor]:
    return lambda step: torch.randn(shape, generator=torch.Generator().manual_seed(seed + step))


def test_stochastic_sampling_puts_fresh_noise_on_the_data_pointed_at() -> None:
    data, noise = two(2, 5, 3)
    draw = fresh((2, 5, 3))
    seen: list[Tensor] = []
    levels = torch.tensor([1.0, 0.6, 0.0])

    def field(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(x)
        return (x - data) / sigma[..., None]

    got = euler(field, noise, levels, fresh_noise=draw)
    torch.testing.assert_close(seen[1], mix(data, draw(0), 0.6))
    torch.testing.assert_close(got, data)


def test_stochastic_sampling_leaves_tokens_alone_that_do_not_move() -> None:
    data, noise = two(1, 3, 3)
    cap = torch.tensor([[0.0, 0.3, 1.0]])
    start = mix(data, noise, cap[..., None])
    after_first: list[Tensor] = []
    euler(
        constant(1.0),
        start,
        uniform(4),
        cap=cap,
        fresh_noise=fresh((1, 3, 3)),
        on_step=lambda _, x, __: after_first.append(x),
    )
    assert torch.equal(after_first[0][:, :2], start[:, :2])
    assert torch.equal(after_first[-1][:, 0], data[:, 0])
    assert not torch.equal(after_first[0][:, 2], start[:, 2])


@pytest.mark.reference
@pytest.mark.parametrize("stochastic", [False, True])
def test_a_walk_equals_that_of_diffusers(stochastic: bool) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    untyped: Any = FlowMatchEulerDiscreteScheduler
    theirs = untyped(stochastic_sampling=stochastic)
    levels = linear_quadratic(8)
    theirs.set_timesteps(sigmas=levels[:-1].tolist())
    _, start = two(2, 5, 3)
    matrix = torch.randn(3, 3, generator=torch.Generator().manual_seed(3))

    def field(x: Tensor, sigma: Tensor) -> Tensor:
        return x @ matrix * sigma[..., None]

    expected = start
    generator = torch.Generator().manual_seed(5)
    for now, timestep in zip(levels, theirs.timesteps, strict=False):
        v = field(expected, now.expand(2, 1))
        expected = theirs.step(v, timestep, expected, generator=generator, return_dict=False)[0]

    drawn = torch.Generator().manual_seed(5)
    got = euler(
        field,
        start,
        levels,
        fresh_noise=(lambda _: torch.randn(2, 5, 3, generator=drawn)) if stochastic else None,
    )
    assert expected.std() >= 0.1
    assert (got - expected).norm() / expected.norm() <= 1e-5
