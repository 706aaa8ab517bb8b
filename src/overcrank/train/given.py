"""What the transformer is given in training, and the loss on what it is not.

    x_s = (1 - s) z + s noise,   loss = mean of w |v(x_s, s, text) - (noise - z)|^2

Latent frames that are given stay clean, are called clean (s = 0) and are outside of the loss, and
so are tokens that a batch leaves out. What lies beside the clip is given as extra tokens in front:
a reference video, a picture of a later frame, the beginning of an ending. Their places are those
that `overcrank.conditioning` gives them. The weight w of a token grows with the part of its pixels
where an actor is seen.

Axes: B batch, T H W latent grid, N video tokens, C latent channels, K pictures,
M latent frames of an ending.
Sources: LTX-Video, arXiv:2501.00103, section 2.3 (a level for each token); Chen et al.,
"Diffusion Forcing", arXiv:2407.01392 (a level for each frame).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from einops import rearrange
from torch import Tensor

from overcrank.conditioning.clip import PREFIX
from overcrank.data.batches import Batch
from overcrank.flow import mix, shifted_logit_normal, velocity
from overcrank.shapes import FRAMES_PER_CELL, LatentSize
from overcrank.train.config import Conditions, Stage
from overcrank.transformer import Transformer, token_positions

NEARER = 2.0
"""Of the logit, by which levels near noise are drawn higher."""
WHOLE = 0.15
"""Of the clips of a stage whose levels end early, so many have all levels."""


@dataclass(frozen=True, slots=True)
class Given:
    """What each sample of a batch knows besides its text."""

    frames_BT: Tensor
    """True where a latent frame is given."""
    picture_B: Tensor | None = None
    """Which of the batch's pictures of later frames is given; None gives none."""
    ending: bool = False
    """Whether the beginning of an ending lies beside the clip."""
    reference: bool = False
    """Whether a reference video does."""

    @classmethod
    def nothing(cls, batch: Batch, *, reference: bool = False) -> "Given":
        """Only noise, and a reference video if it is always there."""
        samples, _, frames = batch.latent_BCTHW.shape[:3]
        free_BT = torch.zeros(samples, frames, dtype=torch.bool, device=batch.latent_BCTHW.device)
        return cls(free_BT, reference=reference)

    @classmethod
    def draw(cls, batch: Batch, conditions: Conditions, generator: torch.Generator) -> "Given":
        """By the probabilities of a run."""
        device = generator.device
        samples, _, frames = batch.latent_BCTHW.shape[:3]
        dice_B, part_B, of_all_3 = (
            torch.rand(count, generator=generator, device=device) for count in (samples, samples, 3)
        )
        wanted = (conditions.later_frame, conditions.ending, conditions.reference)
        later, ending, reference = (
            dice < wish for dice, wish in zip(of_all_3.tolist(), wanted, strict=True)
        )
        ends_B = _ends(batch) if ending else None
        if ends_B is None:
            ends_B = torch.full((samples,), frames, device=device)
            ending = False
        first_B = dice_B < conditions.first_frame
        beginning_B = ~first_B & (dice_B < conditions.first_frame + conditions.beginning)
        # Something is left to do: a clip of one latent frame is given nothing.
        count_B = first_B.long() + beginning_B * (1 + part_B * (frames - 1)).long()
        count_B = torch.minimum(count_B, ends_B - 1)
        picture_B = None
        if later and frames > 1:  # of a single frame, it would be the answer
            count = batch.keys_BKCHW.shape[1]
            picture_B = torch.randint(count, (samples,), generator=generator, device=device)
        frame_T = torch.arange(frames, device=device)
        given_BT = (frame_T < count_B[:, None]) | (frame_T >= ends_B[:, None])
        return cls(given_BT, picture_B, ending, reference)


def _ends(batch: Batch) -> Tensor | None:
    """The first latent frame (B,) that an ending gives; None if it is not in every clip."""
    if batch.ending_BCMHW.numel() == 0:
        return None
    ends_B = batch.key_frames_BK[:, -1] // FRAMES_PER_CELL + PREFIX
    return ends_B if bool((ends_B <= batch.latent_BCTHW.shape[2]).all()) else None


