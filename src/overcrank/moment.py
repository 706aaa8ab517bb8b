"""A clip between two denoising steps: to look at, to keep, and to go on from.

Axes: B batch, always 1; N video tokens, C latent channels, T H W cells of the latent grid.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moment:
    """Where the sampler is after a step. The same request goes on from it to the same clip."""

    step: int
    """Steps that are done, of all passes."""
    total: int
    tokens_BNC: Tensor
    """As the sampler left them, tokens that conditions added among them."""
    data_BCTHW: Tensor
    """The latents that the step has pointed at: a clip for previews, clear from the middle on."""
