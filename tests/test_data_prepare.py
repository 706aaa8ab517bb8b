"""Real videos become clips in shards: what is kept, what is dropped and why, and that both last."""

import csv
import json
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from overcrank.data.prepare import Settings, prepare, sharpness
from overcrank.media import read_frames, write_mp4

Lines = list[dict[str, Any]]


def pan(seed: int, frames: int = 12, size: tuple[int, int] = (64, 64), step: int = 1) -> Tensor:
    """A view of coloured squares that moves `step` pixels a frame; another seed looks different."""
    dice = torch.Generator().manual_seed(seed)
    height, width = size[0] // 16, (size[1] + frames * step) // 16 + 1
    view = torch.randint(0, 2, (height, width, 3), generator=dice).mul(100).add(80)
    view = view.to(torch.uint8).repeat_interleave(16, 0).repeat_interleave(16, 1)
    return torch.stack([view[:, i * step : i * step + size[1]] for i in range(frames)])


def video(path: Path, *shots: Tensor, rate: float = 10.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, shots, rate, metadata={}, reproducible=True)
    return path


def manifest(out: Path) -> Lines:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def outcome(out: Path) -> list[tuple[str, str]]:
    """Of each line: the source, and the key or the reason."""
    return [(line["source"], line.get("key") or line["reason"]) for line in manifest(out)]


