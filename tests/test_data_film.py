"""Film: its file, its crops, and the script that builds it."""

import random
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from overcrank.data.crops import ToyCrops
from overcrank.data.film import Film
from overcrank.errors import MediaError, RequestError
from overcrank.media.video import write_mp4
from overcrank.runtime import choose
from overcrank.shapes import ClipSize
from overcrank.train import read_config
from overcrank.train.vae import VAEObjective

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "build_film.py"


def save(path: Path, frames: Tensor, starts: list[int]) -> Path:
    save_file({"frames": frames, "starts": torch.tensor(starts)}, path)
    return path


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """Shots of 4, 9 and 12 frames, 48 x 80, each frame filled with its number."""
    frames = torch.arange(25, dtype=torch.uint8)[:, None, None, None].expand(25, 48, 80, 3)
    return Film(save(tmp_path / "film.safetensors", frames.contiguous(), [0, 4, 13]))


def test_a_crop_is_of_one_shot_that_is_long_enough(film: Film) -> None:
    dice = random.Random(0)
    firsts = set()
    for _ in range(200):
        crop = film.crop(dice, ClipSize(9, 32, 32))
        assert crop.shape == (9, 32, 32, 3)
        assert (crop == crop[:, :1, :1, :1]).all()
        numbers = crop[:, 0, 0, 0].tolist()
        assert numbers == list(range(numbers[0], numbers[0] + 9))
        firsts.add(numbers[0])
    assert firsts == {4, 13, 14, 15, 16}


def test_a_crop_is_a_function_of_the_dice_and_its_scale_varies(tmp_path: Path) -> None:
    """A ramp of 2 a column: how fast it rises in a crop is the scale."""
    ramp = (2 * torch.arange(80, dtype=torch.uint8))[None, None, :, None].expand(1, 64, 80, 3)
    film = Film(save(tmp_path / "ramp.safetensors", ramp.contiguous(), [0]))
    small = ClipSize(1, 32, 32)
    crops = [film.crop(random.Random(seed), small)[0, 16, :, 0].float() for seed in range(60)]
    again = film.crop(random.Random(7), small)[0, 16, :, 0]
    assert torch.equal(crops[7], again.float())
    scales = [((crop[-4] - crop[4]) / 24 / 2).item() for crop in crops]
    assert min(scales) == pytest.approx(1, abs=0.1)
    assert max(scales) == pytest.approx(2, abs=0.1)


