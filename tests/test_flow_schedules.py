"""Noise schedules: golden lists of the published models, and what holds for all of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from overcrank.errors import RequestError
from overcrank.flow import Schedule, linear_quadratic, shift, shifted, uniform, with_end

SCHEDULES: dict[str, Callable[[int, float], Tensor]] = {
    "uniform": lambda steps, end: uniform(steps, end=end),
    "linear_quadratic": lambda steps, end: linear_quadratic(steps, end=end),
    "shifted": lambda steps, end: shifted(steps, tokens=112, end=end),
    "stretched": lambda steps, end: shifted(steps, tokens=6144, terminal=0.1, end=end),
}


def close(got: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(got, torch.tensor(expected), atol=6e-6, rtol=0)


def test_linear_quadratic_in_eight_steps_is_golden() -> None:
    close(
        linear_quadratic(8),
        [1, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0],
    )


def test_linear_quadratic_in_twenty_steps_is_golden() -> None:
    slow = [1, 0.9975, 0.995, 0.9925, 0.99, 0.9875, 0.985, 0.9825, 0.98, 0.9775, 0.975]
    fast = [0.963, 0.932, 0.882, 0.813, 0.725, 0.618, 0.492, 0.347, 0.183, 0]
    close(linear_quadratic(20), slow + fast)


def test_linear_quadratic_in_thirty_steps_is_golden() -> None:
    slow = [1, 0.998333, 0.996667]
    fast = [0.969111, 0.954778, 0.932, 0.900778, 0.861111, 0.813, 0.756444, 0.691444, 0.618]
    fast += [0.536111, 0.445778, 0.347, 0.239778, 0.124111, 0]
    close(linear_quadratic(30)[:3], slow)
    close(linear_quadratic(30)[16:], fast)


def test_linear_quadratic_in_forty_steps_is_golden() -> None:
    tail = [0.725, 0.673875, 0.618, 0.557375, 0.492, 0.421875, 0.347, 0.267375, 0.183, 0.093875]
    close(linear_quadratic(40)[-11:-1], tail)


def test_shifted_levels_in_twenty_steps_are_golden() -> None:
    first = [1, 0.9796, 0.95787, 0.93468, 0.90986, 0.88324, 0.85462, 0.82377, 0.79041, 0.75423]
    last = [0.71485, 0.67182, 0.62461, 0.5726, 0.51499, 0.45084, 0.37897, 0.29789, 0.20572, 0.1]
    close(shifted(20, tokens=1024, terminal=0.1)[:-1], first + last)
    close(shifted(20, tokens=4096, terminal=0.1)[:3], [1, 0.99147, 0.98212])


def test_shifted_levels_of_a_whole_clip_are_golden() -> None:
    levels = shifted(40, tokens=6144, terminal=0.1)
    close(levels[:5], [1, 0.99798, 0.99587, 0.99365, 0.99131])
    close(levels[-6:], [0.61539, 0.54479, 0.44914, 0.31222, 0.1, 0])


def test_the_shift_goes_through_its_two_points() -> None:
    assert shift(1024) == pytest.approx(0.95)
    assert shift(4096) == pytest.approx(2.05)
    assert shift(6144) == pytest.approx(2.7833, abs=1e-4)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7, 20])
@pytest.mark.parametrize("end", [0.0, 0.05])
def test_levels_fall_from_one_to_the_end(name: str, steps: int, end: float) -> None:
    levels = SCHEDULES[name](steps, end)
    assert levels.shape == (steps + 1,)
    assert levels.dtype == torch.float32
    assert levels[0] == 1
    assert levels[-1] == pytest.approx(end, abs=1e-7)
    assert (levels.diff() < 0).all()


def test_an_end_squeezes_the_whole_list() -> None:
    close(with_end(torch.tensor([1.0, 0.5]), 0.2), [1, 0.6, 0.2])


def test_distilled_levels_are_linear_quadratic_in_eight_steps() -> None:
    rounded = [round(level, 4) for level in linear_quadratic(8).tolist()]
    assert rounded == [1.0, 0.9937, 0.9875, 0.9812, 0.975, 0.9094, 0.725, 0.4219, 0.0]


DISTILLED = Schedule(
    kind="linear-quadratic", levels=(1.0, 0.975, 0.725), allowed=(1.0, 0.9875, 0.975, 0.725, 0.4219)
)


def test_a_list_is_taken_as_it_is() -> None:
    close(DISTILLED.sigmas(3, tokens=112), [1.0, 0.975, 0.725, 0])


def test_other_numbers_of_steps_choose_from_the_allowed_levels() -> None:
    close(DISTILLED.sigmas(2, tokens=112), [1.0, 0.975, 0])
    close(DISTILLED.sigmas(5, tokens=112), [1.0, 0.9875, 0.975, 0.725, 0.4219, 0])
    for steps in range(1, 6):
        DISTILLED.check(tuple(DISTILLED.sigmas(steps, tokens=112)[:-1].tolist()))


@pytest.mark.parametrize("steps", [0, 6])
def test_steps_that_a_distilled_model_cannot_take_are_refused(steps: int) -> None:
    with pytest.raises(RequestError, match=f"from 1 to 5, got {steps}"):
        DISTILLED.sigmas(steps, tokens=112)


def test_levels_that_a_distilled_model_does_not_know_are_refused() -> None:
    DISTILLED.check((1.0, 0.42188))
    with pytest.raises(RequestError, match=r"got 0\.9, 0\.5: choose from 1, 0\.9875"):
        DISTILLED.check((1.0, 0.9, 0.5))
    Schedule(kind="linear-quadratic").check((0.9, 0.5))


def test_the_last_step_goes_all_the_way_however_many_are_skipped() -> None:
    """The two passes of the 13B dev release: 27 steps, and 13 steps."""
    first = Schedule(kind="linear-quadratic", skip_final=3).sigmas(30, tokens=5600)
    second = Schedule(kind="linear-quadratic", skip_initial=17).sigmas(30, tokens=22400)
    assert (len(first), len(second)) == (28, 14)
    close(first[-2:], [0.445778, 0])
    close(second[[0, -2, -1]], [0.954778, 0.124111, 0])


def test_steps_that_are_all_skipped_are_refused() -> None:
    with pytest.raises(RequestError, match="choose 18 or more"):
        Schedule(kind="linear-quadratic", skip_initial=17).sigmas(17, tokens=112)


def test_a_schedule_is_the_formula_it_names() -> None:
    levels = Schedule(kind="shifted", terminal=0.1).sigmas(20, tokens=1024)
    assert torch.equal(levels, shifted(20, tokens=1024, terminal=0.1))
    end = Schedule(kind="uniform").sigmas(5, tokens=1024, end=0.05)
    assert torch.equal(end, uniform(5, end=0.05))


@pytest.mark.reference
@pytest.mark.parametrize("tokens", [1024, 6144])
@pytest.mark.parametrize("steps", [2, 20, 40])
def test_shifted_levels_equal_those_of_diffusers(steps: int, tokens: int) -> None:
    import numpy as np
    from diffusers import FlowMatchEulerDiscreteScheduler

    untyped: Any = FlowMatchEulerDiscreteScheduler
    theirs = untyped(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        shift_terminal=0.1,
    )
    theirs.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift(tokens))
    ours = Schedule(kind="shifted", terminal=0.1).sigmas(steps, tokens=tokens)
    torch.testing.assert_close(ours, theirs.sigmas, atol=2e-6, rtol=0)


@pytest.mark.reference
@pytest.mark.parametrize("steps", [1, 2, 7, 8, 30, 40])
def test_linear_quadratic_levels_equal_those_of_diffusers(steps: int) -> None:
    from diffusers.pipelines.ltx import pipeline_ltx_condition

    untyped: Any = pipeline_ltx_condition
    torch.testing.assert_close(
        linear_quadratic(steps)[:-1],
        untyped.linear_quadratic_schedule(steps),
        atol=1e-6,
        rtol=0,
    )
