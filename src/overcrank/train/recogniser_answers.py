"""Teaching the recogniser new questions: the second reader learns, all else stays as it is.

The cells of the clips, spoilt in a few ways, are made once; then a step takes a tenth of the time.
What the cells do not hold cannot be learnt so.

Axes: B batch, F frames, D width, H W cells.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from overcrank.toybox.recogniser import Recogniser
from overcrank.train.recogniser_clips import Clips, Mixture
from overcrank.train.recogniser_loss import LOOKS, loss_on, mixed, optimise
from overcrank.train.spoil import spoil

PIECE = 16
"""Clips that are looked at together."""


def looks_at(network: Recogniser, mixture: Mixture, versions: Sequence[int]) -> list[Mixture]:
    """For each length of `LOOKS`, the cells of so many spoilt versions of each set's clips."""
    return [
        Mixture(
            [
                cells_of(network, clips, count, frames, number)
                for clips, count in zip(mixture.sets, versions, strict=True)
            ],
            mixture.parts,
        )
        for number, frames in enumerate(dict.fromkeys(LOOKS))
    ]


@torch.no_grad()
def cells_of(network: Recogniser, clips: Clips, versions: int, frames: int, seed: int) -> Clips:
    """Clips whose "frames" are cells, (B, F, D, H, W) in bfloat16."""
    device = network.temperature.device
    network.eval()
    parts = []
    for number, picks in enumerate(torch.arange(len(clips.frames)).repeat(versions).split(PIECE)):
        dice = torch.Generator(device).manual_seed((seed << 32) + number)
        picked = clips[picks.to(device)]
        video, labels = spoil(picked.frames[:, :frames], picked.labels, dice)
        labels["centre"] = labels["centre"][:, :, :frames]
        with mixed(device):
            parts.append(Clips(network.cells(video).bfloat16(), labels))
    return Clips.cat(parts)


def fit_answers(
    network: Recogniser,
    looks: Sequence[Mixture],
    steps: int,
    on_event: Callable[[dict[str, Any]], None],
    *,
    lr: float,
    batch: int,
) -> None:
    """Train the second reader, and what is said from its slots, on the mixtures, in turn."""
    device = network.temperature.device
    own = ["later.", "centre.", *(f"heads.{name}." for name in network.config.later)]
    parameters = [p for name, p in network.named_parameters() if name.startswith(tuple(own))]

    def loss_at(step: int) -> Tensor:
        dice = torch.Generator(device).manual_seed(step)
        picked = looks[step % len(looks)].batch(batch, dice)
        with mixed(device):
            return loss_on(network.answer_later(picked.frames), picked.labels)

    optimise(parameters, steps, lr, loss_at, on_event)
