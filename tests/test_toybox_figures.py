"""Figures: packs, scenes, captions and frames, with a pack of synthetic pictures."""

import json
import random
import runpy
import unicodedata
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from overcrank.errors import MediaError, RequestError
from overcrank.shapes import ClipSize
from overcrank.toybox.figure_pack import PICTURE_SIDE, FigurePack, shipped_pack
from overcrank.toybox.figures import (
    FigureScene,
    caption_figures,
    figure_tracks,
    held_out_motion,
    render_figures,
    sample_figure_scene,
)
from overcrank.toybox.rigs import KINDS, rig, verb

SMALL = ClipSize(9, 64, 64)
NAMES = {
    "fox": "hopper",
    "cat": "walker",
    "bus": "vehicle",
    "orange": "roller",
    "teapot": "thing",
    "bee": "flyer",
    "whale": "swimmer",
}


def make_pack() -> FigurePack:
    """Discs that touch all four sides, red on the left half and blue on the right."""
    axis = torch.arange(PICTURE_SIDE) + 0.5 - PICTURE_SIDE / 2
    disc = torch.hypot(axis[:, None], axis) < PICTURE_SIDE / 2
    picture = torch.zeros(PICTURE_SIDE, PICTURE_SIDE, 4, dtype=torch.uint8)
    picture[..., 3] = disc * 255
    picture[..., 0] = (axis < 0) * 255
    picture[..., 2] = (axis > 0) * 255
    return FigurePack(
        names=tuple(NAMES),
        kinds=tuple(NAMES.values()),
        pictures_NHWC=picture.expand(len(NAMES), -1, -1, -1),
        source="drawn by a test",
        licence="none",
    )


PACK = make_pack()


def one(kind: str, motion: str, camera: str = "still") -> FigureScene:
    """One figure of a kind, in the middle, with a motion of our choice."""
    name = next(name for name in NAMES if NAMES[name] == kind)
    scene = sample_figure_scene(3, PACK, figures=1)
    figure = replace(scene.figures[0], name=name, kind=kind, motion=motion, x=0.0, z=0.0)
    figure = replace(figure, diameter=0.4, phase=0.1, sense=-1)
    return FigureScene(figures=(figure,), stage=replace(scene.stage, camera=camera))


ROLES = [(kind, motion) for kind, motions in KINDS.items() for motion in motions]


