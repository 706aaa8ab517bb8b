"""Toybox clips rendered, encoded and captioned once, then seen many times.

A cache is a folder of safetensors shards. Every shard says what it was made with, and shards made
with anything else are refused. Making a cache goes on where it stopped: a shard is a function of
its number.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from overcrank.errors import ModelError
from overcrank.shapes import ClipSize
from overcrank.text import TextEncoder
from overcrank.toybox import caption, render, sample_scene, truth

PER_SHARD = 128
FRAME_RATES = (24.0, 24.0, 24.0, 16.0, 30.0)
"""Clips are made at these rates in turn, so that the network learns what a rate is."""


@dataclass(frozen=True, slots=True)
class LatentClip:
    """One clip as the transformer's training sees it."""

    latent_CTHW: Tensor
    actors_THW: Tensor
    """The part of each token's pixels where an actor is seen."""
    frame_rate: float
    texts: tuple[Tensor, ...]
    """Embeddings (L, E) of its captions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSpec:
    """What a cache holds, and what made it."""

    size: ClipSize
    clips: int
    captions: int
    seed: int
    latent_hash: str
    """Of the autoencoder."""
    text: str
    """Name of the text encoder."""

    def metadata(self) -> dict[str, str]:
        """What every shard says of itself; shards do not depend on how many there are."""
        return {
            "latent_hash": self.latent_hash,
            "text": self.text,
            "size": f"{self.size.frames} x {self.size.height} x {self.size.width}",
            "captions": str(self.captions),
            "seed": str(self.seed),
        }

    def paths(self, folder: Path) -> list[Path]:
        """The shards, as many as the clips need."""
        return [folder / f"{n:05d}.safetensors" for n in range(-(-self.clips // PER_SHARD))]


class LatentCache:
    """The shards of a folder, in memory as float16."""

    def __init__(self, folder: Path, spec: CacheSpec) -> None:
        self._shards = []
        for path in spec.paths(folder):
            _check_shard(path, spec)
            self._shards.append(load_file(path))
        self.empty_LD = self._shards[0]["empty"].float()
        """Embedding of the empty prompt."""

    def __len__(self) -> int:
        return len(self._shards) * PER_SHARD

    def __getitem__(self, index: int) -> LatentClip:
        shard, place = self._shards[index // PER_SHARD], index % PER_SHARD
        lengths = shard["lengths"][place].tolist()
        texts = tuple(
            text[:length].float()
            for text, length in zip(shard["texts"][place], lengths, strict=True)
        )
        return LatentClip(
            shard["latents"][place].float(),
            shard["actors"][place].float() / 255,
            shard["frame_rates"][place].item(),
            texts,
        )


@torch.no_grad()
def make_cache(
    folder: Path,
    spec: CacheSpec,
    encode: Callable[[Tensor], Tensor],
    text: TextEncoder,
    on_shard: Callable[[int, int], None],
    turn: tuple[int, int] = (0, 1),
) -> None:
    """Make the shards that are missing. `encode` takes a video (1, 3, F, H, W) to its latent.

    With `turn` (n, of) only the n-th of every `of` shards, so that processes can share the work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = spec.paths(folder)
    for path in paths:
        if path.exists():
            _check_shard(path, spec)
    for number in range(turn[0], len(paths), turn[1]):
        path = paths[number]
        if not path.exists():
            tensors = _make_shard(number, spec, encode, text)
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            save_file(tensors, temporary, spec.metadata())
            temporary.replace(path)
        on_shard(number + 1, len(paths))


def _check_shard(path: Path, spec: CacheSpec) -> None:
    try:
        with safe_open(path, "pt") as file:
            found: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}: delete it, it is made again") from None
    for name, wanted in spec.metadata().items():
        if found.get(name) != wanted:
            raise ModelError(
                f"the cached latents in {path} do not fit this run: got {name} "
                f"{found.get(name, 'not stated')}, right is {wanted}: delete the folder and let "
                "the run make it again, or set latents.folder to another one"
            )


def _make_shard(
    number: int, spec: CacheSpec, encode: Callable[[Tensor], Tensor], text: TextEncoder
) -> dict[str, Tensor]:
    latents, actors, rates, embeds, lengths = [], [], [], [], []
    for index in range(number * PER_SHARD, (number + 1) * PER_SHARD):
        scene = sample_scene(spec.seed * 2**32 + index, split="train")
        rate = FRAME_RATES[index % len(FRAME_RATES)]
        frames = render(scene, spec.size, rate)
        video_BCFHW = frames[None].movedim(-1, 1).float().div(127.5).sub(1)
        latents.append(encode(video_BCFHW)[0].half())
        actors.append(share_of_tokens(truth(scene, spec.size, rate).masks.any(0), spec.size))
        rates.append(rate)
        lines = [caption(scene, index * spec.captions + n) for n in range(spec.captions)]
        embedding = text.encode(lines)
        embeds.append(embedding.embeds_BLD.half())
        lengths.append(embedding.keep_BL.sum(1))
    longest = max(e.shape[1] for e in embeds)
    padded = [F.pad(e, (0, 0, 0, longest - e.shape[1])) for e in embeds]
    return {
        "latents": torch.stack(latents),
        "actors": torch.stack(actors).mul(255).round().to(torch.uint8),
        "frame_rates": torch.tensor(rates),
        "texts": torch.stack(padded),
        "lengths": torch.stack(lengths),
        "empty": text.encode([""]).embeds_BLD[0].half(),
    }


def share_of_tokens(mask_FHW: Tensor, size: ClipSize) -> Tensor:
    """The part of each token's pixels that a mask covers, (T, H, W); token 0 has one frame."""
    grid = size.latent
    first_HW, rest_FHW = mask_FHW[:1].float(), mask_FHW[1:].float()
    shares = [F.adaptive_avg_pool3d(first_HW[None], (1, grid.height, grid.width))[0]]
    if grid.frames > 1:
        whole = (grid.frames - 1, grid.height, grid.width)
        shares.append(F.adaptive_avg_pool3d(rest_FHW[None], whole)[0])
    return torch.cat(shares)