def _beside(batch: Batch, given: Given) -> Iterator[tuple[Tensor, Tensor]]:
    """Latents (B, C, T, H, W) of extra tokens, and the frames (B,) that they begin with."""
    rows_B = torch.arange(len(batch.latent_BCTHW), device=batch.latent_BCTHW.device)
    if given.reference:
        yield batch.reference_BCTHW[:, :, : batch.latent_BCTHW.shape[2]], 0 * rows_B
    if given.picture_B is not None:
        picture_BCHW = batch.keys_BKCHW[rows_B, given.picture_B]
        yield picture_BCHW[:, :, None], batch.key_frames_BK[rows_B, given.picture_B]
    if given.ending:
        yield batch.ending_BCMHW, batch.key_frames_BK[:, -1]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A batch as the network sees it: what lies beside the clip first, then the clip."""

    size: LatentSize
    clean_BNC: Tensor
    free_BN: Tensor
    """True where a token is not given."""
    positions_BNX: Tensor
    extra: int
    """Tokens in front that lie beside the clip."""
    kept_BN: Tensor
    """Places in the clip of the tokens that come after."""

    @classmethod
    def of(cls, batch: Batch, given: Given, *, causal: bool) -> "Tokens":
        """The clean tokens of a batch."""
        size = LatentSize(*batch.latent_BCTHW.shape[2:])
        own = _laid_out(batch.latent_BCTHW, torch.zeros_like(batch.frame_rate_B), causal=causal)
        parts = [_laid_out(*each, causal=causal) for each in _beside(batch, given)]
        parts.append((_left(own[0], batch.kept_BN), _left(own[1], batch.kept_BN)))
        clean_BNC, positions_BNX = (torch.cat(each, 1) for each in zip(*parts, strict=True))
        # Times the reciprocal, as `token_positions`: the last bit is heard.
        positions_BNX[..., 0] *= (1.0 / batch.frame_rate_B)[:, None]
        free_BN = ~given.frames_BT.repeat_interleave(size.height * size.width, 1)
        free_BN = _left(free_BN, batch.kept_BN)
        extra = clean_BNC.shape[1] - free_BN.shape[1]
        free_BN = torch.nn.functional.pad(free_BN, (extra, 0))
        return cls(size, clean_BNC, free_BN, positions_BNX, extra, batch.kept_BN)

    def levels(self, sigma: Tensor) -> Tensor:
        """Noise levels (B,), or (B, T) of latent frames, as (B, N): 0 where a token is given."""
        if sigma.ndim == 1:
            return sigma[:, None] * self.free_BN
        own_BN = sigma.repeat_interleave(self.size.height * self.size.width, dim=1)
        own_BN = _left(own_BN, self.kept_BN)
        return torch.nn.functional.pad(own_BN, (self.extra, 0)) * self.free_BN

    def clocks(self, sigma_BN: Tensor) -> Tensor:
        """`levels` for the network: one for each latent frame, if none of its tokens is left out.

        The network's modulation is then made once a frame.
        """
        whole = self.kept_BN.shape[1] == self.size.tokens
        return sigma_BN[:, :: self.size.height * self.size.width] if whole else sigma_BN


def draw_levels(
    batch: Batch, conditions: Conditions, generator: torch.Generator, stage: Stage | None = None
) -> Tensor:
    """Levels (B, T): one for the clip, or with some probability one for each latent frame.

    `stage` says where they are drawn; None: all over.
    """
    samples, _, *grid = batch.latent_BCTHW.shape
    tokens = LatentSize(*grid).tokens
    draw = partial(shifted_logit_normal, (samples, grid[0]), tokens=tokens, generator=generator)
    sigma_BT = draw()
    if stage is not None and stage.near_noise:
        near_B1 = torch.rand(samples, 1, generator=generator, device=generator.device)
        sigma_BT = torch.where(near_B1 < stage.near_noise, draw(more=NEARER), sigma_BT)
    if stage is not None and stage.below < 1:
        whole_B1 = torch.rand(samples, 1, generator=generator, device=generator.device)
        sigma_BT = torch.where(whole_B1 < WHOLE, sigma_BT, stage.below * sigma_BT)
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
        tokens.clocks(sigma_BN),
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


def _laid_out(latent_BCTHW: Tensor, begins_B: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    """Tokens (B, N, C) and their places in frames and pixels (B, N, 3); `begins_B` in frames."""
    samples, _, *grid = latent_BCTHW.shape
    there_NX = token_positions(LatentSize(*grid), 1.0, causal=causal).to(latent_BCTHW.device)
    there_BNX = there_NX.repeat(samples, 1, 1)
    there_BNX[..., 0] += begins_B[:, None]
    return rearrange(latent_BCTHW, "b c t h w -> b (t h w) c"), there_BNX
