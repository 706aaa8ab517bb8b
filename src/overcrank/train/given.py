"""What the transformer is given in training, and the loss on what it is not.

    x_s = (1 - s) z + s noise,   loss = mean of w |v(x_s, s, text) - (noise - z)|^2

Latent frames that are given stay clean, are called clean (s = 0) and are outside of the loss, and
so are tokens that a batch leaves out; a picture of a later frame is given as extra tokens that lie
where that frame lies. The weight w of a token grows with the part of its pixels where an actor is
seen.

Axes: B batch, T H W latent grid, N video tokens, C latent channels, K pictures, M tokens of one.
Sources: LTX-Video, arXiv:2501.00103, section 2.3 (a level for each token); Chen et al.,
"Diffusion Forcing", arXiv:2407.01392 (a level for each frame).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from overcrank.data.batches import Batch
from overcrank.flow import mix, shifted_logit_normal, velocity
from overcrank.shapes import LatentSize
from overcrank.train.config import Conditions
from overcrank.transformer import Transformer, token_positions


@dataclass(frozen=True, slots=True)
class Given:
    """What each sample of a batch knows besides its text."""

    frames_BT: Tensor
    """True where a latent frame is given."""
    picture_B: Tensor | None = None
    """Which of the batch's pictures of later frames is given; None gives none."""

    @classmethod
    def nothing(cls, batch: Batch) -> "Given":
        """Only noise."""
        samples, _, frames = batch.latent_BCTHW.shape[:3]
        free_BT = torch.zeros(samples, frames, dtype=torch.bool, device=batch.latent_BCTHW.device)
        return cls(free_BT)

    @classmethod
    def draw(cls, batch: Batch, conditions: Conditions, generator: torch.Generator) -> "Given":
        """By the probabilities of a run."""
        device = generator.device
        samples, _, frames = batch.latent_BCTHW.shape[:3]
        dice_B, part_B, of_all = (
            torch.rand(count, generator=generator, device=device) for count in (samples, samples, 1)
        )
        first_B = dice_B < conditions.first_frame
        beginning_B = ~first_B & (dice_B < conditions.first_frame + conditions.beginning)
        # Something is left to do: a clip of one latent frame is given nothing.
        count_B = first_B.long() + beginning_B * (1 + part_B * (frames - 1)).long()
        count_B = count_B.clamp(max=frames - 1)
        picture_B = None
        if of_all.item() < conditions.later_frame:
            count = batch.keys_BKCHW.shape[1]
            picture_B = torch.randint(count, (samples,), generator=generator, device=device)
        return cls(torch.arange(frames, device=device) < count_B[:, None], picture_B)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A batch as the network sees it: pictures of later frames first, then the clip."""

    size: LatentSize
    clean_BNC: Tensor
    free_BN: Tensor
    """True where a token is not given."""
    positions_BNX: Tensor
    extra: int
    """Tokens in front that belong to pictures."""
    kept_BN: Tensor
    """Places in the clip of the tokens that come after."""

    @classmethod
    def of(cls, batch: Batch, given: Given, *, causal: bool) -> "Tokens":
        """The clean tokens of a batch."""
        size = LatentSize(*batch.latent_BCTHW.shape[2:])
        kept_BN = batch.kept_BN
        clean_BNC = _left(rearrange(batch.latent_BCTHW, "b c t h w -> b (t h w) c"), kept_BN)
        samples, device = len(clean_BNC), clean_BNC.device
        free_BN = ~_left(given.frames_BT.repeat_interleave(size.height * size.width, 1), kept_BN)
        positions_BNX = _left(_positions(size, samples, device, causal=causal), kept_BN)
        extra = 0
        if given.picture_B is not None:
            rows_B = torch.arange(samples, device=device)
            picture_BCHW = batch.keys_BKCHW[rows_B, given.picture_B]
            shown_BMC = rearrange(picture_BCHW, "b c h w -> b (h w) c")
            extra = shown_BMC.shape[1]
            there_BMX = _positions(
                LatentSize(1, size.height, size.width), samples, device, causal=causal
            )
            there_BMX[..., 0] += batch.key_frames_BK[rows_B, given.picture_B][:, None]
            clean_BNC = torch.cat([shown_BMC, clean_BNC], dim=1)
            free_BN = torch.cat([torch.zeros_like(shown_BMC[..., 0]).bool(), free_BN], dim=1)
            positions_BNX = torch.cat([there_BMX, positions_BNX], dim=1)
        positions_BNX[..., 0] /= batch.frame_rate_B[:, None]
        return cls(size, clean_BNC, free_BN, positions_BNX, extra, kept_BN)

    def levels(self, sigma: Tensor) -> Tensor:
        """Noise levels (B,), or (B, T) of latent frames, as (B, N): 0 where a token is given."""
        if sigma.ndim == 1:
            return sigma[:, None] * self.free_BN
        own_BN = sigma.repeat_interleave(self.size.height * self.size.width, dim=1)
        own_BN = _left(own_BN, self.kept_BN)
        return torch.nn.functional.pad(own_BN, (self.extra, 0)) * self.free_BN


def draw_levels(batch: Batch, conditions: Conditions, generator: torch.Generator) -> Tensor:
    """Levels (B, T): one for the clip, or with some probability one for each latent frame."""
    samples, _, *grid = batch.latent_BCTHW.shape
    tokens = LatentSize(*grid).tokens
    sigma_BT = shifted_logit_normal((samples, grid[0]), tokens=tokens, generator=generator)
    dice_B1 = torch.rand(samples, 1, generator=generator, device=generator.device)
    return torch.where(dice_B1 < conditions.own_levels, sigma_BT, sigma_BT[:, :1])


def flow_loss(
    module: Transformer,
    batch: Batch,
    sigma: Tensor,
    given: Given,
    generator: torch.Generator,
    actor_weight: float = 0.0,
) -> Tensor:
    """Squared error of the velocity per sample; a token full of actors weighs 1 + `actor_weight`.

    sigma is one level for each clip (B,) or latent frame (B, T).
    """
    tokens = Tokens.of(batch, given, causal=module.config.causal_positions)
    shape, device = tokens.clean_BNC.shape, generator.device
    noise_BNC = torch.randn(shape, generator=generator, device=device)
    sigma_BN = tokens.levels(sigma)
    predicted_BNC = module(
        mix(tokens.clean_BNC, noise_BNC, sigma_BN[..., None]),
        sigma_BN,
        tokens.positions_BNX,
        batch.text_BLD,
        batch.keep_BL,
    )
    error_BNC = predicted_BNC.float() - velocity(tokens.clean_BNC, noise_BNC)
    error_BN = error_BNC[:, tokens.extra :].square().mean(-1)
    actors_BN = _left(batch.actors_BTHW.flatten(1), tokens.kept_BN)
    weight_BN = tokens.free_BN[:, tokens.extra :] * (1 + actor_weight * actors_BN)
    return (error_BN * weight_BN).sum(1) / weight_BN.sum(1).clamp(min=1e-6)


def _left(of_clip_BN: Tensor, kept_BN: Tensor) -> Tensor:
    """Of numbers or vectors for each token of a clip, those of the tokens that are left."""
    rows_B1 = torch.arange(len(kept_BN), device=kept_BN.device)[:, None]
    return of_clip_BN[rows_B1, kept_BN]


def _positions(size: LatentSize, samples: int, device: torch.device, *, causal: bool) -> Tensor:
    """In frames and pixels, (B, N, 3)."""
    return token_positions(size, 1.0, causal=causal).to(device).repeat(samples, 1, 1)