def test_the_build_script_reads_a_package_of_webp_pictures(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parent.parent / "examples" / "build_figures.py"
    build = runpy.run_path(str(script))
    picture = Image.new("RGBA", (256, 256))
    picture.paste((200, 30, 30, 255), (60, 100, 160, 140))
    (tmp_path / "assets").mkdir()
    (tmp_path / "package.json").write_text(
        json.dumps({"name": "@lobehub/fluent-emoji-3d", "version": "1.1.0"})
    )
    for names in (*build["CAST"].values(), *build["MORE"].values()):
        for name in names.split(", "):
            code = f"{ord(unicodedata.lookup(name)):x}"
            picture.save(tmp_path / "assets" / f"{code}.webp", lossless=True)
    pack = build["build"](tmp_path)
    assert (pack.names, pack.kinds) == (shipped_pack().names, shipped_pack().kinds)
    assert (pack.source, pack.licence) == (shipped_pack().source, shipped_pack().licence)
    more = build["build"](tmp_path, more=True).names
    assert len(more) == 95
    assert set(pack.names) < set(more)
    rows, columns = (pack.pictures_NHWC[0, ..., 3] > 128).nonzero(as_tuple=True)
    assert (rows.max(), columns.min(), columns.max()) == (127, 0, 127)
    assert rows.max() - rows.min() + 1 == pytest.approx(51, abs=1)
    (tmp_path / "assets" / "1f98a.webp").unlink()
    with pytest.raises(MediaError, match="FOX FACE"):
        build["build"](tmp_path)


def test_the_shipped_pack_is_the_one_that_models_have_learnt(tmp_path: Path) -> None:
    pack = shipped_pack()
    assert len(pack.names) == 32
    assert set(pack.kinds) == set(KINDS)
    held_out = [held_out_motion(*who) for who in zip(pack.names, pack.kinds, strict=True)]
    assert len(set(held_out)) > 5
    pack.save(tmp_path / "again")
    digest = sha256((tmp_path / "again").read_bytes()).hexdigest()
    assert digest == "c154c4aadc4b7063799a9166b5a19308797f3c2d2ac589a17dfc412a458f4187"


def test_a_pack_survives_its_file(tmp_path: Path) -> None:
    PACK.save(tmp_path / "pack.safetensors")
    loaded = FigurePack.load(tmp_path / "pack.safetensors")
    assert torch.equal(loaded.pictures_NHWC, PACK.pictures_NHWC)
    assert (loaded.names, loaded.kinds) == (PACK.names, PACK.kinds)
    assert (loaded.source, loaded.licence) == (PACK.source, PACK.licence)


def test_a_file_that_is_no_pack_is_refused(tmp_path: Path) -> None:
    missing, noise, other = (tmp_path / name for name in ("missing", "noise", "other"))
    noise.write_bytes(bytes(range(256)))
    save_file({"weight": torch.zeros(2)}, other)
    for path in (missing, noise, other, tmp_path):
        with pytest.raises(MediaError, match=path.name):
            FigurePack.load(path)


def test_a_pack_with_an_unknown_kind_is_refused() -> None:
    with pytest.raises(MediaError, match="hopper"):
        replace(PACK, kinds=("submarine", *PACK.kinds[1:]))


def test_a_figure_that_the_pack_lacks_is_refused() -> None:
    scene = one("hopper", "hop")
    scene = replace(scene, figures=(replace(scene.figures[0], name="yak"),))
    with pytest.raises(RequestError, match="'yak'"):
        render_figures(scene, PACK, SMALL)


def test_a_seed_always_gives_the_same_scene_and_captions() -> None:
    assert sample_figure_scene(7, PACK) == sample_figure_scene(7, PACK)
    scene = sample_figure_scene(7, PACK)
    assert caption_figures(scene, 3) == caption_figures(scene, 3)


def test_a_figure_scene_survives_json() -> None:
    scene = sample_figure_scene(5, PACK, figures=3)
    assert FigureScene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


def test_training_never_shows_a_held_out_pair_and_test_scenes_show_all() -> None:
    assert not any(sample_figure_scene(seed, PACK).held_out for seed in range(1000))
    scenes = [sample_figure_scene(seed, PACK, "test") for seed in range(1000)]
    held_out = {(name, held_out_motion(name, kind)) for name, kind in NAMES.items()}
    assert frozenset().union(*(scene.held_out for scene in scenes)) == held_out


def test_figures_of_a_scene_differ_and_at_most_one_goes_somewhere() -> None:
    for seed in range(300):
        figures = sample_figure_scene(seed, PACK, figures=3).figures
        assert len({figure.name for figure in figures}) == 3
        assert sum(figure.motion in ("left", "right") for figure in figures) <= 1


@pytest.mark.parametrize("variant", range(2))
def test_a_caption_names_figure_motion_and_ground(variant: int) -> None:
    for seed in range(300):
        scene = sample_figure_scene(seed, PACK)
        text = caption_figures(scene, variant)
        assert scene.stage.ground in text
        for figure in scene.figures:
            assert f"{'an' if figure.name == 'orange' else 'a'} {figure.name} " in text
            verbs = {verb(figure, random.Random(i)) for i in range(40)}
            assert any(each in text for each in verbs), text


@pytest.mark.parametrize(("kind", "motion"), ROLES)
def test_no_figure_sinks_into_the_ground(kind: str, motion: str) -> None:
    figure = one(kind, motion).figures[0]
    assert all(rig(figure, i / 10).lift >= -1e-9 for i in range(60))


@pytest.mark.parametrize(("kind", "motion"), ROLES)
def test_every_motion_but_standing_still_changes_the_picture(kind: str, motion: str) -> None:
    frames = render_figures(one(kind, motion), PACK, SMALL, 4.0).float()
    changed = (frames - frames[:1]).abs().amax(dim=(1, 2, 3)).max()
    assert changed == 0 if motion == "still" else changed > 60


@pytest.mark.parametrize("camera", ["still", "pan", "zoom"])
def test_a_longer_clip_begins_with_the_shorter_one(camera: str) -> None:
    scene = one("swimmer", "right", camera)
    longer = render_figures(scene, PACK, ClipSize(17, 64, 64), 8.0)
    assert torch.equal(longer[:9], render_figures(scene, PACK, SMALL, 8.0))
    later = render_figures(scene, PACK, SMALL, 8.0, start=1.0)
    assert torch.equal(later, longer[8:])


@pytest.mark.parametrize(("kind", "motion"), ROLES)
def test_the_track_is_the_middle_of_what_is_painted(kind: str, motion: str) -> None:
    """What changes with the colour of the figure is the figure."""
    scene = one(kind, motion)
    size = ClipSize(9, 96, 96)
    green = PACK.pictures_NHWC.clone()
    green[..., 1] = 255
    other = render_figures(scene, replace(PACK, pictures_NHWC=green), size, 6.0)
    changed = (render_figures(scene, PACK, size, 6.0) != other).any(-1)
    for mask, (column, row) in zip(changed, figure_tracks(scene, size, 6.0)[0], strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        if rows.min() > 0 and columns.min() > 0 and columns.max() < 95:
            assert abs(rows.float().mean() + 0.5 - row) < 0.7
            assert abs(columns.float().mean() + 0.5 - column) < 0.7


@pytest.mark.parametrize("motion", ["left", "right"])
def test_a_figure_looks_where_it_goes(motion: str) -> None:
    """The pictures look left, and are red there."""
    scene = one("thing", motion)
    frame = render_figures(scene, PACK, SMALL)[0].float()
    column, row = figure_tracks(scene, SMALL)[0][0]
    step = -6 if motion == "left" else 6
    front = frame[round(row), round(column) + step]
    assert front[0] > 150
    assert front[2] < 60


def test_a_figure_darkens_the_ground_beside_it() -> None:
    scene = one("thing", "still")
    empty = render_figures(replace(scene, figures=()), PACK, SMALL).float()
    frame = render_figures(scene, PACK, SMALL).float()
    darker = ((empty - frame) > 15).all(-1)[0]
    assert darker[40:].sum() > 20
