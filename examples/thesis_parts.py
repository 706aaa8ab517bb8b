"""The parts of `thesis.py`: objectives on clips rendered before, round trips, sampling.

Axes: B clips, F frames, H W pixels or cells, T latent frames, C channels, N tokens of a clip,
L text tokens, D their width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from small_world import RATE, Clips
from thesis_networks import start_from_components
from torch import Tensor, nn
from torch.utils.data import Dataset

from overcrank.data.batches import Batch
from overcrank.data.crops import Crops, Numbered, NumberedCrops
from overcrank.flow import Guidance, Schedule, euler, guided
from overcrank.metrics import psnr
from overcrank.runtime import Hardware, precision
from overcrank.shapes import LatentSize
from overcrank.train import RunConfig
from overcrank.train.given import Given, draw_levels, flow_loss
from overcrank.train.vae import VAEObjective, to_frames, to_video
from overcrank.transformer import Transformer, token_positions
from overcrank.vae import VAE
from overcrank.weights.store import save_component

AT_ONCE = 32
GUIDANCE = 3.0
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Steps(Dataset[Any]):
    """`self[step]` is a function of seed and step: some of the clips, by their numbers."""

    batch_of: Callable[[Tensor, torch.Generator], Any]
    clips: int
    batch: int
    steps: int
    seed: int

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Any:
        dice = torch.Generator().manual_seed(self.seed * 2**32 + step)
        return self.batch_of(torch.randint(self.clips, (self.batch,), generator=dice), dice)


class OnClips(VAEObjective):
    """The repository's autoencoder objective on the clips of a file."""

    def __init__(self, config: RunConfig, hardware: Hardware, train: Clips, test: Clips) -> None:
        super().__init__(config, hardware)
        self.train, self.test = train, test
        start_from_components(self.vae, train.frames[:128])

    def data(self) -> Dataset[NumberedCrops]:
        config = self.config
        batch, clips = config.stages[0].batch, len(self.train)
        return Numbered(Steps(self._crops, clips, batch, config.steps, config.seed))

    def _crops(self, picks_B: Tensor, _dice: torch.Generator) -> Crops:
        return Crops(self.train.frames[picks_B], self.train.masks[picks_B])

    @torch.no_grad()
    def evaluate(self, module: nn.Module, _folder: Path, _step: int) -> dict[str, float]:
        """Decibels of round trips of held-out clips, over the frame and on the actors."""
        frames, masks = self.test.frames[:64], self.test.masks[:64]
        output, video = round_trip(autoencoder(module), frames), to_video(frames)
        return {
            "held_out_psnr": psnr(output, video).mean().item(),
            "held_out_actor_psnr": psnr(output, video, masks[:, None]).mean().item(),
        }

    @torch.no_grad()
    def export(self, module: nn.Module, folder: Path) -> None:
        vae, pieces = autoencoder(module), self.train.frames[:256].split(AT_ONCE)
        raw = torch.cat([vae.posterior(to_video(piece)).mean_BCTHW for piece in pieces])
        flat = raw.double().movedim(1, 0).flatten(1)
        vae.per_channel_statistics.mean.copy_(flat.mean(1))
        vae.per_channel_statistics.std.copy_(flat.std(1))
        save_component(folder / "vae.safetensors", "vae", vae)


def autoencoder(module: nn.Module) -> VAE:
    """The one in what is trained, which may have a critic beside it."""
    return module["vae"] if isinstance(module, nn.ModuleDict) else module


def round_trip(vae: VAE, frames_BFHWC: Tensor) -> Tensor:
    """uint8 frames -> what the autoencoder keeps of them, (B, 3, F, H, W) about [-1, 1]."""
    pieces = frames_BFHWC.split(AT_ONCE)
    return torch.cat([vae.decode(vae.encode(to_video(piece))).float() for piece in pieces])


@torch.no_grad()
def tokens_of(vae: VAE, frames_BFHWC: Tensor, merge: int, hardware: Hardware) -> Tensor:
    """Latents as the transformer has them, merge x merge cells in one: (B, C, T, H, W)."""
    with precision(hardware):
        pieces = [vae.encode(to_video(piece)) for piece in frames_BFHWC.split(AT_ONCE)]
    latent_BCTHW = torch.cat(pieces).float()
    return rearrange(latent_BCTHW, "b c t (h q) (w r) -> b (c q r) t h w", q=merge, r=merge)


def pixels_of(
    vae: VAE, latent_BCTHW: Tensor, merge: int, sigma: float, hardware: Hardware
) -> Tensor:
    """The inverse, for latents of a noise level; uint8 (B, F, H, W, 3)."""
    cells = rearrange(latent_BCTHW, "b (c q r) t h w -> b c t (h q) (w r)", q=merge, r=merge)
    with precision(hardware):
        pieces = [
            to_frames(vae.decode(piece, torch.full((len(piece),), sigma)).float())
            for piece in cells.split(AT_ONCE)
        ]
    return torch.cat(pieces)


