"""The clips that the recogniser learns from: plain renders, and round trips through an autoencoder.

Each clip is a function of its seed. Rendering may be shared among processes, which see no
network; the autoencoder works in this one, on the device it is on.

Axes: B batch, C channels, F frames, H W pixels, S slots.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from overcrank.runtime import choose, precision
from overcrank.shapes import ClipSize
from overcrank.toybox.motion import pose
from overcrank.toybox.recogniser import FRAMES, NAMES, OF_ACTOR, RATE, SIDE, SLOTS, prepare
from overcrank.toybox.render import render
from overcrank.toybox.scene import Scene, sample_scene
from overcrank.toybox.truth import tracks
from overcrank.train.spoil import UNSURE
from overcrank.vae import VAE
from overcrank.weights.files import write_atomically

PIECE = 8
"""Clips that are rendered, and go through an autoencoder, together."""
PER_SHARD = 64
TRAINING = 2**42
"""First seed of the training clips, in the test split: unlike models, the recogniser has to know
the pairs that training scenes never show, or it would read them wrong. bench-v1 has small seeds."""
ROUND_TRIPS = TRAINING + 2**39
HELD_OUT = 2**41
"""First seed of the test split that calibrates and scores."""
NONE = -100
"""Label of a slot that nobody stands in."""


@dataclass(frozen=True, slots=True)
class Clips:
    """uint8 (B, F, H, W, 3) with labels (B, S) for each name of an actor, (B,) of the world, and
    "centre" (B, S, F, 2), where actors are: x and y in [-1, 1] while inside of the frame."""

    frames: Tensor
    labels: dict[str, Tensor]

    def __getitem__(self, picks: Tensor) -> "Clips":
        return Clips(
            self.frames[picks], {name: label[picks] for name, label in self.labels.items()}
        )

    def to(self, device: torch.device) -> "Clips":
        """The same on a device."""
        return Clips(
            self.frames.to(device), {name: label.to(device) for name, label in self.labels.items()}
        )

    @classmethod
    def cat(cls, parts: Sequence["Clips"]) -> "Clips":
        """One after the other."""
        return cls(
            torch.cat([part.frames for part in parts]),
            {name: torch.cat([part.labels[name] for part in parts]) for name in parts[0].labels},
        )


@dataclass(frozen=True, slots=True)
class Draw:
    """What a seed stands for; `sigma` is the noise on the latents of a round trip."""

    scene: Scene
    tempo: float
    sigma: float


def draw(seed: int, *, single: bool = False) -> Draw:
    """Single actors: always, or in 80 % of clips of which a few show an empty scene."""
    dice = random.Random(seed)
    actors = 1 if single or dice.random() < 0.5 else None
    scene = sample_scene(seed, split="test", actors=actors)
    if not single and dice.random() < 0.03:
        scene = replace(scene, actors=())
    return Draw(scene, dice.uniform(0.8, 1.25), dice.choice((0.0, 0.05, 0.1)))


def label(scene: Scene, rate: float = RATE) -> dict[str, Tensor]:
    """Numbers of the right names and centres; actors stand from left to right at the beginning."""
    actors = sorted(scene.actors, key=lambda actor: pose(actor, 0.0).x)
    empty = [UNSURE if not actors else NONE] * (SLOTS - len(actors))
    labels = {
        name: torch.tensor([NAMES[name].index(getattr(actor, name)) for actor in actors] + empty)
        for name in OF_ACTOR
    }
    labels["ground"] = torch.tensor(NAMES["ground"].index(scene.ground))
    labels["actors"] = torch.tensor(len(actors) - 1 if actors else UNSURE)
    labels["centre"] = torch.zeros(SLOTS, FRAMES, 2)
    in_order = replace(scene, actors=tuple(actors))
    for slot, track in enumerate(tracks(in_order, ClipSize(FRAMES + 1, SIDE, SIDE), rate)):
        labels["centre"][slot] = torch.tensor(track[:FRAMES]) * 2 / SIDE - 1
    return labels


class Renders(Dataset[Tensor]):
    """`self[i]` is a piece of some clips, uint8 (B, F, H, W, 3): ready to be looked at, or, if
    `whole`, at the 24 frames a second that autoencoders are used to."""

    def __init__(self, pieces: Sequence[Sequence[Draw]], *, whole: bool) -> None:
        self.pieces, self.whole = pieces, whole

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> Tensor:
        if self.whole:
            size = ClipSize(4 * FRAMES + 1, 128, 128)
            return torch.stack([render(d.scene, size, 24.0 / d.tempo) for d in self.pieces[index]])
        size = ClipSize(FRAMES + 1, 128, 128)
        clips = [render(d.scene, size, RATE / d.tempo) for d in self.pieces[index]]
        return torch.stack([_pixels(prepare(clip, RATE)) for clip in clips])


def make_clips(
    draws: Sequence[Draw], vae: VAE | None = None, processes: int = 0
) -> Iterator[Clips]:
    """Clips in pieces of `PIECE`, on the CPU; seen through `vae` if there is one.

    Rendered by so many processes (0: by this one), which changes nothing about the clips.
    """
    pieces = [draws[i : i + PIECE] for i in range(0, len(draws), PIECE)]
    renders = Renders(pieces, whole=vae is not None)
    loader = DataLoader(renders, batch_size=None, num_workers=processes)
    for piece, rendered in zip(pieces, loader, strict=True):
        frames = rendered
        if vae is not None:
            seen = through(vae, rendered, piece)
            frames = torch.stack([_pixels(prepare(clip, 24.0)) for clip in seen]).cpu()
        labels = [label(d.scene, RATE / d.tempo) for d in piece]
        yield Clips(
            frames, {name: torch.stack([each[name] for each in labels]) for name in labels[0]}
        )


@torch.no_grad()
def through(vae: VAE, frames_BFHWC: Tensor, piece: Sequence[Draw]) -> Tensor:
    """uint8 -> uint8 on the device of `vae`; the latents are noised to `sigma` on the way."""
    hardware = choose(next(vae.parameters()).device, "auto")
    video_BCFHW = frames_BFHWC.to(hardware.device).movedim(-1, 1).float() / 127.5 - 1
    sigma_B = torch.tensor([d.sigma for d in piece], device=hardware.device)
    with precision(hardware):
        latent_BCTHW = vae.encode(video_BCFHW)
        noise_BCTHW = torch.stack([_noise(latent_BCTHW.shape[1:], d.scene.seed) for d in piece])
        part = sigma_B[:, None, None, None, None]
        noised_BCTHW = (1 - part) * latent_BCTHW + part * noise_BCTHW.to(hardware.device)
        output_BCFHW = vae.decode(noised_BCTHW, sigma_B if vae.config.denoises else None)
    return _pixels(output_BCFHW.float().movedim(1, 0))


def stored_clips(folder: Path, count: int, vae: VAE | None = None, processes: int = 0) -> Clips:
    """At least `count` training clips from the shards in `folder`, made where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = [folder / f"{number:04d}.safetensors" for number in range(-(-count // PER_SHARD))]
    missing = [number for number, path in enumerate(shards) if not path.exists()]
    first = TRAINING if vae is None else ROUND_TRIPS
    seeds = [first + number * PER_SHARD + i for number in missing for i in range(PER_SHARD)]
    pieces = make_clips([draw(seed) for seed in seeds], vae, processes)
    for number in missing:
        clips = Clips.cat(list(islice(pieces, PER_SHARD // PIECE)))
        with write_atomically(shards[number]) as temporary:
            save_file({"frames": clips.frames, **clips.labels}, temporary)
    found = [load_file(path) for path in shards]
    return Clips.cat([Clips(tensors.pop("frames"), tensors) for tensors in found])


def held_out(numbers: range, vae: VAE | None = None, processes: int = 0) -> Clips:
    """Scenes of one actor that training never sees."""
    draws = [draw(HELD_OUT + number, single=True) for number in numbers]
    return Clips.cat(list(make_clips(draws, vae, processes)))


def _pixels(video: Tensor) -> Tensor:
    """RGB about [-1, 1], colours first -> uint8, colours last."""
    return ((video.movedim(0, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _noise(shape: torch.Size, seed: int) -> Tensor:
    """The same on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
