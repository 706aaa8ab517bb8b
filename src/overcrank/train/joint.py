"""What trains the autoencoder and the transformer together: one step moves both.

    loss = reconstruction(decoder(z_s), video) + flow(transformer, z)

Left alone, the diffusion loss makes the latents easy to predict, which is to say empty. Its
gradient on the latents is therefore scaled down to a small part of the reconstruction's, which
never loses its say. The transformer sees latents normalised by their own batch, and the decoder
learns from what the transformer really hands it: for some samples its noised latents are the
result of one step of the transformer from a higher level.

Source of the finding, and of another remedy: Leng et al., "REPA-E", arXiv:2504.10483, section 3.

Axes: B batch, C channels, T H W latent grid, N video tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.data import Dataset

from overcrank.data.batches import Batch
from overcrank.data.controls import CONTROLS
from overcrank.data.latents import ENDING
from overcrank.data.originals import share_of_tokens
from overcrank.data.pixels import PixelBatch, Pixels, Source, ToySource, gather
from overcrank.flow import mix
from overcrank.runtime import Hardware
from overcrank.shapes import FRAMES_PER_CELL, ClipSize
from overcrank.text import TextEncoder
from overcrank.train.config import RunConfig
from overcrank.train.given import Given, Tokens, draw_levels, flow_loss
from overcrank.train.loop import on_device
from overcrank.train.transformer import LEVELS
from overcrank.train.vae import VAEObjective, spread, to_video
from overcrank.transformer import Transformer
from overcrank.vae import VAE
from overcrank.weights import Card, Defaults, save_model
from overcrank.weights.card import TEXT_ENCODERS

HELD_OUT = 64


class JointObjective:
    """Trains the autoencoder of `pixels` and a transformer."""

    def __init__(
        self,
        config: RunConfig,
        pixels: VAEObjective,
        transformer: Transformer,
        text: TextEncoder,
        hardware: Hardware,
        source: Source | None = None,
    ) -> None:
        self.config, self.pixels, self.hardware = config, pixels, hardware
        self.text, self.source = text, source or ToySource()
        hardware.place(transformer)
        self.module = nn.ModuleDict({"vae": pixels.vae, "transformer": transformer.train()})
        self._held_out: PixelBatch | None = None

    def data(self) -> Dataset[PixelBatch]:
        """Batch number `step`."""

        def shape_of(step: int) -> tuple[int, ClipSize]:
            stage = self.config.stage(step)
            return stage.batch, stage.clip

        return Pixels(
            self.source,
            shape_of,
            self.text,
            steps=self.config.steps,
            seed=self.config.seed,
            drop_text=self.config.conditions.drop_text,
        )

    def loss(
        self, batch: PixelBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Of both networks, and what is worth logging."""
        pixels, conditions = self.pixels, self.config.conditions
        video_BCFHW = to_video(batch.frames)
        posterior = pixels.vae.posterior(video_BCFHW)
        pixels.follow_statistics(posterior.mean_BCTHW)
        for_decoder, for_flow = bounded(posterior.mean_BCTHW, self.config.joint.share)
        posterior = replace(posterior, mean_BCTHW=for_decoder)
        scale = Scale.of(for_flow)
        latents = self._latents(pixels.vae, batch, for_flow, scale)

        noisy_BCTHW, sigma_B = pixels.noised(posterior, generator)
        count = round(self.config.joint.handed * len(sigma_B))
        if count > 0:
            handed_BCTHW = self._handed(latents, scale, sigma_B[:count], generator)
            noisy_BCTHW = torch.cat([handed_BCTHW, noisy_BCTHW[count:]])
        loss, numbers = pixels.reconstruction(
            posterior, noisy_BCTHW, sigma_B, video_BCFHW, batch.actors, generator
        )
        latents = _each(latents, lambda x: x.repeat_interleave(self.config.joint.draws, 0))
        given = Given.draw(latents, conditions, generator)
        sigma_BT = draw_levels(latents, conditions, generator)
        extra = self.config.actor_weight
        flow = flow_loss(self._transformer, latents, sigma_BT, given, generator, extra).mean()
        return loss + flow, {**numbers, "reconstruction": loss.detach(), "flow": flow.detach()}

    @property
    def _transformer(self) -> Transformer:
        transformer = self.module["transformer"]
        assert isinstance(transformer, Transformer)
        return transformer

    def _latents(self, vae: VAE, batch: PixelBatch, mean_BCTHW: Tensor, scale: "Scale") -> Batch:
        """What the transformer sees."""
        latent_BCTHW = scale.normalise(mean_BCTHW.float())
        size, device = ClipSize(*batch.frames.shape[1:4]), latent_BCTHW.device
        return Batch(
            latent_BCTHW=latent_BCTHW,
            actors_BTHW=torch.stack([share_of_tokens(mask, size) for mask in batch.actors]),
            frame_rate_B=batch.frame_rate_B,
            text_BLD=batch.text_BLD,
            keep_BL=batch.keep_BL,
            key_frames_BK=batch.key_frames_BK,
            kept_BN=torch.arange(size.latent.tokens, device=device).repeat(len(latent_BCTHW), 1),
            **self._beside(vae, batch, scale),
        )

    @torch.no_grad()
    def _beside(self, vae: VAE, batch: PixelBatch, scale: "Scale") -> dict[str, Tensor]:
        """What may be given besides the clip, encoded: what the run never gives is left out."""
        conditions, frames = self.config.conditions, batch.frames
        rows_B1 = torch.arange(len(frames), device=frames.device)[:, None]

        def encoded(frames_BFHWC: Tensor) -> Tensor:
            return scale.normalise(vae.posterior(to_video(frames_BFHWC)).mean_BCTHW.float())

        found = {"keys_BKCHW": batch.frame_rate_B.new_zeros(len(frames), 0)}
        if conditions.later_frame > 0:
            pictures = frames[rows_B1, batch.key_frames_BK].flatten(0, 1)[:, None]
            keys = encoded(pictures)[:, :, 0]
            found["keys_BKCHW"] = keys.unflatten(0, tuple(batch.key_frames_BK.shape))
        if conditions.ending > 0 and frames.shape[1] >= 2 * FRAMES_PER_CELL + 1:
            places_BF = batch.key_frames_BK[:, -1:] + torch.arange(ENDING, device=frames.device)
            found["ending_BCMHW"] = encoded(frames[rows_B1, places_BF])
        if conditions.reference > 0:
            control = CONTROLS[conditions.control]
            shown = torch.stack([control(clip.cpu()) for clip in frames])
            found["reference_BCTHW"] = encoded(shown.to(frames.device))
        return found

    @torch.no_grad()
    def _handed(
        self, latents: Batch, scale: "Scale", sigma_B: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Raw latents of level `sigma_B` of the first samples, where a walk from above ends."""
        joint, count, device = self.config.joint, len(sigma_B), generator.device
        few = _each(latents, lambda x: x[:count])
        tokens = Tokens.of(
            few, Given.nothing(few), causal=self._transformer.config.causal_positions
        )
        above_B = (joint.handed_from - sigma_B).clamp(min=0)
        from_B = sigma_B + above_B * torch.rand(count, generator=generator, device=device)
        noise_BNC = torch.randn(tokens.clean_BNC.shape, generator=generator, device=device)
        at_BNC = mix(tokens.clean_BNC, noise_BNC, from_B[:, None, None])
        v_BNC = self._transformer(
            at_BNC, tokens.levels(from_B), tokens.positions_BNX, few.text_BLD, few.keep_BL
        )
        at_BNC = at_BNC + (sigma_B - from_B)[:, None, None] * v_BNC.float()
        grid = dict(zip("thw", latents.latent_BCTHW.shape[2:], strict=True))
        return scale.restore(rearrange(at_BNC, "b (t h w) c -> b c t h w", **grid))

    @torch.no_grad()
    def evaluate(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """Round trip, flow loss by noise level with fixed noise, and how rich the latents are."""
        vae, transformer = _networks(module)
        numbers = self.pixels.evaluate(vae, folder, step)
        held_out, device = self._unseen(), self.hardware.device
        mean_BCTHW = torch.cat(
            [vae.posterior(to_video(clip[None])).mean_BCTHW for clip in held_out.frames]
        )
        batch = self._latents(vae, held_out, mean_BCTHW, Scale.of(mean_BCTHW))
        for level in LEVELS:
            generator = torch.Generator(device).manual_seed(0)
            sigma_B = torch.full((len(held_out.frames),), level, device=device)
            loss_B = flow_loss(transformer, batch, sigma_B, Given.nothing(batch), generator)
            numbers[f"held_out_{level}"] = loss_B.mean().item()
        return {**numbers, **richness(mean_BCTHW)}

    def _unseen(self) -> PixelBatch:
        """Clips that are never trained on, drawn once."""
        if self._held_out is None:
            size = self.pixels.held_out
            clips = [self.source.unseen(number, size) for number in range(HELD_OUT)]
            self._held_out = on_device(gather(clips, self.text), self.hardware.device)
        return self._held_out

    @torch.no_grad()
    def export(self, module: nn.Module, folder: Path) -> None:
        """Write a model's folder: both networks, tied by the final statistics, and its card."""
        vae, transformer = _networks(module)
        vae = self.pixels.finished(vae)
        name = self.text.name if self.text.name in TEXT_ENCODERS else None
        card = Card(name="joint", text_encoder=name, defaults=self._defaults())
        save_model(folder, card, vae, transformer)

    def _defaults(self) -> Defaults:
        """What the model recommends: the shape that it saw last."""
        size = self.config.stages[-1].clip
        return Defaults(
            frames=size.frames,
            height=size.height,
            width=size.width,
            frame_rate=24.0,
            steps=20,
            guidance=3.0,
            decode_sigma=0.05,
            negative_prompt="",
        )


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and deviation of the channels of one batch, (C, 1, 1, 1), with their gradients.

    What moves is normalised by what it is now: statistics of earlier steps lag behind, and if they
    were constants the encoder could please the transformer by shrinking. Source: REPA-E, section
    3.2 (batch normalisation between the two networks).
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, mean_BCTHW: Tensor) -> "Scale":
        """Of raw latents."""
        mean = mean_BCTHW.float()
        return cls(mean.mean((0, 2, 3, 4))[:, None, None, None], spread(mean))

    def normalise(self, raw_BCTHW: Tensor) -> Tensor:
        """Raw -> zero mean and unit variance."""
        return (raw_BCTHW - self.mean) / self.deviation

    def restore(self, latent_BCTHW: Tensor) -> Tensor:
        """The inverse."""
        return latent_BCTHW * self.deviation + self.mean


