"""What clips of the toybox show in training: solids, figures of a pack, stories in two steps."""

import hashlib
import math
import random
from dataclasses import dataclass

from torch import Tensor

from overcrank.errors import RequestError
from overcrank.shapes import PIXELS_PER_CELL, ClipSize
from overcrank.toybox import Scene, actor_mask, caption, render, sample_scene
from overcrank.toybox.figure_pack import FigurePack
from overcrank.toybox.figures import (
    FigureScene,
    caption_figures,
    figure_masks,
    render_figures,
    sample_figure_scene,
)
from overcrank.toybox.stories import sample_figure_story, sample_story
from overcrank.toybox.voices import say, say_figures

SAID_OTHERWISE = 0.4
"""The share of captions whose words and sentences are those of `voices`."""
SHORTEST_STORY = 3.5
"""Seconds: both steps are seen in them."""
MASK_SIDE = 64
"""Masks are made no smaller than this, then enlarged."""


@dataclass(frozen=True, slots=True)
class World:
    """Scenes of solids and, with probability `figures`, of figures of `pack`; with probability
    `stories`, either in two steps; with probability `pairs`, what has no story has two actors."""

    pack: FigurePack | None = None
    figures: float = 0.0
    stories: float = 0.0
    pairs: float = 0.0

    def __post_init__(self) -> None:
        for what in ("figures", "stories", "pairs"):
            share = getattr(self, what)
            if not 0 <= share <= 1:
                raise RequestError(f"the share of {what} lies in 0 to 1, got {share}: try 0.25")
        if self.figures > 0 and self.pack is None:
            raise RequestError(
                f"figures need a pack: got a share of {self.figures} and no pack: give "
                "shipped_pack(), or one that docs/figures.md says how to build"
            )

    @property
    def name(self) -> str:
        """Worlds of one name show the same scenes for the same seeds."""
        shares = {"stories": self.stories, "pairs": self.pairs}
        others = "".join(f", {100 * share:g}% {what}" for what, share in shares.items() if share)
        if self.pack is None or self.figures == 0:
            return f"solids{others}"
        digest = hashlib.sha256(self.pack.pictures_NHWC.numpy().tobytes())
        digest.update(repr((self.pack.names, self.pack.kinds)).encode())
        return f"solids, {100 * self.figures:g}% figures of {digest.hexdigest()[:8]}{others}"

    def scene(
        self, seed: int, split: str = "train", seconds: float = math.inf
    ) -> Scene | FigureScene:
        """The scene of a seed; one of solids without a story is `sample_scene(seed)`.

        What is to be seen for less than `SHORTEST_STORY` seconds has no story.
        """
        dice = random.Random(f"overcrank world {split} {seed}")
        figures, story, pair = (
            dice.random() < share for share in (self.figures, self.stories, self.pairs)
        )
        story, count = story and seconds >= SHORTEST_STORY, 2 if pair else None
        if figures and self.pack is not None:
            if story:
                return sample_figure_story(seed, self.pack, split)
            return sample_figure_scene(seed, self.pack, split, figures=count)
        if story:
            return sample_story(seed, split)
        return sample_scene(seed, split=split, actors=count)

    def render(
        self, scene: Scene | FigureScene, size: ClipSize, rate: float, start: float = 0.0
    ) -> Tensor:
        """The clip that begins `start` seconds into the scene: uint8 (F, H, W, 3)."""
        if isinstance(scene, Scene):
            return render(scene, size, rate, start=start)
        return render_figures(scene, self._pack(), size, rate, start=start)

    def actors(
        self, scene: Scene | FigureScene, size: ClipSize, rate: float, start: float = 0.0
    ) -> Tensor:
        """Where an actor is seen in that clip: bool (F, H, W), to a few pixels.

        Made at a part of the size, at least 64: at 128 x 128 and 256 x 256 a token's share of
        actors differs by 0.01 on the average, for a third and a tenth of the price.
        """
        factor = _coarseness(size)
        coarse = ClipSize(size.frames, size.height // factor, size.width // factor)
        if isinstance(scene, Scene):
            mask_FHW = actor_mask(scene, coarse, rate, start)
        else:
            mask_FHW = figure_masks(scene, self._pack(), coarse, rate, start=start).any(0)
        return mask_FHW.repeat_interleave(factor, 1).repeat_interleave(factor, 2)

    def caption(self, scene: Scene | FigureScene, voice: int) -> str:
        """One sentence; another `voice` says it otherwise, `SAID_OTHERWISE` of them in words and
        forms that `caption` does not have."""
        stage = scene if isinstance(scene, Scene) else scene.stage
        dice = random.Random(f"overcrank voice {stage.seed} {voice}")
        otherwise = dice.random() < SAID_OTHERWISE
        if isinstance(scene, Scene):
            return say(scene, voice) if otherwise else caption(scene, voice)
        return say_figures(scene, voice) if otherwise else caption_figures(scene, voice)

    def _pack(self) -> FigurePack:
        if self.pack is None:
            raise RequestError("a scene of figures needs their pack: got none: give World a pack")
        return self.pack


SOLIDS = World()


def _coarseness(size: ClipSize) -> int:
    """4 or 2 where a mask of that part of the size is large enough and on the grid, else 1."""
    for factor in (4, 2):
        grid = factor * PIXELS_PER_CELL
        if min(size.height, size.width) >= factor * MASK_SIDE and not (
            size.height % grid or size.width % grid
        ):
            return factor
    return 1