def everything(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*.*"))}


def write_source(tmp_path: Path) -> Path:
    """Two shots with a caption, one shot without, and a file that is no video."""
    source = tmp_path / "source"
    video(source / "a.mp4", pan(1), pan(2))
    video(source / "deep" / "b.mp4", pan(3))
    (source / "a.txt").write_text("squares move\n", encoding="utf-8")
    (source / "noise.mp4").write_bytes(bytes(range(256)))
    return source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_source(tmp_path)


def test_a_folder_becomes_shards_a_manifest_and_a_sheet(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = prepare(folder, out)
    assert (done["kept"], done["without_caption"]) == (3, 1)
    assert done["dropped"] == {"unreadable": 1}
    assert outcome(out) == [
        ("a.mp4", "00000000"),
        ("a.mp4", "00000001"),
        ("deep/b.mp4", "00000002"),
        ("noise.mp4", "unreadable"),
    ]
    with tarfile.open(out / "clips-000000.tar") as tar:
        names = tar.getnames()
        tar.extractall(tmp_path / "clips", filter="data")
    assert names == [f"0000000{i}.{kind}" for i in range(3) for kind in ("json", "mp4")]
    said = json.loads((tmp_path / "clips" / "00000001.json").read_text())
    assert (said["format_version"], said["caption"], said["start"]) == (1, "squares move", 1.2)
    frames, rate = read_frames(tmp_path / "clips" / "00000001.mp4")
    assert (tuple(frames.shape), rate) == ((12, 64, 64, 3), 10.0)
    assert (frames.float() - pan(2).float()).abs().mean() < 10
    with Image.open(out / "contact-sheet.webp") as sheet:
        assert sheet.size == (480, 64)
    assert sorted(file.name for file in out.iterdir()) == [
        "clips-000000.tar",
        "contact-sheet.webp",
        "manifest.jsonl",
        "prepare.json",
    ]


def prepared(tmp_path: Path, *shots: Tensor, rate: float = 10.0, **settings: Any) -> Lines:
    """The manifest of one video."""
    video(tmp_path / "source" / "a.mp4", *shots, rate=rate)
    prepare(tmp_path / "source", tmp_path / "out", Settings(**settings))
    return manifest(tmp_path / "out")


def first_clip(out: Path, tmp_path: Path) -> Tensor:
    with tarfile.open(out / "clips-000000.tar") as tar:
        tar.extractall(tmp_path / "clips", filter="data")
    return read_frames(tmp_path / "clips" / "00000000.mp4")[0]


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_a_list_names_files_in_its_order_with_captions(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    rows = [
        {"media_path": "deep/b.mp4", "caption": 'one, "two"\nthree'},
        {"media_path": "gone.mp4", "caption": "missing"},
        {"media_path": "a.mp4", "caption": ""},
    ]
    file = folder / f"list.{kind}"
    if kind == "csv":
        with file.open("w", encoding="utf-8", newline="") as text:
            writer = csv.DictWriter(text, ["media_path", "caption"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = [json.dumps(row) for row in rows]
        file.write_text("\n".join(lines) if kind == "jsonl" else f"[{','.join(lines)}]")
    prepare(file, tmp_path / "out")
    lines = manifest(tmp_path / "out")
    assert [(line["source"], line.get("caption")) for line in lines] == [
        ("deep/b.mp4", 'one, "two"\nthree'),
        ("gone.mp4", None),
        ("a.mp4", "squares move"),
        ("a.mp4", "squares move"),
    ]
    assert lines[1]["reason"] == "unreadable"
    assert "there is no file" in lines[1]["detail"]


def test_black_bars_are_removed_and_the_rest_is_scaled_down(tmp_path: Path) -> None:
    boxed = torch.zeros(12, 160, 96, 3, dtype=torch.uint8)
    boxed[:, 32:128, 16:80] = pan(1, size=(96, 64))
    (line,) = prepared(tmp_path, boxed, min_side=8, max_side=32)
    assert (line["width"], line["height"]) == (32, 48)
    clip = first_clip(tmp_path / "out", tmp_path).float()
    small = interpolate(pan(1, size=(96, 64)).permute(0, 3, 1, 2).float(), (48, 32), mode="area")
    assert (clip.permute(0, 3, 1, 2) - small).abs().mean() < 20


def test_a_dark_frame_of_a_clip_is_no_black_bar(tmp_path: Path) -> None:
    """A bar is dark in every frame that is looked at, 0 and 8 among them."""
    moving = torch.zeros(12, 64, 64, 3, dtype=torch.uint8)
    moving[:8, 0:20, 0:20], moving[8:, 44:64, 44:64] = 60, 60
    (line,) = prepared(tmp_path, moving)
    assert (line["width"], line["height"]) == (64, 64)


def test_a_long_shot_becomes_several_clips(tmp_path: Path) -> None:
    lines = prepared(tmp_path, pan(1, frames=25, step=3), max_seconds=1.0, min_seconds=0.6)
    found = [(line["start"], line["frames"], line.get("reason")) for line in lines]
    assert found == [(0.0, 10, None), (1.0, 10, None), (2.0, 5, "too short")]
    clip = first_clip(tmp_path / "out", tmp_path)
    assert (clip.float() - pan(1, frames=25, step=3)[:10].float()).abs().mean() < 12


def test_after_a_dropped_stretch_the_next_one_begins_where_it_should(tmp_path: Path) -> None:
    lines = prepared(tmp_path, pan(1, frames=3), pan(2))
    assert [line.get("reason") for line in lines] == ["too short", None]
    clip = first_clip(tmp_path / "out", tmp_path)
    assert (clip.float() - pan(2).float()).abs().mean() < 10


def test_a_fast_video_loses_every_second_frame(tmp_path: Path) -> None:
    (line,) = prepared(tmp_path, pan(1, frames=40), rate=59.94, min_seconds=0.3)
    assert (line["frames"], line["frame_rate"]) == (20, pytest.approx(29.97))
    clip = first_clip(tmp_path / "out", tmp_path)
    assert (clip.float() - pan(1, frames=40)[::2].float()).abs().mean() < 10


@pytest.mark.parametrize(
    ("reason", "shot", "settings"),
    [
        ("too short", partial(pan, 1, frames=9), {}),
        ("too small", partial(pan, 1), {"min_side": 66, "max_side": 66}),
        ("frame rate", partial(pan, 1), {"min_fps": 10.5}),
        ("static", lambda: pan(1)[:1].expand(12, -1, -1, -1), {}),
        ("black", lambda: torch.zeros(12, 64, 64, 3, dtype=torch.uint8), {}),
        ("no caption", partial(pan, 1), {"require_captions": True}),
    ],
)
def test_what_does_not_fit_is_dropped_with_its_reason(
    reason: str, shot: Callable[[], Tensor], settings: dict[str, Any], tmp_path: Path
) -> None:
    (line,) = prepared(tmp_path, shot(), **settings)
    assert (line["source"], line["reason"]) == ("a.mp4", reason)
    assert not list((tmp_path / "out").glob("clips-*"))


def test_a_small_thing_that_moves_is_motion(tmp_path: Path) -> None:
    """A square of 1/64 of the picture, on noise that only compression changes."""
    still = pan(1)[:1].repeat(12, 1, 1, 1)
    for place in range(12):
        still[place, 20:28, place * 4 : place * 4 + 8] = 255
    (line,) = prepared(tmp_path, still)
    assert "key" in line


def test_near_duplicates_are_dropped_and_others_are_not(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    video(source / "a.mp4", pan(1, size=(96, 96)))
    worse = pan(1, size=(96, 96)).permute(0, 3, 1, 2).mul(0.95).add(3)
    small = interpolate(worse, (64, 64), mode="area").to(torch.uint8)
    video(source / "b.mp4", small.permute(0, 2, 3, 1))
    for name, colour in (("c", (200, 30, 30)), ("d", (30, 30, 200)), ("e", (198, 33, 30))):
        Image.new("RGB", (64, 64), colour).save(source / f"{name}.png")
    prepare(source, out)
    assert [key for _, key in outcome(out)] == [
        "00000000",
        "duplicate",
        "00000001",
        "00000002",
        "duplicate",
    ]
    assert manifest(out)[1]["detail"] == "looks like 00000000"


def test_a_picture_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    pixels = pan(4, frames=1, size=(80, 65))[0]
    Image.fromarray(pixels.numpy()).save(source / "a.png")
    (source / "a.txt").write_text("squares")
    (source / "readme.md").write_text("not ours")
    prepare(source, tmp_path / "out")
    assert outcome(tmp_path / "out") == [("a.png", "00000000"), ("readme.md", "unknown kind")]
    with tarfile.open(tmp_path / "out" / "clips-000000.tar") as tar:
        assert tar.getnames() == ["00000000.json", "00000000.webp"]
        stored = tar.extractfile("00000000.webp")
        assert stored is not None
        with Image.open(stored) as picture:
            found = np.asarray(picture.convert("RGB")).astype(float)
    assert found.shape == (80, 64, 3)
    assert np.abs(found - pixels[:, :64].numpy()).mean() < 12


def redness(frames_FHW3: Tensor) -> float:
    """A scorer: the mean of the red channel."""
    return float(frames_FHW3[..., 0].float().mean())


def test_a_scorer_judges(tmp_path: Path) -> None:
    red, blue = pan(1).clone(), pan(2).clone()
    red[..., 2], blue[..., 0] = 0, 0
    video(tmp_path / "source" / "a.mp4", red, blue)
    settings = Settings(min_score=50.0)
    done = prepare(tmp_path / "source", tmp_path / "out", settings, scorer=redness)
    lines = manifest(tmp_path / "out")
    assert [line.get("reason") for line in lines] == [None, "score"]
    assert lines[0]["score"] == pytest.approx(redness(red), abs=15)
    assert done["dropped"] == {"score": 1}


def test_without_another_scorer_sharpness_is_judged(tmp_path: Path) -> None:
    blurred = avg_pool2d(pan(2).permute(0, 3, 1, 2).float(), 9, 1, 4)
    soft = blurred.to(torch.uint8).permute(0, 2, 3, 1)
    assert sharpness(pan(1)) > 5 * sharpness(soft) > 0
    lines = prepared(tmp_path, pan(1), soft, min_score=200)
    assert [line.get("reason") for line in lines] == [None, "score"]
    assert lines[0]["score"] == pytest.approx(sharpness(pan(1)), rel=0.3)


def test_sharpness_is_the_variance_of_the_laplacian_and_0_where_there_is_none() -> None:
    dot = torch.zeros(1, 5, 5, 3, dtype=torch.uint8)
    dot[0, 2, 2] = 100
    laplacian = torch.tensor([0, 100, 0, 100, -400, 100, 0, 100, 0]).double()
    assert sharpness(dot) == pytest.approx(float(laplacian.var(correction=0)), abs=0.01)
    assert sharpness(dot[:, :2]) == 0.0


def test_the_rows_of_the_sheet_are_as_high_as_their_pictures(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for seed in range(9):  # eight wide ones, then a high one
        video(source / f"{seed}.mp4", pan(seed, size=(160, 80) if seed == 8 else (80, 160)))
    prepare(source, tmp_path / "out")
    with Image.open(tmp_path / "out" / "contact-sheet.webp") as sheet:
        assert sheet.size == (8 * 160, 80 + 160)
        corner = np.asarray(sheet.convert("RGB")).astype(int)[:80, :160]
    shown = np.asarray(pan(0, size=(80, 160))[7]).astype(int)
    assert np.abs(corner - shown).mean() < 12


def test_shards_are_no_larger_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overcrank.data.prepare.shards.Sample.size", property(lambda _: 400_000))
    video(tmp_path / "source" / "a.mp4", *(pan(seed) for seed in range(1, 5)))
    prepare(tmp_path / "source", tmp_path / "out", Settings(shard_mib=1))
    lines = manifest(tmp_path / "out")
    assert [line["shard"][-5] for line in lines] == list("0011")
    assert len(list((tmp_path / "out").glob("*.tar"))) == 2
