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

from overcrank import noise
from overcrank.errors import RequestError
from overcrank.shapes import LatentSize
from overcrank.transformer import token_positions
from overcrank.vae.remembered import Encodes

MAX_CRF = 51
"""Source: x264; 0 is no loss, here none of the treatment."""


@dataclass(frozen=True, slots=True, eq=False)
class LatentState:
    """Where every token starts: its value, and how noisy it may be called.

    The sampler's clock of a token is min(level, cap): 1 is a free token, 0 one that never moves.
    Extra tokens, which are looked at and then thrown away, stand before those of the clip.
    """

    size: LatentSize
    tokens_BNC: Tensor
    noise_BNC: Tensor
    """What the clip's own tokens start from where nothing is known of them."""
    cap_BN: Tensor
    positions_BNX: Tensor
    frame_rate: float
    """What frame numbers are turned into seconds with."""
    seed: int = 0
    causal: bool = True
    """Whether positions count the first latent frame as one frame, see `token_positions`."""

    @classmethod
    def free(
        cls,
        noise_BCTHW: Tensor,
        positions_NX: Tensor,
        *,
        frame_rate: float,
        seed: int = 0,
        causal: bool = True,
    ) -> Self:
        """A clip of which nothing is known: all noise."""
        noise_BNC = rearrange(noise_BCTHW, "b c t h w -> b (t h w) c")
        return cls(
            size=LatentSize(*noise_BCTHW.shape[2:]),
            tokens_BNC=noise_BNC,
            noise_BNC=noise_BNC,
            cap_BN=noise_BNC.new_ones(noise_BNC.shape[:2]),
            positions_BNX=positions_NX[None].to(noise_BNC.device),
            frame_rate=frame_rate,
            seed=seed,
            causal=causal,
        )

    @property
    def extra(self) -> int:
        """Number of extra tokens."""
        return self.tokens_BNC.shape[1] - self.size.tokens

    def put(self, latent_BCTHW: Tensor, strength: float, start: int = 0) -> Self:
        """Latent frames from `start` on given: mixed into the noise, held back to 1 - strength."""
        clean_BNC = rearrange(latent_BCTHW, "b c t h w -> b (t h w) c").to(self.tokens_BNC)
        first = start * self.size.height * self.size.width
        last = first + clean_BNC.shape[1]
        tokens_BNC, cap_BN = self.tokens_BNC.clone(), self.cap_BN.clone()
        own = slice(self.extra + first, self.extra + last)
        tokens_BNC[:, own] = torch.lerp(self.noise_BNC[:, first:last], clean_BNC, strength)
        cap_BN[:, own] = 1 - strength
        return replace(self, tokens_BNC=tokens_BNC, cap_BN=cap_BN)

    def add(self, latent_BCTHW: Tensor, strength: float, at: int = 0) -> Self:
        """Extra tokens given, which lie where they would lie in a clip that begins at frame `at`.

        Mixed into noise of their own, held back to 1 - strength. The latent covers the picture.
        """
        size = LatentSize(*latent_BCTHW.shape[2:])
        clean_BNC = rearrange(latent_BCTHW, "b c t h w -> b (t h w) c").to(self.tokens_BNC)
        before = self.extra // (size.height * size.width)
        noise_BNC = self._noise("extra", before + size.frames)[:, -size.tokens :]
        tokens_BNC = torch.lerp(noise_BNC, clean_BNC, strength)
        # Frame numbers are added before the division, as upstream: the last bit is heard.
        positions_NX = token_positions(size, 1.0, causal=self.causal).to(self.positions_BNX)
        positions_NX[:, 0] = (positions_NX[:, 0] + at) * (1.0 / self.frame_rate)
        return replace(
            self,
            tokens_BNC=_insert(self.tokens_BNC, tokens_BNC, self.extra),
            cap_BN=_insert(
                self.cap_BN, torch.full_like(tokens_BNC[..., 0], 1 - strength), self.extra
            ),
            positions_BNX=_insert(self.positions_BNX, positions_NX[None], self.extra),
        )

    def shaken(self, tokens_BNC: Tensor, step: int, level: float, scale: float) -> Tensor:
        """Tokens as the network shall see them before a step that begins at noise level `level`.

        Those that never move get noise of level^2 * scale, fresh in each step, and are still
        called clean: a clip that begins with a picture moves more. Scale 0.15 is upstream's.
        """
        if scale == 0:
            return tokens_BNC
        shaken_BNC = self.tokens_BNC + scale * level**2 * self.fresh("shake", step)
        return torch.where((self.cap_BN == 0)[..., None], shaken_BNC, tokens_BNC)

    def fresh(self, purpose: str, step: int) -> Tensor:
        """New noise for all tokens, (1, N, C); that of the clip's own heeds no extra ones."""
        own_BNC = self._noise(purpose, self.size.frames, step)
        if not self.extra:
            return own_BNC
        frames = self.extra // (self.size.height * self.size.width)
        return torch.cat([self._noise(f"{purpose} extra", frames, step), own_BNC], dim=1)

    def own(self, values: Tensor) -> Tensor:
        """What belongs to the clip of values (B, N, ...), without the extra tokens."""
        return values[:, self.extra :]

    def latent(self, tokens_BNC: Tensor) -> Tensor:
        """The clip's own tokens back on the grid, (B, C, T, H, W); extra ones are left out."""
        return rearrange(
            tokens_BNC[:, -self.size.tokens :],
            "b (t h w) c -> b c t h w",
            t=self.size.frames,
            h=self.size.height,
        )

    def _noise(self, purpose: str, frames: int, step: int = 0) -> Tensor:
        """Noise for whole latent frames, (1, N, C)."""
        cells = (self.tokens_BNC.shape[2], self.size.height, self.size.width)
        noise_TCHW = noise.gaussian(self.seed, purpose, cells, frames, step=step)
        return rearrange(noise_TCHW, "t c h w -> 1 (t h w) c").to(self.tokens_BNC)


class Condition(Protocol):
    """Something a clip has to keep to."""

    def apply(self, state: LatentState, encoder: Encodes) -> LatentState:
        """The state with this condition put in."""
        ...

    def describe(self) -> dict[str, object]:
        """Plain values for the recipe that is stored with a clip; no pixels, no paths."""
        ...


def check_strength(kind: str, strength: float) -> None:
    """Refuse a strength that a condition cannot have."""
    number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not number or not 0 < strength <= 1:
        raise RequestError(
            f"the strength of {kind} is above 0 and at most 1, got {strength!r}: try 1.0"
        )


def check_place(kind: str, at: int) -> None:
    """Refuse what is no number of a frame."""
    if type(at) is not int or at < 0:
        raise RequestError(f"{kind} stands at a frame, counted from 0, got at={at!r}: try at=0")


def check_crf(crf: int | None) -> None:
    """Refuse what is no quality of H.264; None leaves it to the model."""
    if crf is not None and (type(crf) is not int or not 0 <= crf <= MAX_CRF):
        raise RequestError(
            f"crf is a whole number from 0 (untouched) to {MAX_CRF}, got {crf!r}: try 29"
        )


def _insert(values: Tensor, new: Tensor, at: int) -> Tensor:
    new = new.expand(len(values), *new.shape[1:])
    return torch.cat([values[:, :at], new, values[:, at:]], dim=1)
