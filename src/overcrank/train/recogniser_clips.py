"""The clips that the recogniser learns from: plain renders, and round trips through an autoencoder.

Each clip is a function of its seed. Rendering may be shared among processes, which see no
network; the autoencoder works in this one, on the device it is on.

Axes: B batch, C channels, F frames, H W pixels, S slots.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from overcrank.runtime import choose, precision
from overcrank.shapes import ClipSize
from overcrank.toybox.bench import readable
from overcrank.toybox.motion import pose
from overcrank.toybox.recogniser import FRAMES, NAMES, OF_ACTOR, RATE, SIDE, SLOTS, prepare
from overcrank.toybox.render import render
from overcrank.toybox.scene import CAMERAS, Scene, sample_scene
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
HELD_OUT_STEP = 64
"""Seeds that each of those scenes may be looked for in."""
NONE = -100
"""Label of a slot that nobody stands in."""


@dataclass(frozen=True, slots=True)
class Clips:
    """uint8 (B, F, H, W, 3) with labels (B, S) for each name of an actor, (B,) of the world, and
    "centre" (B, S, F, 2), where actors are: x and y in [-1, 1] while inside of the frame.
    NONE is the label of what is not there: an actor, its rank where there is one, the sky seen
    from above."""

    frames: Tensor
    labels: dict[str, Tensor]

    def __getitem__(self, picks: Tensor | slice) -> "Clips":
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
class Mixture:
    """What batches are drawn from: sets of clips, and the part of a batch that each gives."""

    sets: Sequence[Clips]
    parts: Sequence[float]

    def batch(self, count: int, dice: torch.Generator) -> Clips:
        """`count` clips, drawn on the device of `dice`, where the sets are as well."""
        return Clips.cat(
            [
                clips[_picks(len(clips.frames), round(part * count), dice)]
                for clips, part in zip(self.sets, self.parts, strict=True)
            ]
        )


@dataclass(frozen=True, slots=True)
class Draw:
    """What a seed stands for; `sigma` is the noise on the latents of a round trip."""

    scene: Scene
    tempo: float
    sigma: float


def draw(seed: int) -> Draw:
    """One, two and three actors (40, 45 and 12 % of clips) or an empty scene. In half of the
    clips the camera moves or looks from above: four times as often as in scenes for models."""
    dice = random.Random(seed)
    count = dice.choices((0, 1, 2, 3), (3, 40, 45, 12))[0]
    scene = sample_scene(seed, split="test", actors=count or 1)
    if count == 0:
        scene = replace(scene, actors=())
    if dice.random() < 0.4:
        scene = replace(scene, camera=dice.choice(CAMERAS[1:]))
    return _drawn(scene, dice)


def training_draws(numbers: range) -> list[Draw]:
    """Of plain renders."""
    return [draw(TRAINING + number) for number in numbers]


def round_trip_draws(numbers: range) -> list[Draw]:
    """Of clips to learn from that go through an autoencoder."""
    return [draw(ROUND_TRIPS + number) for number in numbers]


def held_out_draws(numbers: range) -> list[Draw]:
    """One actor and two in turn, on scenes that can be read as well as those of a benchmark."""
    draws = []
    for number in numbers:
        seed = HELD_OUT + number * HELD_OUT_STEP
        while not readable(scene := sample_scene(seed, split="test", actors=1 + number % 2)):
            seed += 1
        draws.append(_drawn(scene, random.Random(seed)))
    return draws


def _drawn(scene: Scene, dice: random.Random) -> Draw:
    return Draw(scene, dice.uniform(0.8, 1.25), dice.choice((0.0, 0.05, 0.1)))


def label(scene: Scene, rate: float = RATE) -> dict[str, Tensor]:
    """Numbers of the right names and centres; actors stand from left to right at the beginning."""
    actors = sorted(scene.actors, key=lambda actor: pose(actor, 0.0).x)
    empty = [UNSURE if not actors else NONE] * (SLOTS - len(actors))
    labels = {
        name: torch.tensor([NAMES[name].index(getattr(actor, name)) for actor in actors] + empty)
        for name in OF_ACTOR
        if name != "depth"
    }
    ranks = [sum(other.z < actor.z for other in actors) for actor in actors]
    if len(actors) == 2:
        ranks = [2 * rank for rank in ranks]
    labels["depth"] = torch.tensor((ranks if len(actors) > 1 else [NONE] * len(actors)) + empty)
    labels["ground"] = torch.tensor(NAMES["ground"].index(scene.ground))
    labels["actors"] = torch.tensor(len(actors) - 1 if actors else UNSURE)
    seen_from_above = scene.camera == "above"
    labels["sky"] = torch.tensor(NONE if seen_from_above else NAMES["sky"].index(scene.sky))
    labels["camera"] = torch.tensor(NAMES["camera"].index(scene.camera))
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


def stored_clips(
    folder: Path,
    draws: Callable[[range], list[Draw]],
    count: int,
    vae: VAE | None = None,
    processes: int = 0,
) -> Clips:
    """The first `count` of some clips, or a few more, from the shards in `folder`; shards that
    are missing are made."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = {
        folder / f"{first // PER_SHARD:04d}.safetensors": range(first, first + PER_SHARD)
        for first in range(0, count, PER_SHARD)
    }
    missing = {path: numbers for path, numbers in shards.items() if not path.exists()}
    pieces = make_clips([d for each in missing.values() for d in draws(each)], vae, processes)
    for path in missing:
        clips = Clips.cat(list(islice(pieces, PER_SHARD // PIECE)))
        with write_atomically(path) as temporary:
            save_file({"frames": clips.frames, **clips.labels}, temporary)
    found = [load_file(path) for path in shards]
    return Clips.cat([Clips(tensors.pop("frames"), tensors) for tensors in found])


def _picks(of: int, count: int, dice: torch.Generator) -> Tensor:
    return torch.randint(of, (count,), generator=dice, device=dice.device)


def _pixels(video: Tensor) -> Tensor:
    """RGB about [-1, 1], colours first -> uint8, colours last."""
    return ((video.movedim(0, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _noise(shape: torch.Size, seed: int) -> Tensor:
    """The same on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
