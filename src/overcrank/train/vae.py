"""What trains the autoencoder: reconstruction from noised latents.

    loss = reconstruction(y, x) + gan b G(y, x) + kl KL(q(z|x) || N(0, 1))

where y decodes (1 - s) z + s noise with s told to the decoder (its denoising step) and z is a
draw from the posterior in normalised units. `reconstruction.py` says how y is compared with x,
`critic.py` what the critic's say G is and how much it counts, b.
Source: HaCohen et al., "LTX-Video", arXiv:2501.00103, section 2.1.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from overcrank.data.crops import Numbered, NumberedCrops, ToyCrops
from overcrank.data.film import Film
from overcrank.data.fitting import ClipCrops
from overcrank.data.world import World
from overcrank.errors import RequestError
from overcrank.flow import mix
from overcrank.metrics import psnr
from overcrank.runtime import Hardware
from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene, truth
from overcrank.train.config import DecoderShape, RunConfig
from overcrank.train.critic import Critic, balance, game, knowledge
from overcrank.train.pace import Pace
from overcrank.train.pictures import contact_sheet
from overcrank.train.reconstruction import Reconstruction
from overcrank.vae import PRESETS, VAE, Posterior, cell_colours
from overcrank.weights import load_network, save_component

HELD_OUT = ClipSize(49, 128, 128)
UNSEEN, MEASURED = 8, 64
"""Clips for the round trip, and for the statistics of latents."""
STATISTICS_MOMENTUM = 0.02


class VAEObjective:
    """Trains a `VAE` on crops of clips."""

    def __init__(
        self,
        config: RunConfig,
        hardware: Hardware,
        world: World | None = None,
        held_out: ClipSize = HELD_OUT,
        clips: ClipCrops | None = None,
        tell: Callable[[dict[str, Any]], None] = lambda _event: None,
    ) -> None:
        self.config, self.hardware, self.world = config, hardware, world or World()
        self.held_out, self.clips, self.tell = held_out, clips, tell
        self.film = _film(config)
        if config.start_from is None:
            vae = VAE(config.decoder.of(PRESETS[config.row]))
        else:
            vae = _changed(load_network(config.start_from, "vae"), config.decoder)
        hardware.place(vae)
        self.judge = Reconstruction(config, hardware)
        for part in config.freeze:
            vae.get_submodule(part).requires_grad_(False)
        self.vae = vae.train()
        self.critic: Critic | None = None
        self.module: nn.Module = vae
        if config.loss.gan:
            self.critic = Critic(max(16, vae.config.base_width)).to(hardware.device)
            self.module = nn.ModuleDict({"vae": vae, "critic": self.critic})

    def data(self) -> Dataset[NumberedCrops]:
        """Batch number `step`."""
        share = self.config.film.share if self.config.film else 0.0
        crops = ToyCrops(
            self.config.seed,
            self.config.steps,
            self._shape,
            world=self.world,
            film=self.film,
            film_share=share,
            clips=self.clips,
        )
        return Numbered(crops)

    def _shape(self, step: int) -> tuple[int, ClipSize]:
        stage = self.config.stage(step)
        return stage.batch, stage.clip

    def loss(
        self, batch: NumberedCrops, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and what is worth logging; the critic's own loss is added where there is one."""
        video_BCFHW = to_video(batch.frames)
        posterior = self.vae.posterior(video_BCFHW)
        if "encoder" not in self.config.freeze:
            self.follow_statistics(posterior.mean_BCTHW)
        noisy_BCTHW, sigma_B = self.noised(posterior, generator)
        plays = self.critic is not None and int(batch.step_B[0]) >= self.config.loss.gan_from
        return self.reconstruction(
            posterior, noisy_BCTHW, sigma_B, video_BCFHW, batch.actors, generator, plays=plays
        )

    def noised(self, posterior: Posterior, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Raw latents as the decoder learns from them, and their levels (B,)."""
        raw = posterior.sample(generator).float()
        device = generator.device
        levels = torch.rand(2, len(raw), generator=generator, device=device)
        sigma_B = levels[0] * self.config.loss.max_sigma * (levels[1] < 0.7)
        # The scale of this very batch, with its gradient: were it a constant, the encoder could
        # escape the noise by growing.
        noise = torch.randn(raw.shape, generator=generator, device=device) * spread(
            posterior.mean_BCTHW
        )
        centre = self.vae.per_channel_statistics.mean[:, None, None, None]
        return mix(raw - centre, noise, sigma_B[:, None, None, None, None]) + centre, sigma_B

    def reconstruction(
        self,
        posterior: Posterior,
        noisy_BCTHW: Tensor,
        sigma_B: Tensor,
        video_BCFHW: Tensor,
        actors_BFHW: Tensor,
        generator: torch.Generator,
        *,
        plays: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of what the decoder makes of raw latents with noise, and numbers to log.

        plays: the critic learns, and is listened to.
        """
        output = self.vae.decoder(noisy_BCTHW, sigma_B, generator=generator).float()
        loss, numbers = self.judge(output, video_BCFHW, actors_BFHW, generator)
        if plays and self.critic is not None:
            misled, judged = game(self.critic, output, video_BCFHW)
            last = self.vae.decoder.conv_out.conv.weight
            scale = knowledge(judged) * balance(loss, misled, last)
            loss = loss + self.config.loss.gan * scale * misled + judged
            numbers |= {"gan": misled.detach(), "critic": judged.detach(), "gan_scale": scale}
        kl = posterior.kl()
        with torch.no_grad():
            decibels = psnr(output, video_BCFHW).mean()
        return loss + self.config.loss.kl * kl, {
            **numbers,
            "psnr": decibels,
            "kl": kl.detach(),
            "log_var": posterior.log_var_B1THW.detach().mean(),
        }

    @torch.no_grad()
    def follow_statistics(self, mean_BCTHW: Tensor) -> None:
        """Keep the latents' mean and deviation of every channel up to date."""
        statistics = self.vae.per_channel_statistics
        flat = mean_BCTHW.float().movedim(1, 0).flatten(1)
        fresh = bool((statistics.std == 1).all())
        momentum = 1.0 if fresh else STATISTICS_MOMENTUM
        statistics.mean.lerp_(flat.mean(1), momentum)
        statistics.std.lerp_(flat.std(1).clamp(min=1e-3), momentum)

    @torch.no_grad()
    def evaluate(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """Round trip of up to eight held-out clips: decibels over the frame and on the actors."""
        vae = _autoencoder(module)
        whole, inside, pictures = [], [], []
        drawn = torch.Generator().manual_seed(0)  # for decoders that inject noise
        for frames, actors in self._unseen():
            video = to_video(frames[None])
            latent = vae.encode(video.to(self.hardware.device))
            output = vae.decode(latent, generator=drawn).float().cpu()
            whole.append(psnr(output, video).item())
            if actors is not None:
                inside.append(psnr(output, video, actors[None, None]).item())
            pictures += [frames[::12], to_frames(output)[0, ::12]]
        if not pictures:
            return {}
        contact_sheet(pictures, folder / f"round-trip-{step:06d}.png")
        numbers = {"held_out_psnr": sum(whole) / len(whole)}
        return numbers | ({"held_out_actor_psnr": sum(inside) / len(inside)} if inside else {})

    def _unseen(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Clips that are never trained on, and where their actors are; real ones if there are."""
        if self.clips is not None:
            for frames in self.clips.held_out(self.held_out, UNSEEN):
                yield frames, None
            return
        for seed in range(UNSEEN):
            scene = sample_scene(10_000 + seed, split="test")
            actors = truth(scene, self.held_out).masks.any(0)
            yield render(scene, self.held_out), actors

    @torch.no_grad()
    def finished(self, vae: VAE) -> VAE:
        """A copy with statistics of its latents and a map to colours, measured on 64 clips.

        With a frozen encoder the statistics stay, and so does a map that is there.
        """
        vae, frozen = copy.deepcopy(vae), "encoder" in self.config.freeze
        if frozen and vae.config.preview:
            return vae
        raws, colours, pace = [], [], Pace(self.tell, "measuring latents")
        pace(0, MEASURED)
        for number, frames in enumerate(self._typical(), 1):
            video_BCFHW = to_video(frames[None]).to(self.hardware.device)
            raws.append(_cells(vae.posterior(video_BCFHW).mean_BCTHW.double()))
            colours.append(_cells(cell_colours(video_BCFHW)))
            pace(number, MEASURED)
        raw_NC, statistics = torch.cat(raws), vae.per_channel_statistics
        if not frozen:
            statistics.mean.copy_(raw_NC.mean(0))
            statistics.std.copy_(raw_NC.std(0))
        vae.fit_preview((raw_NC - statistics.mean) / statistics.std, torch.cat(colours))
        return vae

    def _typical(self) -> Iterator[Tensor]:
        """Clips as the run shows them, real ones and scenes by their share."""
        real = 0 if self.clips is None else round(self.clips.share * MEASURED)
        if self.clips is not None:
            yield from self.clips.typical(self.held_out, real)
        for seed in range(2**41, 2**41 + MEASURED - real):
            yield self.world.render(self.world.scene(seed, "train"), self.held_out, 24.0)

    @torch.no_grad()
    def export(self, module: nn.Module, folder: Path) -> None:
        """Write `vae.safetensors`, finished."""
        vae = self.finished(_autoencoder(module))
        save_component(folder / "vae.safetensors", "vae", vae)


def _film(config: RunConfig) -> Film | None:
    """Refused if no stage is small enough for it."""
    if config.film is None:
        return None
    film, sizes = Film(config.film.file), [stage.clip for stage in config.stages]
    if not any(film.has_room(size) for size in sizes):
        height, width = film.frames_NHW3.shape[1:3]
        raise RequestError(
            f"no stage is small enough for the film: got {width} x {height} pixels and at most "
            f"{max(film.lengths)} frames, right is a larger film (docs/film.md), or a smaller stage"
        )
    return film


def _cells(x_BCTHW: Tensor) -> Tensor:
    """One vector for each cell, (N, C)."""
    return x_BCTHW.movedim(1, -1).flatten(0, -2)


def _changed(vae: VAE, decoder: DecoderShape) -> VAE:
    """The same weights in another architecture; noise begins with scales of 0."""
    config = decoder.of(vae.config)
    if config == vae.config:
        return vae
    other = VAE(config)
    other.load_state_dict({**other.state_dict(), **vae.state_dict()})
    return other


def _autoencoder(module: nn.Module) -> VAE:
    """The one in what is trained."""
    vae = module["vae"] if isinstance(module, nn.ModuleDict) else module
    assert isinstance(vae, VAE)
    return vae


def spread(mean_BCTHW: Tensor) -> Tensor:
    """Standard deviation per channel over a batch, (C, 1, 1, 1)."""
    return mean_BCTHW.float().std((0, 2, 3, 4)).clamp(min=1e-3)[:, None, None, None]


def to_video(frames_BFHWC: Tensor) -> Tensor:
    """uint8 frames -> float video in [-1, 1], (B, 3, F, H, W)."""
    return frames_BFHWC.movedim(-1, 1).float().div(127.5).sub(1)


def to_frames(video_BCFHW: Tensor) -> Tensor:
    """Float video -> uint8 frames (B, F, H, W, 3)."""
    return video_BCFHW.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).movedim(1, -1)
