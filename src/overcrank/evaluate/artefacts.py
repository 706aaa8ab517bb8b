"""How often something is wrong with a clip, whatever it was to show."""

from typing import Any

from torch import Tensor

from overcrank.evaluate.shown import Shown
from overcrank.metrics import Rate
from overcrank.metrics.artefacts import ARTEFACTS, find_artefacts
from overcrank.toybox.scene import Scene


class Artefacts:
    """Rates by the name of the artefact, beside those on the true clips: false alarms."""

    def __init__(self) -> None:
        self.total = 0
        self.seen: set[object] = set()
        self.found: dict[str, list[int]] = {name: [] for name in ARTEFACTS}
        self.alarms: dict[str, list[int]] = {name: [] for name in ARTEFACTS}

    def see(self, shown: Shown) -> None:
        """Look at a clip and, the first time, at the true one."""
        item = shown.question.item
        self.total += 1
        looked_at = [(self.found, shown.frames)]
        if shown.scene_key not in self.seen:
            self.seen.add(shown.scene_key)
            looked_at.append((self.alarms, shown.true_frames))
        for places, frames in looked_at:
            for name in wrong_with(frames, shown.frame_rate, item.scene):
                places[name].append(item.index)

    def result(self) -> dict[str, Any]:
        """`clips` and `true_clips`: rates by name. `items`: in which items of the benchmark."""
        return {
            "clips": _rates(self.found, self.total),
            "true_clips": _rates(self.alarms, len(self.seen)),
            "items": {name: items for name, items in self.found.items() if items},
        }


def _rates(found: dict[str, list[int]], total: int) -> dict[str, dict[str, float]]:
    return {name: Rate(len(items), total).to_dict() for name, items in found.items()}


def wrong_with(frames: Tensor, frame_rate: float, scene: Scene) -> list[str]:
    """The names of the artefacts in frames that are to show a scene."""
    return [each.name for each in find_artefacts(frames, frame_rate, still=stands_still(scene))]


def stands_still(scene: Scene) -> bool:
    """Whether nothing of it moves, so that a clip of it is frozen, and rightly."""
    moving_camera = scene.camera in ("pan", "zoom")
    return not moving_camera and all(actor.motion == "still" for actor in scene.actors)
