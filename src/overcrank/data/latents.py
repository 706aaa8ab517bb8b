"""Clips encoded, and their captions embedded, once, then seen many times.

A cache is a folder of safetensors shards. Every shard says what it was made with, and shards made
with anything else are refused. Making a cache goes on where it stopped: a shard is a function of
its number.
"""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Subset

from overcrank.data.controls import CONTROLS
from overcrank.data.loading import loaded, stay
from overcrank.data.originals import Original, Originals
from overcrank.errors import ModelError
from overcrank.shapes import FRAMES_PER_CELL, ClipSize
from overcrank.text import TextEncoder

PER_SHARD = 128
CAPTIONS_AT_ONCE = 64
ENDING = FRAMES_PER_CELL + 1
"""Frames of an ending that are encoded alone: two latent frames."""
NOTHING = torch.empty(0)
"""Of a clip without such latents."""


@dataclass(frozen=True, slots=True)
class LatentClip:
    """One clip as the transformer's training sees it."""

    latent_CTHW: Tensor
    actors_THW: Tensor
    """The part of each token's pixels where an actor is seen."""
    frame_rate: float
    texts: tuple[Tensor, ...]
    """Embeddings (L, E) of its captions."""
    keys_KCHW: Tensor
    """Latents of single frames, each encoded alone as a picture."""
    key_frames_K: Tensor
    """Their places in the clip, int64: the last frame and another multiple of 8."""
    ending_CMHW: Tensor = NOTHING
    """Latents of the 9 frames from the last key frame on, encoded alone."""
    reference_CTHW: Tensor = NOTHING
    """Latents of the clip's control."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSpec:
    """What a cache holds, and what made it."""

    size: ClipSize
    clips: int
    first: int = 0
    """Number of the first clip; caches whose numbers overlap show the same scenes."""
    captions: int
    seed: int
    latent_hash: str
    """Of the autoencoder."""
    text: str
    """Name of the text encoder."""
    world: str
    """Name of what the clips show."""
    endings: bool = False
    """Whether clips of 17 frames or more have an ending."""
    control: str | None = None
    """Which of `CONTROLS` is the reference of each clip."""
    held_out: int = 64
    """So many clips, the first ones, are never trained on."""

    def metadata(self) -> dict[str, str]:
        """What every shard says of itself; shards do not depend on how many there are."""
        more = {"endings": "1"} if self.endings else {}
        if self.control is not None:
            more["control"] = self.control
        return {
            "latent_hash": self.latent_hash,
            "text": self.text,
            "world": self.world,
            "size": f"{self.size.frames} x {self.size.height} x {self.size.width}",
            "captions": str(self.captions),
            "first": str(self.first),
            "seed": str(self.seed),
            **more,
        }

    def paths(self, folder: Path) -> list[Path]:
        """The shards, as many as the clips need."""
        return [folder / f"{n:05d}.safetensors" for n in range(-(-self.clips // PER_SHARD))]


class LatentCache:
    """The shards of a folder, float16; files are mapped, so that processes share them."""

    def __init__(self, folder: Path, spec: CacheSpec) -> None:
        self.held_out = spec.held_out
        self._shards = []
        for path in spec.paths(folder):
            _check_shard(path, spec)
            self._shards.append(load_file(path))
        self.empty_LD = self._shards[0]["empty"].float()
        """Embedding of the empty prompt."""

    def __len__(self) -> int:
        return sum(len(shard["latents"]) for shard in self._shards)

    @property
    def frame_rate(self) -> float:
        """Of most clips: the median."""
        return torch.cat([shard["frame_rates"] for shard in self._shards]).median().item()

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
            shard["keys"][place].float(),
            shard["key_frames"][place],
            shard["endings"][place].float() if "endings" in shard else NOTHING,
            shard["references"][place].float() if "references" in shard else NOTHING,
        )


@dataclass(frozen=True, slots=True)
class Makers:
    """What makes a cache. `encode` takes frames on the CPU, uint8 (B, F, H, W, 3), to latents
    (B, C, T, H, W) anywhere, `at_once` clips; `processes` render beside it, 0 in between."""

    clips: Originals
    encode: Callable[[Tensor], Tensor]
    text: TextEncoder
    processes: int = 0
    at_once: int = 1


@torch.no_grad()
def make_cache(
    folder: Path,
    spec: CacheSpec,
    makers: Makers,
    on_clips: Callable[[int, int], None],
    turn: tuple[int, int] = (0, 1),
) -> None:
    """Make the shards that are missing.

    With `turn` (n, of) only the n-th of every `of` shards, so that processes can share the work.
    `on_clips` hears at once, and then again and again, how many of these clips are done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = spec.paths(folder)
    for path in paths:
        if path.exists():
            _check_shard(path, spec)
    mine = range(turn[0], len(paths), turn[1])
    missing = [number for number in mine if not paths[number].exists()]
    total, lacking = (sum(_clips_in(n, makers) for n in some) for some in (mine, missing))
    done = total - lacking
    on_clips(done, total)

    def count(more: int) -> None:
        nonlocal done
        done += more
        on_clips(done, total)

    with closing(_rendered(makers, missing)) as clips:  # and with them its processes
        for number in missing:
            tensors = _make_shard(islice(clips, PER_SHARD), spec, makers, count)
            temporary = paths[number].with_suffix(f".{os.getpid()}.tmp")
            save_file(tensors, temporary, spec.metadata())
            temporary.replace(paths[number])


