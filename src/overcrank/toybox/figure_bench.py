"""The frozen prompts of figures: 96 scenes and captions that no model may train on.

Items 0 to 31 show each shipped figure alone in the motion that training never shows of it, items 32
to 63 in another, items 64 to 95 in a story of two steps. `figures_v1.json` was written once, by
`python -m overcrank.toybox.figure_bench`, and never changes: its hash is pinned in the tests.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count
from pathlib import Path

from overcrank.errors import RequestError
from overcrank.shapes import ClipSize
from overcrank.toybox.bench import BENCH_SIZE
from overcrank.toybox.figure_pack import shipped_pack
from overcrank.toybox.figures import (
    FigureScene,
    caption_figures,
    figure_masks,
    figure_tracks,
    held_out_motion,
    sample_figure_scene,
)
from overcrank.toybox.scene import CHANGE_SECONDS, plain
from overcrank.toybox.stories import sample_figure_story

FIGURES_FILE = "figures_v1.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureItem:
    """One prompt; `seed` is the seed to generate with, `digest` pins the scene's truth."""

    index: int
    caption: str
    scene: FigureScene
    seed: int
    digest: str


@cache
def figure_bench() -> tuple[FigureItem, ...]:
    """The 96 items of figures-v1."""
    text = files("overcrank.toybox").joinpath(FIGURES_FILE).read_text(encoding="utf-8")
    return tuple(
        FigureItem(**{**item, "scene": FigureScene.from_dict(item["scene"])})
        for item in json.loads(text)["items"]
    )


def figure_digest(scene: FigureScene) -> str:
    """sha256 over the figures and their tracks at 121 frames of 128 x 128, 24 a second, rounded to
    1/100 pixel."""
    rounded = [
        [[round(column, 2), round(row, 2)] for column, row in track]
        for track in figure_tracks(scene, BENCH_SIZE)
    ]
    facts = {"figures": [plain(figure) for figure in scene.figures], "tracks": rounded}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path) -> None:
    """Choose the items and write them; an existing file is never replaced."""
    if path.exists():
        raise RequestError(f"the prompts are frozen: {path} exists, write to a new name")
    items = [
        {
            "index": index,
            "caption": caption_figures(scene),
            "scene": scene.to_dict(),
            "seed": index,
            "digest": figure_digest(scene),
        }
        for index, scene in enumerate(_choose())
    ]
    lines = ",\n".join(json.dumps(item) for item in items)
    path.write_text(f'{{"format_version": 1, "items": [\n{lines}\n]}}\n', encoding="utf-8")


def _choose() -> Iterator[FigureScene]:
    """For each figure the first test scene that is readable."""
    pack = shipped_pack()
    for held_out in (True, False):
        for name, kind in zip(pack.names, pack.kinds, strict=True):
            for seed in count():
                scene = sample_figure_scene(seed, pack, "test", figures=1)
                figure = scene.figures[0]
                asked = (figure.motion == held_out_motion(name, kind)) == held_out
                if figure.name == name and asked and readable(scene):
                    yield scene
                    break
    for name in pack.names:
        for seed in count():
            scene = sample_figure_story(seed, pack, "test")
            if len(scene.figures) == 1 and scene.figures[0].name == name and readable(scene):
                yield scene
                break


def readable(scene: FigureScene) -> bool:
    """A resting camera, and the figure in view: from the change on, if it comes in."""
    if scene.stage.camera != "still":
        return False
    masks = figure_masks(scene, shipped_pack(), ClipSize(41, 64, 64), 8.0)[0]
    seen = masks.float().sum((1, 2)) / masks.float().sum((1, 2)).max()
    first = round(8 * CHANGE_SECONDS) if scene.figures[0].motion.startswith("from") else 0
    # A turn narrows a figure to an eighth; what leaves the frame has less for longer.
    return bool(seen[first:].mean() > 0.5 and seen[first:].min() > 0.05)


if __name__ == "__main__":
    write(Path(__file__).with_name(FIGURES_FILE))
