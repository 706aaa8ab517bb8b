"""Pixels for training an autoencoder, of the toybox, of film and of prepared clips.

Batch `step` is a function of the seed and the step.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from overcrank.data.film import Film
from overcrank.data.fitting import ClipCrops
from overcrank.data.world import SOLIDS, World
from overcrank.errors import RequestError
from overcrank.shapes import ClipSize

CANVAS = 128
"""Clips are rendered at this height and width at least, then cropped."""


@dataclass(frozen=True, slots=True)
class Crops:
    """`frames` uint8 (B, F, H, W, 3), `actors` bool (B, F, H, W): where an actor is seen."""

    frames: Tensor
    actors: Tensor


class ToyCrops(Dataset[Crops]):
    """`self[step]` is one batch, with as many crops of a clip as its area has room for.

    shape_of(step) gives (batch, size). Where `film` has room for that size, a clip is of it with
    probability `film_share`, else of `clips` with probability `clips.share`, else of the world; of
    those that are real nobody knows where their actors are, so their mask is empty.
    """

    def __init__(
        self,
        seed: int,
        steps: int,
        shape_of: Callable[[int], tuple[int, ClipSize]],
        world: World = SOLIDS,
        film: Film | None = None,
        film_share: float = 0.0,
        clips: ClipCrops | None = None,
    ):
        if not 0 <= film_share <= 1 or (film_share > 0 and film is None):
            raise RequestError(
                f"the share of film does not fit: got {film_share} and "
                f"{'no film' if film is None else 'a film'}: right is 0 to 1, and 0 without a film"
            )
        self.seed, self.steps, self.shape_of = seed, steps, shape_of
        self.world, self.film, self.film_share = world, film, film_share
        self.clips = clips

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Crops:
        batch, size = self.shape_of(step)
        dice = random.Random(f"{self.seed}/{step}")
        toys = self._toys(dice, size)
        real = iter(()) if self.clips is None else self.clips.crops(dice, size)
        nowhere = torch.zeros(size.frames, size.height, size.width, dtype=torch.bool)
        film = self.film if self.film is not None and self.film.has_room(size) else None
        clips: list[Tensor] = []
        masks: list[Tensor] = []
        for _ in range(batch):
            if film is not None and dice.random() < self.film_share:
                clips.append(film.crop(dice, size))
                masks.append(nowhere)
            elif self.clips is not None and dice.random() < self.clips.share:
                clips.append(next(real))
                masks.append(nowhere)
            else:
                clip, mask = next(toys)
                clips.append(clip)
                masks.append(mask)
        return Crops(torch.stack(clips), torch.stack(masks))

    def _toys(self, dice: random.Random, size: ClipSize) -> Iterator[tuple[Tensor, Tensor]]:
        """Crops of the world without end, and where their actors are."""
        canvas = ClipSize(size.frames, max(size.height, CANVAS), max(size.width, CANVAS))
        while True:
            scene = self.world.scene(dice.randrange(2**40), "train")
            start, rate = dice.uniform(0, 4), dice.choice([12.0, 24.0, 24.0, 30.0])
            clip = self.world.render(scene, canvas, rate, start)
            mask = self.world.actors(scene, canvas, rate, start)
            for _ in range((canvas.height // size.height) * (canvas.width // size.width)):
                top = dice.randint(0, canvas.height - size.height)
                left = dice.randint(0, canvas.width - size.width)
                place = (
                    slice(None),
                    slice(top, top + size.height),
                    slice(left, left + size.width),
                )
                yield clip[place], mask[place]


@dataclass(frozen=True, slots=True)
class NumberedCrops(Crops):
    """Crops of step `step_B`, the same number for each."""

    step_B: Tensor


class Numbered(Dataset[NumberedCrops]):
    """Batches that know their number."""

    def __init__(self, crops: Dataset[Crops]) -> None:
        self.crops = crops

    def __getitem__(self, step: int) -> NumberedCrops:
        batch = self.crops[step]
        return NumberedCrops(batch.frames, batch.actors, torch.full((len(batch.frames),), step))
