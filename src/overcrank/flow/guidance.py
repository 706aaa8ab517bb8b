"""Guidance: two velocity functions in, a better one out."""

from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from overcrank.flow.samplers import VelocityFn


@dataclass(frozen=True, slots=True)
class Guidance:
    """How strongly, and at which noise levels, the condition is followed."""

    scale: float = 1.0
    """Classifier-free: 1 follows the network as it is, larger follows the text more closely."""
    _: KW_ONLY
    stg_scale: float = 0.0
    """Spatiotemporal: how far to steer away from a network whose `stg_layers` mix nothing."""
    stg_layers: tuple[int, ...] = ()
    rescale: float = 0.0
    """In [0, 1]: how far the conditional velocity's standard deviation is restored."""
    interval: tuple[float, float] = (0.0, 1.0)
    """Noise levels, ends included, between which guidance is on."""
    project: bool = False
    """Fit the length of the unconditional velocity to the conditional one first."""


def guided(
    conditional: VelocityFn,
    unconditional: VelocityFn,
    guidance: Guidance,
    *,
    perturbed: VelocityFn | None = None,
) -> VelocityFn:
    """The guided velocity; a function that would not matter is not called.

    `perturbed` is the conditional velocity of the network with `stg_layers` that mix nothing.
    Source: Ho & Salimans, arXiv:2207.12598, equation 6; Hyung et al., arXiv:2411.18664
    (spatiotemporal); Kynkäänniemi et al., arXiv:2404.07724 (interval).
    """
    assert perturbed is not None or not guidance.stg_scale, guidance
    low, high = guidance.interval

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        v = here = conditional(x, sigma)
        # Tokens with a cap lag behind: the largest clock is the level of the schedule.
        if not low <= float(sigma.max()) <= high:
            return v
        if guidance.scale != 1:
            base = unconditional(x, sigma)
            if guidance.project:
                base = base * _projection(here, base)
            v = base + guidance.scale * (here - base)
        if perturbed is not None and guidance.stg_scale:
            v = v + guidance.stg_scale * (here - perturbed(x, sigma))
        return restore_std(v, here, guidance.rescale) if guidance.rescale and v is not here else v

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
