"""overcrank eval: what the report says, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch

from command_line import overcrank
from nano_model import save_nano
from overcrank import load
from overcrank.evaluate import evaluate
from overcrank.evaluate.directions import listed
from overcrank.evaluate.fidelity import decibels, frame_change
from overcrank.evaluate.leaves import PARTS, leaves
from overcrank.evaluate.page import write_page
from overcrank.evaluate.suites import chosen
from overcrank.media import read_frames, write_mp4


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_nano(tmp_path_factory.mktemp("models") / "nano")


@pytest.fixture(scope="module")
def folder(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "deep" / "nano"
    code, out, err = overcrank("eval", nano, "--items", 2, "-o", folder, "--json")
    assert code == 0, err
    assert json.loads(out.splitlines()[-1]) == json.loads((folder / "report.json").read_text())
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())  # type: ignore[no-any-return]


def unlisted(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """Numbers of which nobody has said which way is better."""
    found = [x.path for part in PARTS for x in leaves(report.get(part, {}), (part,))]
    assert len(found) > 100
    return [path for path in found if listed(path) is None]


def test_of_every_number_it_is_said_which_way_is_better(report: dict[str, Any]) -> None:
    assert unlisted(report) == []


def test_the_report_says_what_was_measured(report: dict[str, Any]) -> None:
    expected = {"format_version": 3, "model": "nano", "bench": "bench-v1"}
    assert report.items() >= expected.items()
    assert set(report["hashes"]) == {"vae", "transformer"}
    assert report["suite"]["questions"] == 2
    assert report["hardware"]["dtype"] in ("float32", "bfloat16")


def test_every_question_is_answered_by_one_clip(report: dict[str, Any], folder: Path) -> None:
    text = report["text"]
    assert text["questions"] == 2
    assert [clip["item"] for clip in text["clips"]] == [0, 256]
    for clip in text["clips"]:
        assert read_frames(folder / clip["made"])[0].shape == (49, 128, 128, 3)
    assert {rate["total"] for rate in text["artefacts"]["clips"].values()} == {2}
    assert text["permanence"]["n"] + text["permanence"]["left_out"] == 2


def test_adherence_stands_beside_true_clips_round_trips_and_random_weights(
    report: dict[str, Any],
) -> None:
    adherence = report["text"]["adherence"]
    for name in ("clips", "true_clips", "round_trips", "random_weights"):
        assert adherence[name]["colour"]["total"] == 3  # one actor, then two
    assert adherence["clips"]["colour"]["chance"] == 1 / 8
    assert set(adherence["wordings"]) == {"seen"}


def test_a_distance_needs_more_clips_and_says_how_many(report: dict[str, Any]) -> None:
    assert "got 2, needed are" in report["text"]["distance"]["toybox-FD"]


def test_ones_own_videos_and_features_are_measured_too(nano: Path, tmp_path: Path) -> None:
    features = tmp_path / "own.py"
    features.write_text("def features(video):\n    return video.mean((1, 2, 3))[:, :1]\n")
    clip = tmp_path / "clip.mp4"
    frames = torch.randint(0, 256, (10, 64, 96, 3), dtype=torch.uint8)
    write_mp4(clip, [frames], 10.0, metadata={})
    words = ["eval", nano, "--items", 6, "-o", tmp_path / "new", "--part", "text", "--part", "vae"]
    code, out, err = overcrank(*words, "--features", features, "--video", clip, "--json")
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["text"]["distance"]["own.py"]["features"] == 1
    assert unlisted(found) == []
    assert [each["name"] for each in found["vae"]["videos"]["clips"]] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("content", "items", "says"),
    [
        ("def features(video):\n    return video.mean()", 4, "shape"),
        ("def features(video):\n    return video.mean((2, 3, 4))", 2, "got 2, needed are 6"),
    ],
)
def test_features_that_cannot_be_used_end_it_before_anything_is_made(
    nano: Path, tmp_path: Path, content: str, items: int, says: str
) -> None:
    features = tmp_path / "own.py"
    features.write_text(content)
    code, _, err = overcrank(
        "eval", nano, "--items", items, "-o", tmp_path / "new", "--features", features
    )
    assert code == 2
    assert says in err
    assert not (tmp_path / "new").exists()


def test_speed_and_quality_make_points(report: dict[str, Any]) -> None:
    speed = report["speed"]
    assert speed["clips"] == 2
    factor = speed["realtime_factor"]
    assert 0 < factor["slowest"] <= factor["median"] <= factor["fastest"]
    assert set(speed["seconds"]) >= {"text", "denoise", "decode"}
    points = {(p["steps"], p["guidance"], p["width"]) for p in speed["trade"]}
    assert len(points) == len(speed["trade"]) == 4  # own, 4 and 8 steps, and half the size
    assert speed["trade"][0]["all_facts"]["total"] == 2


def test_the_picture_part_compares_with_the_autoencoder(report: dict[str, Any]) -> None:
    assert set(report["image"]) == {"first_frame", "keyframes", "beginning"}
    first = report["image"]["first_frame"]
    assert first["items"] == 2
    assert "first frame only" in report["image"]["keyframes"]["left_out"]  # nano is not for that


def test_the_vae_part_measures_single_actors_and_pairs(report: dict[str, Any]) -> None:
    assert report["vae"]["items"] == 2
    assert report["vae"]["facts"]["colour"]["total"] == 3  # one actor, then two
    assert 0 < report["vae"]["psnr_actors"]["mean"] < 40


def test_contact_sheets_show_true_and_made_clips(folder: Path) -> None:
    for part, rows, width, height in (("text", 4, 128, 128), ("image-first_frame", 4, 64, 32)):
        with PIL.Image.open(folder / f"{part}.png") as sheet:
            assert sheet.size == (8 * width, rows * height)


def test_the_page_needs_no_other_file(folder: Path) -> None:
    text = (folder / "index.html").read_text()
    assert text.count("<video") == 2
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    for said in (
        "a small striped orange cylinder",
        "realtime factor",
        "item 256, seed 256",
        "frozen",
    ):
        assert said in text


def test_one_part_can_be_asked_for(nano: Path, tmp_path: Path) -> None:
    code, out, _ = overcrank("eval", nano, "--items", 2, "--part", "vae", "-o", tmp_path / "vae")
    assert code == 0
    assert "VAE, PSNR" in out
    files = sorted(path.name for path in (tmp_path / "vae").rglob("*") if path.is_file())
    assert files == ["index.html", "report.json", "vae.png"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--items", 0], "at least 1"),
        (["--suite", "long"], "quick or full"),
        (["--part", "sound"], "text, image, vae, speed"),
        (["--video", "/nowhere"], "/nowhere"),
        (["--video", "/nowhere", "--part", "text"], "add --part vae"),
        (["--features", "/nowhere", "--part", "vae"], "add --part text"),
        (["-o", "/proc/report"], "cannot be written"),
    ],
)
def test_wrong_wishes_are_refused(
    nano: Path, tmp_path: Path, words: list[object], says: str
) -> None:
    code, out, err = overcrank("eval", nano, "-o", tmp_path / "new", *words)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_leaves_no_folder(tmp_path: Path) -> None:
    code, _, err = overcrank("eval", tmp_path / "none", "-o", tmp_path / "new")
    assert (code, "no such model" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_the_flags_are_a_contract() -> None:
    _, out, _ = overcrank("eval", "--help")
    named = {word for word in out.split() if word.startswith("-") and word.strip("-").isalpha()}
    assert named == {
        *("--suite", "--output", "-o", "--part", "--items", "--compare", "--dtype", "--json"),
        *("--video", "--features", "--help", "-h"),
    }


def test_measures_of_frames_are_in_their_units() -> None:
    dark, light = torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.full((2, 4, 4, 3), 51).byte()
    assert decibels(dark, light) == pytest.approx(13.979, abs=0.01)
    assert frame_change(torch.stack([dark[0], light[0], light[0]])) == pytest.approx(0.1)


def test_a_second_report_replaces_all_of_the_first_and_only_when_it_is_whole(
    nano: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    pipe, suite = load(nano), chosen("quick", 2)
    evaluate(pipe, folder, suite=suite, parts=["text", "vae"])
    (folder / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def stop(event: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(pipe, folder, suite=suite, parts=["text"], on_event=stop)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(KeyboardInterrupt):
        evaluate(pipe, tmp_path / "new", suite=suite, parts=["text"], on_event=stop)
    assert not (tmp_path / "new").exists()
    evaluate(pipe, folder, suite=chosen("quick", 1), parts=["vae"])
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert left == {"index.html", "report.json", "vae.png", "notes.txt"}


def test_a_distance_is_drawn_over_the_number_of_clips(folder: Path, tmp_path: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    points = [{"n": n, "distance": [1.0], "noise_floor": [0.5]} for n in (64, 128)]
    mean = {"mean": 1.0, "low": 0.5, "high": 1.5, "n": 128}
    report["text"]["distance"]["some-FD"] = {"distance": mean, "curve": points}
    report["text"]["clips"] = []
    write_page(tmp_path, report)
    assert "some-FD by number of clips" in (tmp_path / "index.html").read_text()


def test_videos_of_which_none_can_be_read_are_refused_before_anything_is_made(
    nano: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.mp4").write_text("no video")
    code, _, err = overcrank("eval", nano, "-o", tmp_path / "new", "--video", tmp_path / "x.mp4")
    assert code == 2
    assert "none of the videos can be measured" in err
    assert not (tmp_path / "new").exists()