class OnTokens:
    """Rectified flow from texts, as `TransformerObjective`, on latents that are in memory."""

    def __init__(
        self,
        config: RunConfig,
        module: Transformer,
        train: Clips,
        latent_BCTHW: Tensor,
        measure: Callable[[Any, int], dict[str, float]],
    ) -> None:
        self.config, self.module, self.train = config, module.train(), train
        self.latent_BCTHW, self.measure = latent_BCTHW, measure

    def data(self) -> Dataset[Any]:
        """Batch number `step`."""
        config = self.config
        return Steps(
            self._batch, len(self.train), config.stages[0].batch, config.steps, config.seed
        )

    def _batch(self, picks_B: Tensor, dice: torch.Generator) -> Batch:
        voices_B = torch.randint(2, picks_B.shape, generator=dice)
        dropped_B = torch.rand(len(picks_B), generator=dice) < self.config.conditions.drop_text
        return batch_of(self.train, self.latent_BCTHW, picks_B, voices_B, dropped_B)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch."""
        levels_BT = draw_levels(batch, self.config.conditions, generator)
        given, extra = Given.nothing(batch), self.config.actor_weight
        return flow_loss(self.module, batch, levels_BT, given, generator, extra).mean(), {}

    def evaluate(self, module: nn.Module, _folder: Path, step: int) -> dict[str, float]:
        """What the driver measures, which knows the autoencoder."""
        return self.measure(module, step)

    def export(self, module: nn.Module, folder: Path) -> None:
        """Nothing: what is measured at the end is what a run is for."""


def batch_of(
    clips: Clips, latent_BCTHW: Tensor, picks_B: Tensor, voices_B: Tensor, dropped_B: Tensor
) -> Batch:
    """Latents `picks` with what belongs to them; nobody asks for pictures of later frames."""
    texts_BLD, keep_BL = clips.text(picks_B, voices_B, dropped_B)
    latent = latent_BCTHW[picks_B]
    return Batch(
        latent,
        clips.actors[picks_B],
        torch.full((len(picks_B),), RATE),
        texts_BLD,
        keep_BL,
        latent[:, None, :, 0],
        torch.zeros(len(picks_B), 1, dtype=torch.long),
        torch.arange(latent[0, 0].numel()).repeat(len(latent), 1),
    )


@torch.no_grad()
def held_out_loss(module: Transformer, clips: Clips, latent_BCTHW: Tensor) -> dict[str, float]:
    """Error of the velocity with fixed noise, by noise level."""
    picks_B = torch.arange(len(latent_BCTHW))
    zeros_B = torch.zeros_like(picks_B)
    batch = batch_of(clips, latent_BCTHW, picks_B, zeros_B, zeros_B > 0)
    losses = {}
    for level in LEVELS:
        dice, sigma_B = torch.Generator().manual_seed(0), torch.full((len(picks_B),), level)
        loss_B = flow_loss(module, batch, sigma_B, Given.nothing(batch), dice)
        losses[f"held_out_{level}"] = loss_B.mean().item()
    return losses


def sample(
    module: Transformer, clips: Clips, count: int, size: LatentSize, steps: int, end: float
) -> Tensor:
    """Latents of the captions of the first `count` clips, of noise level `end`: (B, C, T, H, W).

    The same noise for every network.
    """
    picks_B = torch.arange(count)
    none_B = torch.zeros(count, dtype=torch.bool)
    text_BLD, keep_BL = clips.text(picks_B, picks_B * 0, none_B)
    empty_BLD, empty_BL = clips.text(picks_B, picks_B * 0, ~none_B)
    positions = token_positions(size, RATE, causal=module.config.causal_positions)
    positions_BNX = positions.repeat(count, 1, 1)
    shape = (count, size.tokens, module.config.latent_channels)
    noise_BNC = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    levels = Schedule(kind="shifted").sigmas(steps, tokens=size.tokens, end=end)
    velocity = guided(
        lambda x, sigma: module(x, sigma, positions_BNX, text_BLD, keep_BL).float(),
        lambda x, sigma: module(x, sigma, positions_BNX, empty_BLD, empty_BL).float(),
        Guidance(GUIDANCE),
    )
    with torch.no_grad():
        tokens_BNC = euler(velocity, noise_BNC, levels)
    return rearrange(
        tokens_BNC, "b (t h w) c -> b c t h w", t=size.frames, h=size.height, w=size.width
    )
