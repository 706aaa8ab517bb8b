"""The frozen benchmark: 512 scenes and captions that no model may train on.

Items 0 to 255 show one actor, items 256 to 511 two. A fifth of each half holds a pair that
training never shows. `bench_v1.json` was written once, by `python -m overcrank.toybox.bench`,
and never changes: its hash is pinned in the tests.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count
from pathlib import Path

from overcrank.errors import RequestError
from overcrank.shapes import ClipSize
from overcrank.toybox.caption import caption
from overcrank.toybox.scene import COLOURS, MOTIONS, SHAPES, Scene, sample_scene
from overcrank.toybox.truth import attributes, tracks, truth

BENCH_FILE = "bench_v1.json"
BENCH_SIZE = ClipSize(121, 128, 128)
_HALF = 256
_HELD_OUT_ITEMS = 51
_MOVING_CAMERAS = {1: 38, 2: 60}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchItem:
    """One prompt; `seed` is the seed to generate with, `digest` pins the scene's truth."""

    index: int
    caption: str
    scene: Scene
    seed: int
    digest: str


@cache
def bench() -> tuple[BenchItem, ...]:
    """The 512 items of bench-v1."""
    text = files("overcrank.toybox").joinpath(BENCH_FILE).read_text(encoding="utf-8")
    return tuple(
        BenchItem(**{**item, "scene": Scene.from_dict(item["scene"])})
        for item in json.loads(text)["items"]
    )


def digest(scene: Scene) -> str:
    """sha256 over the scene's attributes and its tracks at 121 frames of 128 x 128, 24 a second,
    rounded to 1/100 pixel: the same on every machine."""
    rounded = [
        [[round(column, 2), round(row, 2)] for column, row in track]
        for track in tracks(scene, BENCH_SIZE)
    ]
    facts = {"attributes": attributes(scene), "tracks": rounded}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path) -> None:
    """Choose the items and write them; an existing file is never replaced."""
    if path.exists():
        raise RequestError(f"the benchmark is frozen: {path} exists, write to a new name")
    scenes = [*_choose(1), *_choose(2)]
    items = [
        {
            "index": index,
            "caption": caption(scene),
            "scene": scene.to_dict(),
            "seed": index,
            "digest": digest(scene),
        }
        for index, scene in enumerate(scenes)
    ]
    lines = ",\n".join(json.dumps(item) for item in items)
    path.write_text(f'{{"format_version": 1, "items": [\n{lines}\n]}}\n', encoding="utf-8")


def _choose(actors: int) -> Iterator[Scene]:
    """Test scenes in the order of their seeds, while every attribute stays within its share."""
    share = {
        name: -(-_HALF * actors // len(names)) + 2 * (actors - 1)
        for names in (COLOURS, SHAPES, MOTIONS)
        for name in names
    }
    share |= {"held out": _HELD_OUT_ITEMS, "seen": _HALF - _HELD_OUT_ITEMS}
    share |= {"moving camera": _MOVING_CAMERAS[actors], "still camera": _HALF}
    used: Counter[str] = Counter()
    chosen = 0
    for seed in count():
        if chosen == _HALF:
            return
        scene = sample_scene(seed, split="test", actors=actors)
        wanted = used + Counter(_features(scene))
        if all(wanted[name] <= share[name] for name in wanted) and readable(scene):
            used = wanted
            chosen += 1
            yield scene


def _features(scene: Scene) -> Iterator[str]:
    for actor in scene.actors:
        yield from (actor.colour, actor.shape, actor.motion)
    yield "held out" if scene.held_out else "seen"
    yield "still camera" if scene.camera == "still" else "moving camera"


def readable(scene: Scene) -> bool:
    """Colours differ, and every actor is mostly in view for two seconds and for all five."""
    if len({actor.colour for actor in scene.actors}) < len(scene.actors):
        return False
    seen = truth(scene, ClipSize(41, 96, 96), frame_rate=8.0).visible
    early = seen[:, :17]
    return bool((early.mean(1) > 0.80).all() and (early > 0.3).all() and (seen.mean(1) > 0.7).all())


if __name__ == "__main__":
    write(Path(__file__).with_name(BENCH_FILE))