def _clips_in(shard: int, makers: Makers) -> int:
    """The last shard may have fewer than the others."""
    return min(PER_SHARD, len(makers.clips) - shard * PER_SHARD)


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
                "the run make it again, or give this entry of latents another folder: PATH"
            )


def _rendered(makers: Makers, shards: Sequence[int]) -> Generator[Original, None, None]:
    """The clips of some shards, in order; the last shard may have fewer than the others."""
    numbers = (n * PER_SHARD + place for n in shards for place in range(PER_SHARD))
    clips = Subset(makers.clips, [number for number in numbers if number < len(makers.clips)])
    ahead = 4 if makers.processes else None
    loader = DataLoader(
        clips,
        batch_size=None,
        num_workers=makers.processes,
        prefetch_factor=ahead,
        worker_init_fn=stay,
    )
    yield from loaded(loader)


def _make_shard(
    rendered: Iterator[Original], spec: CacheSpec, makers: Makers, count: Callable[[int], None]
) -> dict[str, Tensor]:
    """Encode a few clips at a time, so that the frames of few are held; the rest goes together."""
    encoded: dict[str, list[Tensor]] = {}
    clips: list[Original] = []
    while few := list(islice(rendered, makers.at_once)):
        for name, frames_BFHW3 in _to_encode(few, spec).items():
            encoded.setdefault(name, []).append(makers.encode(frames_BFHW3).half().cpu())
        clips += [replace(clip, frames_FHW3=NOTHING) for clip in few]
        count(len(few))
    latents = {name: torch.cat(parts).contiguous() for name, parts in encoded.items()}
    keys_BCHW = latents.pop("keys")[:, :, 0]
    texts = _embed([caption for clip in clips for caption in clip.captions], makers.text)
    lengths = torch.tensor([len(text) for text in texts])
    padded = pad_sequence(texts, batch_first=True)
    return {
        **latents,
        "actors": torch.stack([clip.actors_THW for clip in clips]),
        "frame_rates": torch.tensor([clip.frame_rate for clip in clips]),
        "texts": padded.unflatten(0, (len(clips), -1)),
        "lengths": lengths.unflatten(0, (len(clips), -1)),
        "empty": makers.text.encode([""]).embeds_BLD[0].half(),
        "keys": keys_BCHW.unflatten(0, (len(clips), -1)).contiguous(),
        "key_frames": torch.tensor([clip.key_frames for clip in clips]),
    }


def _to_encode(clips: Sequence[Original], spec: CacheSpec) -> dict[str, Tensor]:
    """What the autoencoder makes latents of, uint8 (B, F, H, W, 3), by their names in a shard."""
    frames = {
        "latents": torch.stack([clip.frames_FHW3 for clip in clips]),
        "keys": torch.cat([clip.frames_FHW3[clip.key_frames] for clip in clips])[:, None],
    }
    if spec.endings and spec.size.frames >= 2 * FRAMES_PER_CELL + 1:
        begins = [clip.key_frames[-1] for clip in clips]
        frames["endings"] = torch.stack(
            [
                clip.frames_FHW3[begin : begin + ENDING]
                for clip, begin in zip(clips, begins, strict=True)
            ]
        )
    if spec.control is not None:
        control = CONTROLS[spec.control]
        frames["references"] = torch.stack([control(clip.frames_FHW3) for clip in clips])
    return frames


def _embed(captions: Sequence[str], text: TextEncoder) -> list[Tensor]:
    """Embeddings (L, E) without padding."""
    found: list[Tensor] = []
    for first in range(0, len(captions), CAPTIONS_AT_ONCE):
        embedding = text.encode(captions[first : first + CAPTIONS_AT_ONCE])
        rows = zip(embedding.embeds_BLD, embedding.keep_BL, strict=True)
        found += [embeds_LD[keep_L].half() for embeds_LD, keep_L in rows]
    return found
