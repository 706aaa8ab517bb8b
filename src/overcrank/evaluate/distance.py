"""How far what a model makes is from what is true, and how far true clips are from each other."""

from dataclasses import replace
from math import sqrt
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from overcrank.errors import RequestError
from overcrank.evaluate.shown import Shown
from overcrank.evaluate.spaces import Space
from overcrank.metrics.coverage import density_and_coverage
from overcrank.metrics.frechet import check_enough, clips_needed, frechet, frechet_distance, moments
from overcrank.toybox.render import render
from overcrank.toybox.scene import Scene, sample_scene

REFERENCE = 2**40
"""First seed of the scenes that made clips are compared with, of the test split: no model has
seen them, and nobody was asked for them."""
STAND_IN = REFERENCE + 2**39
"""First seed of true clips where a question is asked again: its own clip counts once."""
PARTS = (4, 2, 1)
"""Into how many parts the sets are divided, for the curve."""
GROUPS = 10


class Distance:
    """The Frechet distance of made clips from true ones of other scenes, in one feature space.

    Beside it the noise floor: the same distance of the true clips of the questions. A perfect model
    reaches the floor, not 0, which depends on the number of clips; the curve shows how. As many
    clips as are seen are compared, from as many reference scenes, which have as many actors and
    the same camera. Axes: B clips, N features.
    """

    def __init__(self, space: Space, clips: int) -> None:
        """`clips` is how many will be seen: too few are refused before any is made."""
        check_enough(clips, space.width)
        self.space = space
        self.made: list[Tensor] = []
        self.true: list[Tensor] = []
        self.reference: list[Tensor] = []
        self._asked: set[int] = set()
        self._form: tuple[object, float] | None = None

    def see(self, shown: Shown) -> None:
        """Keep its features, those of its true clip and of one reference clip."""
        form = (shown.size, shown.frame_rate)
        if self._form not in (None, form):
            raise RequestError(
                f"a distance compares clips of one size and rate: got {_words(form)} after "
                f"{_words(self._form)}: make all of them alike"
            )
        self._form, number = form, len(self.made)
        item = shown.question.item
        self.made.append(self._look(shown.frames, shown))
        self.reference.append(self._look(_rendered(item.scene, REFERENCE + number, shown), shown))
        if item.index in self._asked:
            frames = _rendered(item.scene, STAND_IN + number, shown)
        else:
            frames = shown.true_frames
        self._asked.add(item.index)
        self.true.append(self._look(frames, shown))

    def _look(self, frames: Tensor, shown: Shown) -> Tensor:
        return self.space.features(frames, shown.frame_rate)

    def result(self) -> dict[str, Any]:
        """distance and noise_floor with intervals, the one by the other, density and coverage
        of made and of true clips, and the curve over the number of clips."""
        count = len(self.made)
        check_enough(count, self.space.width)
        # Clips come in the order of the benchmark: any part of them is to be like the whole.
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        made_BN, true_BN, reference_BN = (
            torch.stack(each)[order] for each in (self.made, self.true, self.reference)
        )
        distance, floor = (with_interval(each, reference_BN) for each in (made_BN, true_BN))
        found, limit = (density_and_coverage(reference_BN, each) for each in (made_BN, true_BN))
        assert self._form is not None
        return {
            "space": self.space.name,
            "sha256": self.space.sha256,
            "features": self.space.width,
            "clip": _words(self._form),
            "n": count,
            "distance": distance,
            "noise_floor": floor,
            "times_floor": distance["mean"] / floor["mean"],
            "density": found[0],
            "coverage": found[1],
            "true_density": limit[0],
            "true_coverage": limit[1],
            "curve": curve(made_BN, true_BN, reference_BN),
        }


def with_interval(one_BN: Tensor, other_BN: Tensor) -> dict[str, float]:
    """The distance of two sets of one size as "mean", n, and low and high, its interval of 95 %.

    How much a distance varies is found by leaving out a tenth of both sets at a time. Resampling
    with replacement would not do: doubles make sets smaller, and small sets are further apart.
    Source: Kott, "The Delete-A-Group Jackknife", J. Off. Stat. 17 (2001).
    """
    distance = frechet_distance(one_BN, other_BN)
    group = torch.arange(len(one_BN)) % GROUPS
    without = [
        frechet(moments(one_BN[group != g]), moments(other_BN[group != g])) for g in range(GROUPS)
    ]
    centre = fmean(without)
    deviation = sqrt((GROUPS - 1) / GROUPS * sum((each - centre) ** 2 for each in without))
    reach = 1.96 * deviation
    return {
        "mean": distance,
        "low": max(0.0, distance - reach),
        "high": distance + reach,
        "n": len(one_BN),
    }


def curve(made_BN: Tensor, true_BN: Tensor, reference_BN: Tensor) -> list[dict[str, Any]]:
    """For a quarter, half and all of the clips: distances and floors of each such part."""
    points = []
    for parts in PARTS:
        size = len(made_BN) // parts
        if size < clips_needed(made_BN.shape[1]):
            continue
        slices = [slice(i * size, (i + 1) * size) for i in range(parts)]
        distances, floors = (
            [frechet_distance(each[part], reference_BN[part]) for part in slices]
            for each in (made_BN, true_BN)
        )
        points.append({"n": size, "distance": distances, "noise_floor": floors})
    return points


def check_comparable(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Refuse to set results of different networks, clips or numbers of them side by side."""
    for name, wanted in (
        ("sha256", "measure both with one network"),
        ("clip", "measure both on clips of one size"),
        ("n", "measure both on as many clips"),
    ):
        if one[name] != other[name]:
            raise RequestError(
                f"these distances are not comparable: got {name} {one[name]} and {other[name]} "
                f"of {one['space']} and {other['space']}: {wanted}"
            )


def _rendered(like: Scene, seed: int, shown: Shown) -> Tensor:
    scene = sample_scene(seed, split="test", actors=len(like.actors))
    return render(replace(scene, camera=like.camera), shown.size, shown.frame_rate)


def _words(form: Any) -> str:
    size, rate = form
    return f"{size.width} x {size.height} x {size.frames}, {rate:g} a second"
