"""Does a clip show what its caption asks for? Counted by the recogniser, on bench-v1."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from overcrank.metrics import Rate
from overcrank.pipeline import Pipeline
from overcrank.request import Request
from overcrank.shapes import ClipSize
from overcrank.toybox.bench import BenchItem, bench
from overcrank.toybox.recogniser import NAMES, Reading, Recogniser
from overcrank.toybox.render import render
from overcrank.toybox.scene import Scene
from overcrank.transformer import Transformer
from overcrank.vae import VAE

ASKED = ("colour", "shape", "motion", "ground")
RANDOM_ITEMS = 64
"""A model that knows nothing is asked this often at most."""

OnClip = Callable[[int, int], None]
"""Called with (done, total) after each clip."""


@dataclass(slots=True)
class Tally:
    """How often the asked colour, shape, motion and ground were found; unsure is not found."""

    hits: Counter[str] = field(default_factory=Counter)
    total: int = 0

    def add(self, scene: Scene, reading: Reading) -> None:
        """Count the reading of a clip that should show `scene`, which has one actor."""
        (actor,) = scene.actors
        wanted = {**{name: getattr(actor, name) for name in ASKED[:3]}, "ground": scene.ground}
        self.total += 1
        self.hits.update(name for name in ASKED if getattr(reading, name).name == wanted[name])

    def rates(self) -> dict[str, dict[str, float]]:
        """By name: hits, total, rate, and the ends low and high of the 95 % interval."""
        return {name: Rate(self.hits[name], self.total).to_dict() for name in ASKED if self.total}


def single_actor_items(count: int) -> Sequence[BenchItem]:
    """The first `count` items of bench-v1 with one actor."""
    return [item for item in bench() if len(item.scene.actors) == 1][:count]


def true_frames(pipe: Pipeline, scene: Scene) -> Tensor:
    """The rendered clip in the size that the model recommends: uint8 (F, H, W, 3)."""
    return render(scene, clip_size(pipe), pipe.model.defaults.frame_rate)


def clip_size(pipe: Pipeline) -> ClipSize:
    """The size that the model recommends."""
    defaults = pipe.model.defaults
    return ClipSize(defaults.frames, defaults.height, defaults.width)


def text_obeyed(
    pipe: Pipeline,
    recogniser: Recogniser,
    items: Sequence[BenchItem],
    on_clip: OnClip,
    sheet: list[Tensor],
    rows: int,
) -> dict[str, Any]:
    """Rates on clips from text, on all items and on those with pairs that training never shows,
    beside those on the true clips. The first `rows` items go to `sheet`, true clip first."""
    found, held_out, true = Tally(), Tally(), Tally()
    factors = []
    for i, item in enumerate(items):
        video = pipe.generate(Request(prompt=item.caption, seed=item.seed))
        reading = recogniser.read(video.frames, video.frame_rate)
        found.add(item.scene, reading)
        if item.scene.held_out:
            held_out.add(item.scene, reading)
        frames = true_frames(pipe, item.scene)
        true.add(item.scene, recogniser.read(frames, video.frame_rate))
        if i < rows:
            sheet += [frames, video.frames]
        factors.append(video.report.realtime_factor)
        on_clip(i + 1, len(items))
    return {
        "clips": found.rates(),
        "clips_held_out": held_out.rates(),
        "true_clips": true.rates(),
        "chance": {name: 1 / len(NAMES[name]) for name in ASKED},
        "realtime_factor": sum(factors) / len(factors),
    }


def random_weights(
    pipe: Pipeline, recogniser: Recogniser, items: Iterable[BenchItem], on_clip: OnClip
) -> dict[str, dict[str, float]]:
    """Rates on clips of a model of the same architecture that has learnt nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = replace(
            pipe.model,
            vae=VAE(pipe.vae.config),
            transformer=Transformer(pipe.transformer.config),
        )
    blank = Pipeline(model, device=pipe.hardware.device, dtype=pipe.hardware.dtype)
    found, chosen = Tally(), list(items)[:RANDOM_ITEMS]
    for i, item in enumerate(chosen):
        video = blank.generate(Request(prompt=item.caption, seed=item.seed))
        found.add(item.scene, recogniser.read(video.frames, video.frame_rate))
        on_clip(i + 1, len(chosen))
    return found.rates()
