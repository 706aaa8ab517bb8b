"""How good generated toybox clips are: do they obey their captions, are they like true clips?

The recogniser reads every clip. Its answers are counted, and what it sees before it answers is
compared with what it sees in true clips, by the distance between two Gaussians: the Frechet
distance of Heusel et al., arXiv:1706.08500, on the recogniser's features in place of Inception's.

Axes: B clips, F frames, H W pixels, C colours, N features.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from overcrank.metrics.frechet import Moments, frechet, moments
from overcrank.toybox import Scene
from overcrank.toybox.recogniser import NAMES, OF_ACTOR, SLOTS, Recogniser, prepare

ASKED = ("colour", "shape", "motion", "ground")
AT_ONCE = 32


class Judge:
    """Reads clips of one actor, one length and one frame rate."""

    def __init__(self, recogniser: Recogniser, frame_rate: float, true: Moments) -> None:
        self.recogniser, self.frame_rate, self.true = recogniser, frame_rate, true

    @classmethod
    def of(cls, true_BFHWC: Tensor, frame_rate: float) -> Self:
        """One that knows what true clips look like: a thousand or more, none of them asked for."""
        recogniser = Recogniser.load()
        features_BN, _ = _look(recogniser, true_BFHWC, frame_rate)
        return cls(recogniser, frame_rate, moments(features_BN))

    def measure(self, clips_BFHWC: Tensor, scenes: Sequence[Scene]) -> dict[str, float]:
        """Of uint8 clips that were to show `scenes`, each with one actor.

        The part of them with the asked colour, shape, motion, ground and all four; the distance
        from true clips; flicker and movement, in grey levels.
        """
        features_BN, found = _look(self.recogniser, clips_BFHWC, self.frame_rate)
        right = {name: found[name] == _asked(name, scenes) for name in ASKED}
        pixels = clips_BFHWC.float()
        change = pixels[:, 1:] - pixels[:, :-1]
        return {
            **{name: right[name].float().mean().item() for name in ASKED},
            "all": torch.stack(list(right.values())).all(0).float().mean().item(),
            "frechet": frechet(moments(features_BN), self.true),
            "flicker": (change[:, 1:] - change[:, :-1]).abs().mean().item(),
            "movement": change.abs().mean().item(),
        }


@torch.no_grad()
def _look(
    recogniser: Recogniser, clips_BFHWC: Tensor, frame_rate: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Features (B, N) of the first actor and the world, and the number of each answer, -1 where
    the recogniser is not sure."""
    features: list[Tensor] = []

    def keep(_module: object, _inputs: object, slots_BSN: Tensor) -> None:
        features.append(slots_BSN[:, [0, SLOTS]].flatten(1))

    hook = recogniser.first.norm.register_forward_hook(keep)
    try:
        answers = [
            recogniser(torch.stack([prepare(clip, frame_rate) for clip in clips]))
            for clips in clips_BFHWC.split(AT_ONCE)
        ]
    finally:
        hook.remove()
    logits = {name: torch.cat([answer[name] for answer in answers]) for name in answers[0]}
    probabilities = recogniser.probabilities(logits)
    sure = dict(zip(recogniser.config.asked, recogniser.sure.tolist(), strict=True))
    found = {}
    for name in ASKED:
        probability = probabilities[name]
        best = (probability[:, 0] if name in OF_ACTOR else probability).max(-1)
        found[name] = torch.where(best.values >= sure[name], best.indices, -1)
    return torch.cat(features), found


def _asked(name: str, scenes: Sequence[Scene]) -> Tensor:
    """Numbers of what the scenes show."""
    wanted = [getattr(s.actors[0] if name in OF_ACTOR else s, name) for s in scenes]
    return torch.tensor([NAMES[name].index(each) for each in wanted])
