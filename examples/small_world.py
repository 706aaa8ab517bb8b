"""A small part of the toybox, rendered once: what a network of minutes can learn.

One large plain solid before a resting camera: four shapes, six colours, six motions, four grounds,
two skies; 17 frames of 64 x 64, eight a second.

Axes: B clips, F frames, H W pixels or cells, T latent frames, C colours, V voices, L text tokens,
D text width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from overcrank.data.originals import share_of_tokens
from overcrank.shapes import ClipSize
from overcrank.text import SmallEncoder
from overcrank.toybox import Scene, actor_mask, caption, render, sample_scene

SIZE = ClipSize(17, 64, 64)
RATE = 8.0
VOICES = 2
"""Captions of a clip."""
_ALLOWED = {
    "shape": ("ball", "cube", "cone", "torus"),
    "colour": ("red", "yellow", "green", "blue", "white", "black"),
    "motion": ("left", "right", "bounce", "fall", "swing", "grow"),
}
_GROUNDS = ("blue floor", "wooden floor", "grass", "snow")
_SKIES = ("blue", "night")


@dataclass(frozen=True, slots=True)
class Clips:
    """Rendered clips: `frames` uint8 (B, F, H, W, 3), `masks` bool (B, F, H, W) where the actor
    is seen, `actors` (B, T, H, W) the part of each token that it covers, `texts` (B, V, L, D)
    with `lengths` (B, V), `empty` (L, D) the embedding of no text."""

    frames: Tensor
    masks: Tensor
    actors: Tensor
    texts: Tensor
    lengths: Tensor
    empty: Tensor

    def __len__(self) -> int:
        return len(self.frames)

    def text(self, picks: Tensor, voices: Tensor, dropped: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (B, L, D) and what to keep of them (B, L); no text where `dropped`."""
        texts_BLD, lengths_B = self.texts[picks, voices].float(), self.lengths[picks, voices]
        texts_BLD[dropped, : len(self.empty)] = self.empty.float()
        lengths_B = torch.where(dropped, len(self.empty), lengths_B)
        longest = int(lengths_B.max())
        return texts_BLD[:, :longest], torch.arange(longest) < lengths_B[:, None]


def scene(number: int, split: str) -> Scene:
    """The scene of a number, for ever the same."""
    for attempt in count():
        found = sample_scene(number * 10_000 + attempt, split=split, actors=1)
        (actor,) = found.actors
        if found.ground in _GROUNDS and all(
            getattr(actor, name) in allowed for name, allowed in _ALLOWED.items()
        ):
            break
    sky = _SKIES[number % len(_SKIES)]
    actor = replace(actor, size="large", diameter=0.56, texture="plain")
    return replace(found, actors=(actor,), camera="still", sky=sky)


def clips(path: Path, numbers: Sequence[int], split: str) -> Clips:
    """Read the first ones of a file, or render and caption them where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(_make([scene(number, split) for number in numbers]), path)
    tensors = load_file(path)
    if len(tensors["frames"]) < len(numbers):
        raise SystemExit(f"{path} holds fewer than {len(numbers)} clips: delete it")
    empty = tensors.pop("empty")
    return Clips(**{name: all_B[: len(numbers)] for name, all_B in tensors.items()}, empty=empty)


def _make(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    text = SmallEncoder()
    masks = torch.stack([actor_mask(scene, SIZE, RATE) for scene in scenes])
    sentences = [caption(scene, voice) for scene in scenes for voice in range(VOICES)]
    rows: list[Tensor] = []
    for first in range(0, len(sentences), 64):
        embedding = text.encode(sentences[first : first + 64])
        pairs = zip(embedding.embeds_BLD, embedding.keep_BL, strict=True)
        rows += [embeds_LD[keep_L].half() for embeds_LD, keep_L in pairs]
    return {
        "frames": torch.stack([render(scene, SIZE, RATE) for scene in scenes]),
        "masks": masks,
        "actors": torch.stack([share_of_tokens(mask_FHW, SIZE) for mask_FHW in masks]),
        "texts": pad_sequence(rows, batch_first=True).unflatten(0, (len(scenes), VOICES)),
        "lengths": torch.tensor([len(row) for row in rows]).unflatten(0, (len(scenes), VOICES)),
        "empty": text.encode([""]).embeds_BLD[0].half(),
    }
