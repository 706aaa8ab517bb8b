"""Preparing outlives damaged files, stops and wrong wishes."""

import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from overcrank.data.prepare import Settings, pool, prepare
from overcrank.errors import MediaError, RequestError
from test_data_prepare import (
    everything,
    first_clip,
    manifest,
    outcome,
    pan,
    video,
    write_source,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_source(tmp_path)


def write_odd(path: Path, kind: str) -> None:
    """A video as cameras and programs make them."""
    path.parent.mkdir(exist_ok=True)
    frames = pan(1, frames=13, size=(64, 96))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        if kind == "10-bit":
            stream.pix_fmt = "yuv420p10le"
        for place, pixels in enumerate(frames.numpy()):
            if kind == "variable rate" and place in (4, 5, 9):
                continue
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format=stream.pix_fmt
            )
            frame.pts = place
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("kind", ["10-bit", "variable rate"])
def test_odd_videos_are_read_as_players_do(kind: str, tmp_path: Path) -> None:
    write_odd(tmp_path / "source" / "a.mkv", kind)
    prepare(tmp_path / "source", tmp_path / "out", Settings(max_fps=60))
    (line,) = manifest(tmp_path / "out")
    assert (line["key"], line["seconds"]) == ("00000000", pytest.approx(1.3, abs=0.12))
    clip = first_clip(tmp_path / "out", tmp_path)
    assert (clip[-1].float() - pan(1, frames=13, size=(64, 96))[-1].float()).abs().mean() < 10