def bounded(latent: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The latents twice, for the decoder and for the diffusion loss.

    Backwards, the second gradient is scaled down where its norm is more than `share` of the
    first's.
    """
    twice: tuple[Tensor, Tensor] = _Bounded.apply(latent, share)  # type: ignore[no-untyped-call]
    return twice


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latent: Tensor, share: float) -> tuple[Tensor, Tensor]:
        ctx.share = share
        return latent.clone(), latent.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        first, second = gradients
        most = ctx.share * first.float().norm()
        scale = (most / second.float().norm().clamp(min=1e-30)).clamp(max=1)
        return first + scale * second, None


def richness(mean_BCTHW: Tensor) -> dict[str, float]:
    """How much latents hold: what a collapse would take away.

    `latent_rank` is the exponential of the entropy of the principal components' variances, at most
    the number of channels (Roy & Vetterli, EUSIPCO 2007); the deviations are of raw channels.
    """
    flat_NC = rearrange(mean_BCTHW.double(), "b c t h w -> (b t h w) c")
    variances_C = torch.linalg.eigvalsh(flat_NC.T.cov()).clamp(min=1e-12)
    part_C = variances_C / variances_C.sum()
    deviations_C = flat_NC.std(0)
    return {
        "latent_rank": (-(part_C * part_C.log()).sum()).exp().item(),
        "latent_std": deviations_C.mean().item(),
        "latent_std_least": deviations_C.min().item(),
    }


def _each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    return Batch(*(change(getattr(batch, field.name)) for field in fields(Batch)))


def _networks(module: nn.Module) -> tuple[VAE, Transformer]:
    assert isinstance(module, nn.ModuleDict)
    vae, transformer = module["vae"], module["transformer"]
    assert isinstance(vae, VAE)
    assert isinstance(transformer, Transformer)
    return vae, transformer
