"""Clips go to a file whole or not at all, with true colours and their recipe inside."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from overcrank.errors import MediaError
from overcrank.media import open_frames, read_frames, read_metadata, write_mp4


def plain(
    colour: tuple[int, int, int], frames: int = 5, size: tuple[int, int] = (32, 64)
) -> Tensor:
    """A clip of one colour, uint8 (frames, H, W, 3)."""
    return torch.tensor(colour, dtype=torch.uint8).expand(frames, *size, 3)


def write_red(path: Path) -> bytes:
    write_mp4(path, [plain((255, 0, 0))], 24, metadata={})
    return path.read_bytes()


@pytest.mark.parametrize(
    "colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128), (255, 255, 255)]
)
def test_a_colour_survives_the_round_trip(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    write_mp4(tmp_path / "clip.mp4", [plain(colour)], 24, metadata={})
    frames, _ = read_frames(tmp_path / "clip.mp4")
    assert (frames.int() - plain(colour).int()).abs().max() <= 3


def test_red_is_stored_as_bt709_and_says_so(tmp_path: Path) -> None:
    """Y 63, Cb 102, Cr 240 is red by BT.709; by BT.601 it would be 81, 90, 240."""
    write_red(tmp_path / "red.mp4")
    with av.open(str(tmp_path / "red.mp4")) as container:
        frame = next(container.decode(video=0))
        assert [bytes(plane)[0] for plane in frame.planes] == pytest.approx([63, 102, 240], abs=1)
        assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)
        assert frame.color_range == 1
        assert frame.format.name == "yuv420p"


def test_chunks_become_one_clip_in_order(tmp_path: Path) -> None:
    greys = [plain((level,) * 3, frames=3) for level in (0, 100, 200)]
    write_mp4(tmp_path / "clip.mp4", iter(greys), 12.5, metadata={})
    frames, rate = read_frames(tmp_path / "clip.mp4")
    assert frames.shape == (9, 32, 64, 3)
    assert frames.dtype == torch.uint8
    assert rate == 12.5
    assert frames.float().mean((1, 2, 3)).tolist() == pytest.approx(
        [0, 0, 0, 100, 100, 100, 200, 200, 200], abs=3
    )


def test_the_recipe_is_read_back(tmp_path: Path) -> None:
    recipe = {"comment": "made by overcrank", "overcrank": '{"prompt": "a café; x=1", "seed": 7}'}
    write_mp4(tmp_path / "clip.mp4", [plain((0, 0, 0))], 24, metadata=recipe)
    assert recipe.items() <= read_metadata(tmp_path / "clip.mp4").items()


def test_the_index_stands_before_the_pictures(tmp_path: Path) -> None:
    """So that a browser can start to play before it has the whole file."""
    content = write_red(tmp_path / "clip.mp4")
    assert content.index(b"moov") < content.index(b"mdat")


def test_the_same_frames_give_the_same_file(tmp_path: Path) -> None:
    assert write_red(tmp_path / "one.mp4") == write_red(tmp_path / "two.mp4")


def test_a_reproducible_file_is_the_same_each_time(tmp_path: Path) -> None:
    """Of moving squares, without it, x264 makes one of several files."""
    dice = torch.Generator().manual_seed(1)
    view = torch.randint(0, 2, (4, 5, 3), generator=dice).mul(200).to(torch.uint8)
    wide = view.repeat_interleave(16, 0).repeat_interleave(16, 1)
    clip = torch.stack([wide[:, i : i + 64] for i in range(12)])
    written = set()
    for _ in range(20):
        write_mp4(tmp_path / "clip.mp4", [clip], 10, metadata={}, reproducible=True)
        written.add((tmp_path / "clip.mp4").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_broken_run_leaves_nothing_behind(tmp_path: Path, failure: type[BaseException]) -> None:
    def chunks() -> Iterator[Tensor]:
        yield plain((0, 0, 0))
        raise failure

    with pytest.raises(failure):
        write_mp4(tmp_path / "clip.mp4", chunks(), 24, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_a_broken_run_keeps_the_clip_that_was_there(tmp_path: Path) -> None:
    before = write_red(tmp_path / "clip.mp4")
    with pytest.raises(MediaError, match="got none"):
        write_mp4(tmp_path / "clip.mp4", [], 24, metadata={})
    assert (tmp_path / "clip.mp4").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="make the folder first"):
        write_red(tmp_path / "a" / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_the_file(tmp_path: Path) -> None:
    """A published clip has the permissions of any new file, not those of a temporary one."""
    write_red(tmp_path / "clip.mp4")
    (tmp_path / "plain").touch()
    assert (tmp_path / "clip.mp4").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("rate", [0.0, 0.0004, -24.0, float("nan"), float("inf")])
def test_a_frame_rate_that_cannot_be_is_refused(tmp_path: Path, rate: float) -> None:
    with pytest.raises(MediaError, match="at least 0.1, got .*: try 24"):
        write_mp4(tmp_path / "clip.mp4", [plain((0, 0, 0))], rate, metadata={})


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([torch.zeros(1, 32, 32, 3)], r"got torch.float32 of shape \(1, 32, 32, 3\)"),
        ([torch.zeros(1, 3, 32, 32, dtype=torch.uint8)], r"got torch.uint8 of shape"),
        ([torch.zeros(1, 33, 32, 3, dtype=torch.uint8)], "even width and height, got 32 x 33"),
        ([plain((0, 0, 0)), plain((0, 0, 0), size=(64, 64))], "got 64 x 64 after 64 x 32"),
    ],
)
def test_frames_that_do_not_fit_are_refused(
    tmp_path: Path, chunks: list[Tensor], message: str
) -> None:
    with pytest.raises(MediaError, match=message):
        write_mp4(tmp_path / "clip.mp4", chunks, 24, metadata={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_video_is_refused(
    tmp_path: Path, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = torch.randint(0, 256, (9, 64, 64, 3), dtype=torch.uint8)
    file = tmp_path / "clip.mp4"
    write_mp4(file, [noise], 24, metadata={})
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(MediaError, match=r"a video cannot be read: .*; give"):
        read_frames(file)
    assert capfd.readouterr() == ("", "")


def test_a_file_without_pictures_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(MediaError, match="has sound only; give one with pictures"):
        read_frames(tmp_path / "sound.wav")


def test_a_title_in_an_old_encoding_is_no_obstacle(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", [plain((9, 9, 9))], 24, metadata={"title": "caf\u00e9"})
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.count(b"caf\xc3\xa9") == 1
    (tmp_path / "a.mp4").write_bytes(content.replace(b"caf\xc3\xa9", b"caf\xe9\xe9"))
    assert read_frames(tmp_path / "a.mp4")[0].shape == (5, 32, 64, 3)
    assert read_metadata(tmp_path / "a.mp4")["title"].startswith("caf")


def test_a_gap_in_time_is_filled_by_the_frame_before(tmp_path: Path) -> None:
    """Frames at 0, 1 and 4 tenths of a second: the second one is held for three."""
    with av.open(str(tmp_path / "gap.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for place, level in ((0, 0), (1, 100), (4, 200)):
            pixels = plain((level,) * 3, frames=1, size=(32, 32))[0].numpy()
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts = place
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames, rate = read_frames(tmp_path / "gap.mkv")
    assert rate == 10
    assert frames.float().mean((1, 2, 3)).tolist() == pytest.approx([0, 100, 100, 100, 200], abs=3)
    with open_frames(tmp_path / "gap.mkv", 3) as (late, _, _):
        assert torch.equal(torch.stack(list(late)), frames[3:])


def test_an_endless_video_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_red(tmp_path / "clip.mp4")
    monkeypatch.setattr("overcrank.media.video.MAX_PIXELS", 3 * 32 * 64)
    with pytest.raises(MediaError, match="too long, got at least 4 frames, 64 x 32, .*: cut it"):
        read_frames(tmp_path / "clip.mp4")


def moving(frames: int = 100) -> Tensor:
    """Squares that pass by, uint8 (frames, 32, 64, 3)."""
    dice = torch.Generator().manual_seed(0)
    wall = torch.randint(0, 256, (8, 32, 3), generator=dice, dtype=torch.uint8)
    large = wall.repeat_interleave(8, 0).repeat_interleave(8, 1)
    return torch.stack([large[:32, n : n + 64] for n in range(frames)])


@pytest.mark.parametrize("key_every", [None, 32])
@pytest.mark.parametrize("rate", [24.0, 30000 / 1001])
def test_a_clip_read_from_its_middle_is_the_rest_of_it(
    tmp_path: Path, key_every: int | None, rate: float
) -> None:
    """Every frame the same to the last bit, also between key frames, and of the bytes."""
    file = tmp_path / "clip.mp4"
    write_mp4(file, [moving()], rate, metadata={}, key_every=key_every)
    whole, _ = read_frames(file)
    for first in (1, 31, 32, 33, 90, 99):
        with open_frames(BytesIO(file.read_bytes()), first) as (frames, _, expected):
            assert torch.equal(torch.stack(list(frames)), whole[first:])
        assert expected == 100 - first


def test_key_frames_lie_no_further_apart_than_asked(tmp_path: Path) -> None:
    write_mp4(tmp_path / "clip.mp4", [moving()], 24, metadata={}, key_every=32)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        keys = [n for n, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert keys == [0, 32, 64, 96]
