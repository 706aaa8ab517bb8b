"""Batches for the transformer, from cached clips.

Axes: B batch, C channels, T H W latent frames, height, width, L text tokens, D text width,
K single frames encoded as pictures, N tokens that are left of a clip.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from overcrank.data.latents import NOTHING, LatentCache


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step of transformer training sees."""

    latent_BCTHW: Tensor
    actors_BTHW: Tensor
    frame_rate_B: Tensor
    text_BLD: Tensor
    keep_BL: Tensor
    keys_BKCHW: Tensor
    key_frames_BK: Tensor
    """Places of the keys in the whole clip, also where the clip is cut shorter."""
    kept_BN: Tensor
    """Places of the tokens that are left of a clip's T x H x W, rising."""
    ending_BCMHW: Tensor = NOTHING
    """Of the 9 frames from the last key frame on, encoded alone; empty where there is none."""
    reference_BCTHW: Tensor = NOTHING
    """Of the clip's control; empty where there is none."""


TEXT_GRAIN = 16
"""Texts are padded to a multiple of this many tokens, so that batches have few shapes."""


class LatentBatches(Dataset[Batch]):
    """`self[step]` is a function of the seed, the step and the step's cache, `cache_of(step)`.

    shape_of(step) gives (batch, latent frames, tokens): clips are cut to their beginning, which a
    causal encoder makes exact, and to so many tokens, drawn at random. With probability `drop_text`
    a sample gets the empty prompt. Clips that a cache holds out are never drawn.
    """

    def __init__(
        self,
        cache_of: Callable[[int], LatentCache],
        shape_of: Callable[[int], tuple[int, int, int]],
        *,
        steps: int,
        seed: int,
        drop_text: float,
    ) -> None:
        self.cache_of, self.shape_of, self.steps, self.seed = cache_of, shape_of, steps, seed
        self.drop_text = drop_text

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        batch, frames, tokens = self.shape_of(step)
        cache = self.cache_of(step)
        dice = torch.Generator().manual_seed(self.seed * 2**32 + step)
        picks = torch.randint(cache.held_out, len(cache), (batch,), generator=dice).tolist()
        dropped = (torch.rand(batch, generator=dice) < self.drop_text).tolist()
        voices = torch.randint(2**31, (batch,), generator=dice).tolist()
        return thinned(collate(cache, picks, frames, voices, dropped), tokens, dice)


def thinned(batch: Batch, tokens: int, dice: torch.Generator) -> Batch:
    """The same with `tokens` of each clip's tokens, where there are more; never without the last.

    The last latent frame is seldom given, so that something is left to learn. Source: LTX-Video,
    arXiv:2501.00103, section 2.3.
    """
    samples, has = batch.kept_BN.shape
    if tokens >= has:
        return batch
    lots_BN = torch.rand(samples, has, generator=dice)
    lots_BN[:, -1] = -1
    drawn_BN = lots_BN.argsort(1)[:, :tokens].sort(1).values
    return replace(batch, kept_BN=batch.kept_BN.gather(1, drawn_BN))


def collate(
    cache: LatentCache,
    picks: Sequence[int],
    frames: int,
    voices: Sequence[int],
    dropped: Sequence[bool],
) -> Batch:
    """Clips `picks`, each with caption number `voice` (modulo), texts padded alike."""
    clips = [cache[pick] for pick in picks]
    texts = [
        cache.empty_LD if drop else clip.texts[voice % len(clip.texts)]
        for clip, voice, drop in zip(clips, voices, dropped, strict=True)
    ]
    lengths = torch.tensor([len(text) for text in texts])
    text_BLD = pad_sequence(texts, batch_first=True)
    text_BLD = F.pad(text_BLD, (0, 0, 0, -text_BLD.shape[1] % TEXT_GRAIN))
    latent_BCTHW = torch.stack([clip.latent_CTHW[:, :frames] for clip in clips])
    return Batch(
        latent_BCTHW,
        torch.stack([clip.actors_THW[:frames] for clip in clips]),
        torch.tensor([clip.frame_rate for clip in clips]),
        text_BLD,
        torch.arange(text_BLD.shape[1]) < lengths[:, None],
        torch.stack([clip.keys_KCHW for clip in clips]),
        torch.stack([clip.key_frames_K for clip in clips]),
        torch.arange(latent_BCTHW[0, 0].numel()).repeat(len(clips), 1),
        torch.stack([clip.ending_CMHW for clip in clips]),
        torch.stack([clip.reference_CTHW for clip in clips]),
    )
