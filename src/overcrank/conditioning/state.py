"""The tokens of a clip before sampling, and what a condition may do to them.

Axes: B batch, N video tokens, C latent channels, T H W cells of the latent grid, X (seconds,
pixels down, pixels right).
Source: Lightricks LTX-Video, `prepare_conditioning`.
"""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from einops import rearrange
from torch import Tensor

from overcrank.errors import RequestError
from overcrank.shapes import LatentSize
from overcrank.vae import VAE


@dataclass(frozen=True, slots=True, eq=False)
class LatentState:
    """Where every token starts: its value, and how noisy it may be called.

    The sampler's clock of a token is min(level, cap): 1 is a free token, 0 one that never moves.
    """

    size: LatentSize
    tokens_BNC: Tensor
    noise_BNC: Tensor
    cap_BN: Tensor
    positions_BNX: Tensor

    @classmethod
    def free(cls, noise_BCTHW: Tensor, positions_NX: Tensor) -> Self:
        """A clip of which nothing is known: all noise."""
        noise_BNC = rearrange(noise_BCTHW, "b c t h w -> b (t h w) c")
        return cls(
            size=LatentSize(*noise_BCTHW.shape[2:]),
            tokens_BNC=noise_BNC,
            noise_BNC=noise_BNC,
            cap_BN=noise_BNC.new_ones(noise_BNC.shape[:2]),
            positions_BNX=positions_NX[None].to(noise_BNC.device),
        )

    def begin_with(self, latent_BCTHW: Tensor, strength: float) -> Self:
        """The first latent frames given: noise and latent mixed, held back to 1 - strength."""
        clean_BNC = rearrange(latent_BCTHW, "b c t h w -> b (t h w) c").to(self.tokens_BNC)
        count = clean_BNC.shape[1]
        tokens_BNC, cap_BN = self.tokens_BNC.clone(), self.cap_BN.clone()
        tokens_BNC[:, :count] = torch.lerp(self.noise_BNC[:, :count], clean_BNC, strength)
        cap_BN[:, :count] = 1 - strength
        return replace(self, tokens_BNC=tokens_BNC, cap_BN=cap_BN)

    def latent(self, tokens_BNC: Tensor) -> Tensor:
        """Tokens back on the grid, (B, C, T, H, W)."""
        return rearrange(
            tokens_BNC, "b (t h w) c -> b c t h w", t=self.size.frames, h=self.size.height
        )


class Condition(Protocol):
    """Something a clip has to keep to."""

    def apply(self, state: LatentState, vae: VAE) -> LatentState:
        """The state with this condition put in."""
        ...

    def describe(self) -> dict[str, object]:
        """Plain values for the recipe that is stored with a clip; no pixels, no paths."""
        ...


def check_place(kind: str, at: int, strength: float) -> None:
    """Refuse a frame or a strength that a condition cannot have."""
    if isinstance(at, bool) or at != 0:
        raise RequestError(
            f"{kind} can stand at the beginning of a clip only, got at={at!r}: try at=0"
        )
    number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not number or not 0 < strength <= 1:
        raise RequestError(
            f"the strength of {kind} is above 0 and at most 1, got {strength!r}: try 1.0"
        )
