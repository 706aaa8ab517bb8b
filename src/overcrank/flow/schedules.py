"""Noise schedules: the levels a sampler visits, from pure noise down.

Each schedule gives steps + 1 float32 levels, falling from 1 to `end`: a sampler walks along the
pairs. An `end` above 0 squeezes the whole schedule into [end, 1]; models whose decoder takes the
last denoising step stop there.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from overcrank.errors import RequestError

_LEAST_TOKENS, _LEAST_SHIFT = 1024, 0.95
_MOST_TOKENS, _MOST_SHIFT = 4096, 2.05

_DIGITS = 4
"""To which levels are rounded before they are compared with the ones a model was distilled for."""

ScheduleKind = Literal["uniform", "shifted", "linear-quadratic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How a model's noise levels are chosen."""

    kind: ScheduleKind
    terminal: float | None = None
    """Of a shifted schedule: its last level before the end."""
    levels: tuple[float, ...] = ()
    """Of a distilled model: the level each step starts from, instead of a formula."""
    between: bool = False
    """Whether another number of steps takes levels evenly from the line through the list and 0,
    as many as are asked for; else some of the list."""
    allowed: tuple[float, ...] = ()
    """Of a distilled model: all the levels it was trained for, to four digits; empty: any."""
    skip_initial: int = 0
    """Steps left out at the beginning, for a pass that begins with more than noise."""
    skip_final: int = 0
    """Steps left out at the end: the last one that is left goes all the way."""

    @property
    def default_steps(self) -> int | None:
        """Steps of the distilled list; None where any number will do."""
        return len(self.levels or self.allowed) or None

    def sigmas(self, steps: int, *, tokens: float, end: float = 0.0) -> Tensor:
        """The levels that `steps` steps visit, float32, from the first one down to `end`.

        `steps` are counted before any are skipped. A distilled model has a list: fewer steps
        take some of its levels, the first among them, at equal distances in the list.
        """
        if self.levels or self.allowed:
            return with_end(torch.tensor(self._listed(steps), dtype=torch.float64), end)
        if steps <= self.skip_initial + self.skip_final:
            least = self.skip_initial + self.skip_final + 1
            raise RequestError(
                f"num_inference_steps must leave one to take, got {steps} of which "
                f"{least - 1} are skipped: choose {least} or more"
            )
        match self.kind:
            case "uniform":
                levels = uniform(steps, end=end)
            case "shifted":
                levels = shifted(steps, tokens=tokens, terminal=self.terminal, end=end)
            case "linear-quadratic":
                levels = linear_quadratic(steps, end=end)
        return torch.cat((levels[self.skip_initial : steps - self.skip_final], levels[-1:]))

    def check(self, sigmas: tuple[float, ...]) -> None:
        """Refuse levels that a distilled model was not trained for."""
        known = {round(level, _DIGITS) for level in self.allowed}
        # Through float32, as upstream: 0.99375 rounds to 0.9937 there.
        given = torch.tensor(sigmas, dtype=torch.float32).tolist()
        wrong = [level for level in given if round(level, _DIGITS) not in known]
        if known and wrong:
            raise RequestError(
                "a distilled model takes the noise levels it was trained for, got "
                f"{', '.join(f'{level:.4g}' for level in wrong)}: choose from "
                f"{', '.join(f'{level:g}' for level in self.allowed)}"
            )

    def _listed(self, steps: int) -> tuple[float, ...]:
        if steps == len(self.levels):
            return self.levels
        if self.between:
            known = torch.tensor([*self.levels, 0.0], dtype=torch.float64)
            places = torch.linspace(0, len(self.levels), steps + 1, dtype=torch.float64)[:-1]
            low = places.long()
            return tuple(torch.lerp(known[low], known[low + 1], places - low).tolist())
        choices = self.allowed or self.levels
        if not 1 <= steps <= len(choices):
            raise RequestError(
                f"num_inference_steps of this distilled model are from 1 to {len(choices)}, "
                f"got {steps}: it knows the noise levels {', '.join(f'{c:g}' for c in choices)}"
            )
        return tuple(choices[step * len(choices) // steps] for step in range(steps))


def uniform(steps: int, *, end: float = 0.0) -> Tensor:
    """Levels at equal distances."""
    return with_end(_uniform(steps), end)


def linear_quadratic(steps: int, *, threshold: float = 0.025, end: float = 0.0) -> Tensor:
    """The first half of the steps walks `threshold` in equal strides, the rest quadratically.

    Source: Polyak et al., "Movie Gen", arXiv:2410.13720, section 3.4.2; constants of LTX-Video.
    """
    slow = steps // 2
    fast = steps - slow
    if slow == 0:
        return with_end(_uniform(steps), end)
    lack = slow - threshold * steps
    square = lack / (slow * fast**2)
    line = threshold / slow - 2 * lack / fast**2
    index = torch.arange(steps, dtype=torch.float64)
    walked = torch.where(
        index < slow,
        threshold * index / slow,
        square * (index**2 + slow**2) + line * index,
    )
    return with_end(1 - walked, end)


def shifted(
    steps: int, *, tokens: float, terminal: float | None = None, end: float = 0.0
) -> Tensor:
    """Uniform levels moved towards noise, the further the more tokens a clip has.

    With `terminal`, the last level before the end is stretched to that value.
    Source: Esser et al., "Stable Diffusion 3", arXiv:2403.03206, section 5.3.2.
    """
    levels = _uniform(steps)
    levels = 1 / (1 + math.exp(-shift(tokens)) * (1 / levels - 1))
    if terminal is not None and steps > 1:
        levels = 1 - (1 - levels) * ((1 - terminal) / (1 - levels[-1]))
    return with_end(levels, end)


def shift(tokens: float) -> float:
    """Mean of the noise level's logit for clips of that many tokens; not clamped.

    Source: LTX-Video, arXiv:2501.00103, section 3.1; through (1024, 0.95) and (4096, 2.05).
    """
    slope = (_MOST_SHIFT - _LEAST_SHIFT) / (_MOST_TOKENS - _LEAST_TOKENS)
    return _LEAST_SHIFT + slope * (tokens - _LEAST_TOKENS)


def with_end(levels: Tensor, end: float = 0.0) -> Tensor:
    """Append 0 to descending positive levels and squeeze them all into [end, 1]."""
    closed = torch.cat((levels, levels.new_zeros(1)))
    return (end + (1 - end) * closed).float()


def _uniform(steps: int) -> Tensor:
    return torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