def test_a_video_that_lies_on_its_side_is_put_upright(tmp_path: Path) -> None:
    """As telephones write it: the pixels lie, and a matrix in the track's header says so."""
    path = video(tmp_path / "source" / "a.mp4", pan(1, size=(64, 96)))
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2
    turned = (0, 1 << 16, 0, -1 << 16, 0, 0, 64 << 16, 0, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", *turned)
    path.write_bytes(data)
    prepare(tmp_path / "source", tmp_path / "out")
    (line,) = manifest(tmp_path / "out")
    assert (line["width"], line["height"]) == (64, 96)
    clip = first_clip(tmp_path / "out", tmp_path)
    right = pan(1, size=(64, 96)).rot90(-1, (1, 2))
    assert (clip.float() - right.float()).abs().mean() < 10


def write_no_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.start_encoding()


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        samples = np.zeros((1, 4096), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_damaged_files_are_lines_of_the_manifest(tmp_path: Path) -> None:
    source = tmp_path / "source"
    whole = video(source / "ok.mp4", pan(1)).read_bytes()
    (source / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (source / "empty.mp4").touch()
    (source / "noise.webp").write_bytes(bytes(range(256)))
    write_sound(source / "sound.mp4")
    write_no_frames(source / "zero.mp4")
    prepare(source, tmp_path / "out")
    assert outcome(tmp_path / "out") == [
        *((name, "unreadable") for name in ("cut.mp4", "empty.mp4", "noise.webp")),
        ("ok.mp4", "00000000"),
        ("sound.mp4", "sound only"),
        ("zero.mp4", "unreadable"),
    ]


def test_a_stopped_run_goes_on_where_it_was(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(folder, tmp_path / "whole")
    made = []

    def make_part(source: Any, *rest: Any) -> None:
        made.append(source.name)
        if len(made) == 2:
            raise KeyboardInterrupt
        genuine(source, *rest)

    genuine = pool.make_part
    monkeypatch.setattr(pool, "make_part", make_part)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, out)
    (out / "clips-000007.tar").touch()  # as if it had been killed among the shards another time
    told: list[tuple[int, int, int, int]] = []
    prepare(folder, out, on_file=lambda *done: told.append(done))
    assert made == ["a.mp4", "deep/b.mp4", "deep/b.mp4", "noise.mp4"]
    assert everything(out) == everything(tmp_path / "whole")
    assert sorted({done[:2] for done in told}) == [(1, 3), (2, 3), (3, 3)]
    assert told == sorted(told)
    assert told[-1][2] == told[-1][3] > told[0][2] > 0


def test_after_a_stop_captions_may_be_mended_without_cutting_again(
    folder: Path, tmp_path: Path
) -> None:
    def stop(files: int, *_: int) -> None:
        if files == 3:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, out, on_file=stop)
    (folder / "a.txt").write_text("better words", encoding="utf-8")
    first: list[int] = []
    prepare(folder, out, on_file=lambda files, *_: first.append(files))
    assert first == [3]
    assert [line.get("caption") for line in manifest(out)] == ["better words"] * 2 + [None] * 2
    (folder / "a.txt").write_text("others", encoding="utf-8")
    with pytest.raises(RequestError, match="holds clips of other files or settings"):
        prepare(folder, out)


def test_a_long_file_tells_how_far_it_is(tmp_path: Path) -> None:
    video(tmp_path / "source" / "a.mp4", pan(1, frames=40))
    told: list[float] = []
    prepare(
        tmp_path / "source",
        tmp_path / "out",
        on_file=lambda _files, _all, size, total: told.append(size / total),
    )
    assert told == pytest.approx([0, 0, 0.2, 0.4, 0.5, 0.7, 0.9, 1], abs=0.02)


def test_a_finished_folder_is_left_alone(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = prepare(folder, out)
    before = everything(out)
    shutil.rmtree(out / ".parts", ignore_errors=True)
    assert prepare(folder, out) == done
    assert everything(out) == before
    with pytest.raises(RequestError, match=r"holds clips of other files or settings, got .*: give"):
        prepare(folder, out, Settings(min_side=32))
    video(folder / "new.mp4", pan(5))
    with pytest.raises(RequestError, match="holds clips of other files"):
        prepare(folder, out)
    assert everything(out) == before


def test_only_videos_need_the_detector_of_shots(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(RequestError, match="cut into shots by PySceneDetect, got none"):
        prepare(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(pan(1, frames=1)[0].numpy()).save(pictures / "a.png")
    assert prepare(pictures, tmp_path / "out")["kept"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_seconds": -1}, "min_seconds is at least 0, got -1"),
        ({"max_fps": float("nan")}, "max_fps is at least 0.1, got nan"),
        ({"min_score": float("inf")}, "min_score is a finite number, got inf"),
        ({"min_side": 600}, "got min_side 600 above max_side 512"),
        ({"shard_mib": 0}, "shard_mib is at least 1, got 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Settings(**settings)


def test_requests_that_cannot_be_are_refused_and_write_nothing(
    folder: Path, tmp_path: Path
) -> None:
    out, full, empty = tmp_path / "out", tmp_path / "full", tmp_path / "empty"
    full.mkdir()
    (full / "mine.txt").touch()
    empty.mkdir()
    with pytest.raises(RequestError, match="processes are at least 1, got 0"):
        prepare(folder, out, processes=0)
    with pytest.raises(RequestError, match="no engine has this name, got 'threads': there are"):
        prepare(folder, out, engine="threads")
    with pytest.raises(RequestError, match=r"a scorer is a function .*, got <function .*: define"):
        prepare(folder, out, scorer=lambda _frames: 0.0)
    with pytest.raises(RequestError, match=r"got .*full with other files in it: give"):
        prepare(folder, full)
    with pytest.raises(RequestError, match="outside of the folder they come from"):
        prepare(folder, folder / "out")
    with pytest.raises(RequestError, match="nothing to prepare, got .*empty"):
        prepare(empty, out)
    with pytest.raises(RequestError, match=r"got .*missing \(nothing of this name\): give"):
        prepare(tmp_path / "missing", out)
    with pytest.raises(MediaError, match="clips cannot be written, got .*mine.txt"):
        prepare(folder, full / "mine.txt")
    assert not out.exists()
    assert [file.name for file in full.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "the list cannot be read"),
        ("a.json", "{}", "a JSON list is a list of objects, got dict"),
        ("a.jsonl", '{"caption": "x"}', r"got \{'caption': 'x'\} as entry 1"),
        ("a.jsonl", '{"media_path": "x.mp4", "caption": 3}', "as entry 1"),
        ("a.csv", "file,caption\nx.mp4,y\n", "media_path and caption"),
        ("a.csv", "", "nothing to prepare"),
        ("a.csv", "media_path\nx.mp4\n\xff", "cannot be read"),
        ("a.txt", "x.mp4", r"another kind of file"),
    ],
)
def test_a_broken_list_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(RequestError, match=message):
        prepare(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
