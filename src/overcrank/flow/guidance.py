"""Guidance: two velocity functions in, a better one out."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from torch import Tensor

from overcrank.flow.samplers import VelocityFn

SkipMode = Literal["attention_values", "attention_skip", "transformer_block"]
"""What a perturbed layer leaves out.

`attention_values`: each token attends to itself alone. `attention_skip`: the input of the
self-attention stands for its output, before the last projection. `transformer_block`: all of it.
"""


@dataclass(frozen=True, slots=True)
class Guidance:
    """How strongly, and at which noise levels, the condition is followed."""

    scale: float = 1.0
    """Classifier-free: 1 follows the network as it is, larger follows the text more closely, 0
    follows the negative prompt alone."""
    _: KW_ONLY
    stg_scale: float = 0.0
    """Spatiotemporal: how far to steer away from a network whose `stg_layers` mix nothing."""
    stg_layers: tuple[int, ...] = ()
    stg_mode: SkipMode = "attention_values"
    rescale: float = 0.0
    """In [0, 1]: how far the conditional velocity's standard deviation is restored."""
    interval: tuple[float, float] = (0.0, 1.0)
    """Noise levels, ends included, between which guidance is on."""
    project: bool = False
    """Fit the length of the unconditional velocity to the conditional one first."""

    @property
    def entries(self) -> tuple["Guidance", ...]:
        """All the guidance that a run may meet: this one."""
        return (self,)

    @property
    def uses_negative(self) -> bool:
        """Whether the unconditional velocity matters."""
        return self.scale != 1

    @property
    def uses_perturbed(self) -> bool:
        """Whether the perturbed velocity matters; with no layers it is the conditional one."""
        return self.stg_scale != 0 and len(self.stg_layers) > 0

    def at(self, level: float) -> "Guidance":
        """The guidance at a noise level of the schedule; outside `interval` there is none."""
        low, high = self.interval
        return self if low <= level <= high else _NONE


_NONE = Guidance()


@dataclass(frozen=True, slots=True)
class GuidanceByLevel:
    """Another guidance for each range of noise levels, as the published configurations list it."""

    levels: tuple[float, ...]
    """Falling; `entries[i]` is for noise levels from `levels[i]` up to the one before it."""
    entries: tuple[Guidance, ...]
    """As many as levels; the last goes on below the last level."""

    def __post_init__(self) -> None:
        assert len(self.levels) == len(self.entries) > 0, (self.levels, self.entries)
        assert list(self.levels) == sorted(self.levels, reverse=True), self.levels

    @property
    def uses_negative(self) -> bool:
        """Whether the unconditional velocity matters at any level."""
        return any(entry.uses_negative for entry in self.entries)

    def at(self, level: float) -> Guidance:
        """The guidance at a noise level of the schedule: the first entry whose level is reached.

        Compared in float32, the schedule's own precision: 0.985 reaches 0.985.
        """
        reached = torch.tensor(self.levels) <= torch.tensor(level)
        index = int(reached.int().argmax()) if reached.any() else len(self.levels) - 1
        return self.entries[index].at(level)

    @classmethod
    def of(
        cls,
        levels: Sequence[float],
        scale: Sequence[float],
        stg_scale: Sequence[float],
        rescale: Sequence[float],
        stg_layers: Sequence[tuple[int, ...]],
        *,
        project: bool = False,
    ) -> "GuidanceByLevel":
        """From one list for each number, entry by entry."""
        rows = zip(scale, stg_scale, rescale, stg_layers, strict=True)
        entries = [
            Guidance(s, stg_scale=stg, rescale=r, stg_layers=layers, project=project)
            for s, stg, r, layers in rows
        ]
        return cls(tuple(levels), tuple(entries))


def guided(
    conditional: VelocityFn,
    unconditional: VelocityFn,
    guidance: Guidance | GuidanceByLevel,
    *,
    both: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    perturb: Callable[[Guidance], VelocityFn] | None = None,
) -> VelocityFn:
    """The guided velocity; a function that would not matter is not called.

    `both` gives the two velocities in one call, where that takes less time than one after another.
    `perturb` gives the conditional velocity of the network with the `stg_layers` of a guidance,
    which may change with the level, perturbed as its `stg_mode` says.
    Source: Ho & Salimans, arXiv:2207.12598, equation 6; Hyung et al., arXiv:2411.18664
    (spatiotemporal); Kynkäänniemi et al., arXiv:2404.07724 (interval).
    """

    def in_turn(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return conditional(x, sigma), unconditional(x, sigma)

    at_once = both or in_turn

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        # Tokens with a cap lag behind: the largest clock is the level of the schedule.
        now = guidance.at(float(sigma.max()))
        if not now.uses_negative:
            v = here = conditional(x, sigma)
        else:
            here, base = at_once(x, sigma)
            if now.project:
                base = base * _projection(here, base)
            v = base + now.scale * (here - base)
        if now.uses_perturbed:
            assert perturb is not None, now
            v = v + now.stg_scale * (here - perturb(now)(x, sigma))
        return restore_std(v, here, now.rescale) if now.rescale and v is not here else v

    return velocity


def restore_std(v: Tensor, like: Tensor, amount: float) -> Tensor:
    """Scale each sample of v towards the standard deviation of `like`; amount in [0, 1].

    Source: Lin et al., arXiv:2305.08891, equations 15 and 16.
    """
    ratio = _std(like) / _std(v)
    return v * (amount * ratio + (1 - amount))


def _projection(v: Tensor, base: Tensor) -> Tensor:
    """Factor a that minimises |v - a base| for each sample.

    Source: Fan et al., "CFG-Zero*", arXiv:2503.18886, section 4.
    """
    axes = tuple(range(1, v.ndim))
    return (v * base).sum(axes, keepdim=True) / (base.square().sum(axes, keepdim=True) + 1e-8)


def _std(x: Tensor) -> Tensor:
    return x.std(tuple(range(1, x.ndim)), keepdim=True)