def test_a_crop_scaled_down_is_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Black and white lines become grey in the largest square."""
    dice = random.Random(0)
    monkeypatch.setattr(dice, "randint", lambda _low, high: high)
    lines = torch.zeros(1, 64, 80, 3, dtype=torch.uint8)
    lines[:, :, ::2] = 200
    film = Film(save(tmp_path / "lines.safetensors", lines, [0]))
    middle = film.crop(dice, ClipSize(1, 32, 32))[:, :, 2:-2]
    assert (middle.float() - 100).abs().max() < 3


@pytest.mark.parametrize("size", [ClipSize(17, 32, 32), ClipSize(9, 64, 32), ClipSize(9, 32, 96)])
def test_a_film_without_room_for_a_crop_is_refused(film: Film, size: ClipSize) -> None:
    with pytest.raises(RequestError, match="at most 12 frames of 80 x 48"):
        film.crop(random.Random(0), size)


def test_a_crop_may_be_wide(film: Film) -> None:
    assert film.crop(random.Random(0), ClipSize(9, 32, 64)).shape == (9, 32, 64, 3)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"frames": torch.zeros(2, 4, 4, 3, dtype=torch.uint8)}, r"got tensors \['frames'\]"),
        ({"frames": torch.zeros(2, 4, 4, 3), "starts": torch.tensor([0])}, "torch.float32"),
        (
            {"frames": torch.zeros(2, 4, 4, 3, dtype=torch.uint8), "starts": torch.tensor(0)},
            "starts torch.int64 ()",
        ),
        *(
            (
                {"frames": torch.zeros(2, 4, 4, 3, dtype=torch.uint8), "starts": starts},
                "shots that begin at",
            )
            for starts in (torch.tensor([1]), torch.tensor([0, 2]), torch.tensor([]).long())
        ),
    ],
)
def test_a_file_that_is_no_film_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], message: str
) -> None:
    save_file(tensors, tmp_path / "film.safetensors")
    with pytest.raises(MediaError, match=message):
        Film(tmp_path / "film.safetensors")


def test_a_film_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    for name in ("noise", "missing"):
        with pytest.raises(MediaError, match="docs/film.md"):
            Film(tmp_path / name)


def test_a_batch_has_film_as_often_as_asked(film: Film) -> None:
    """Frames of this film are grey all over, which no frame of the toybox is."""

    def shares(share: float) -> list[bool]:
        crops = ToyCrops(0, 4, lambda _step: (6, ClipSize(1, 32, 32)), film=film, film_share=share)
        found = []
        for step in range(4):
            batch = crops[step]
            again = crops[step]
            assert torch.equal(batch.frames, again.frames)
            assert batch.frames.shape == (6, 1, 32, 32, 3)
            filmed = (batch.frames == batch.frames[:, :, :1, :1, :1]).flatten(1).all(1)
            assert not batch.actors[filmed].any()
            found += filmed.tolist()
        return found

    assert not any(shares(0.0))
    assert 5 < sum(shares(0.5)) < 19
    assert all(shares(1.0))


def test_a_batch_that_is_larger_than_the_film_shows_the_world(film: Film) -> None:
    sizes = [ClipSize(1, 32, 32), ClipSize(1, 64, 64)]
    crops = ToyCrops(0, 2, lambda step: (2, sizes[step]), film=film, film_share=1.0)
    filmed = [
        bool((crops[step].frames == crops[step].frames[:, :1, :1, :1]).all()) for step in (0, 1)
    ]
    assert filmed == [True, False]


def test_a_film_that_no_stage_fits_is_refused(film: Film) -> None:
    changes = ["preset=nano", f"film.file={film.path}", "stages=[{frames: 1, size: 64, batch: 1}]"]
    with pytest.raises(RequestError, match="no stage is small enough for the film: got 80 x 48"):
        VAEObjective(read_config("pocket-vae", changes), choose("cpu", "float32"))


def test_a_share_of_no_film_is_refused(film: Film) -> None:
    for share, given in ((0.5, None), (1.5, film)):
        with pytest.raises(RequestError, match=f"got {share}"):
            ToyCrops(0, 1, lambda _step: (1, ClipSize(1, 32, 32)), film=given, film_share=share)


def test_the_script_finds_the_shots_of_videos(tmp_path: Path) -> None:
    """Two videos, the first with a cut after 10 frames; a slow pan is no cut."""
    dice = torch.Generator().manual_seed(0)
    views = torch.randint(0, 2, (2, 6, 12, 3), generator=dice).mul(255).to(torch.uint8)
    views = views.repeat_interleave(16, 1).repeat_interleave(16, 2)
    pans = [torch.stack([view[:, i : i + 160] for i in range(10)]) for view in views]
    write_mp4(tmp_path / "cut.mp4", pans, 24.0, metadata={})
    write_mp4(tmp_path / "one.mp4", pans[:1], 24.0, metadata={})
    target = tmp_path / "films" / "film.safetensors"
    command = [sys.executable, str(SCRIPT), str(tmp_path / "cut.mp4"), str(tmp_path / "one.mp4")]
    done = subprocess.run(
        [*command, "-o", str(target), "--height", "54"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    film = Film(target)
    assert film.starts == [0, 10, 20]
    assert film.frames_NHW3.shape == (30, 54, 96, 3)
    frames = film.frames_NHW3.float()
    assert (frames[0] - frames[20]).abs().mean() < 6
    assert (frames[0] - frames[10]).abs().mean() > 60


def test_the_script_refuses_what_is_no_video(tmp_path: Path) -> None:
    build = runpy.run_path(str(SCRIPT))
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)))
    with (tmp_path / "film").open("wb") as file, pytest.raises(MediaError, match=r"noise\.mp4"):
        build["write"](file, [tmp_path / "noise.mp4"], 64, 36, "")
