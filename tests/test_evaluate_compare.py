"""Two reports side by side: what differs by more than chance, and which way is better."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from command_line import overcrank
from nano_model import save_nano
from overcrank.errors import RequestError
from overcrank.evaluate.compare import changes, read_report, summary, write_comparison
from overcrank.evaluate.leaves import leaves, shown, span
from overcrank.evaluate.report import FORMAT_VERSION, recogniser_hash
from overcrank.evaluate.suites import QUICK, Setting, chosen
from overcrank.evaluate.tables import blocks
from overcrank.metrics import Rate, mean_of


def report(hits: int, seconds: list[float], factor: list[float]) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "model": "some",
        "suite": {"name": "quick", "questions": 256},
        "setting": {"steps": None, "guidance": None},
        "hardware": {"device": "cpu", "processor": "some", "dtype": "bfloat16", "threads": 2},
        "recogniser": recogniser_hash(),
        "text": {
            "adherence": {
                "clips": {"motion": Rate(hits, 100).to_dict()},
                "true_clips": {"motion": Rate(hits, 100).to_dict()},
            }
        },
        "speed": {
            "seconds": {"denoise": mean_of(seconds)},
            "realtime_factor": {**mean_of(factor), "median": factor[0]},
            "peak_memory": 1_000_000,
            "trade": [],
        },
    }


SLOW = report(50, [2.0, 2.1, 1.9], [1.0, 1.1, 1.2])
FAST = report(70, [1.0, 1.1, 0.9], [1.0, 1.2, 1.1])


def mean(low: float, high: float) -> dict[str, float]:
    return {"mean": (low + high) / 2, "low": low, "high": high, "n": 9}


def written(folder: Path, content: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(content))
    return folder


def test_what_changed_is_told_apart_from_chance_and_the_better_way() -> None:
    verdicts = {".".join(x.first.path): x.verdict for x in changes(SLOW, FAST)}
    assert verdicts == {
        "text.adherence.clips.motion": "better",
        "text.adherence.true_clips.motion": "",  # not the model's own
        "speed.seconds.denoise": "better",  # less is better
        "speed.realtime_factor": "",  # chance may explain it
        "speed.peak_memory": "",  # no interval
    }
    back = {".".join(x.first.path): x.verdict for x in changes(FAST, SLOW)}
    assert (back["text.adherence.clips.motion"], back["speed.seconds.denoise"]) == (
        "worse",
        "worse",
    )


@pytest.mark.parametrize(
    ("path", "low", "high", "verdict"),
    [
        ("image.beginning.seam", mean(1.0, 1.2), mean(1.9, 2.1), "worse"),
        ("image.beginning.seam", mean(0.3, 0.4), mean(0.9, 1.1), "better"),
        ("image.beginning.seam", mean(0.7, 0.9), mean(1.1, 1.3), ""),  # as far from 1
        ("image.beginning.seam_vae", mean(1.0, 1.2), mean(1.9, 2.1), ""),
        ("image.beginning.psnr", mean(20.0, 21.0), mean(25.0, 26.0), "better"),
        ("image.beginning.psnr_round_trip", mean(20.0, 21.0), mean(25.0, 26.0), ""),
        ("image.first_frame.below_round_trip", mean(0.1, 0.2), mean(1.0, 1.1), "worse"),
        ("image.first_frame.change", mean(0.1, 0.2), mean(1.0, 1.1), ""),
        ("text.artefacts.clips.seam", mean(0.1, 0.2), mean(0.8, 0.9), "worse"),
        ("text.permanence.clips.colour.kept", mean(0.1, 0.2), mean(0.8, 0.9), "better"),
        ("text.permanence.true_clips.colour.unsure", mean(0.1, 0.2), mean(0.8, 0.9), ""),
        ("text.distance.toybox-FD.distance", mean(1, 2), mean(8, 9), "worse"),
        ("text.distance.toybox-FD.noise_floor", mean(1, 2), mean(8, 9), ""),
        ("vae.seams.tiles", mean(1, 2), mean(8, 9), "worse"),
        ("vae.nobody_has_listed_this", mean(1, 2), mean(8, 9), ""),
    ],
)
def test_each_name_has_a_better_way_or_none(
    path: str, low: dict[str, float], high: dict[str, float], verdict: str
) -> None:
    one, other = dict(SLOW), dict(SLOW)
    names = path.split(".")
    for content, value in ((one, low), (other, high)):
        nested: dict[str, Any] = value
        for name in names[:0:-1]:
            nested = {name: nested}
        content[names[0]] = nested
    (found,) = (x for x in changes(one, other) if x.first.path == tuple(names))
    assert found.verdict == verdict


def test_a_report_beside_itself_has_no_difference() -> None:
    found = changes(SLOW, SLOW)
    assert [x.by for x in found] == [0] * 5
    assert {x.verdict for x in found} == {""}
    assert "Nothing differs by more than chance." in list(summary(found, SLOW, SLOW))


def test_times_of_different_machines_are_not_judged() -> None:
    other = {**FAST, "hardware": {**FAST["hardware"], "threads": 4}}
    found = changes(SLOW, other)
    assert [".".join(x.first.path) for x in found if x.verdict] == ["text.adherence.clips.motion"]
    assert "threads 2 and 4" in " ".join(summary(found, SLOW, other))


def test_the_comparison_is_written_as_page_and_numbers(tmp_path: Path) -> None:
    folders = written(tmp_path / "a", SLOW), written(tmp_path / "b", FAST)
    for _ in range(2):  # its own folder may be written again
        write_comparison(tmp_path / "both", ("slow", "fast"), folders)
    found = json.loads((tmp_path / "both" / "report.json").read_text())
    assert (found["kind"], found["compared"]) == ("comparison", ["slow", "fast"])
    motion = found["changes"][0]
    assert motion["difference"] == pytest.approx(0.2)
    assert 0 < motion["low"] < 0.2 < motion["high"] < 0.4
    page = (tmp_path / "both" / "index.html").read_text()
    judged, others = page.split("<details>")
    assert "3 numbers are judged" in judged
    assert "better in 2 and worse in 0; by chance alone about 0.2 would differ" in judged
    assert "+20.0 points" in judged
    assert judged.count(">better<") == 2
    assert ">better<" not in others
    assert "realtime factor" in others
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == [
        "index.html",
        "report.json",
    ]


def test_clips_are_shown_where_both_have_them(tmp_path: Path) -> None:
    clips = [{"item": n, "caption": f"caption {n}", "made": f"clips/{n}.mp4"} for n in range(3)]
    one = written(tmp_path / "a", {**SLOW, "text": {**SLOW["text"], "clips": clips}})
    other = written(tmp_path / "b", {**SLOW, "text": {**SLOW["text"], "clips": clips[:2]}})
    for folder, numbers in ((one, (0, 1, 2)), (other, (0,))):
        (folder / "clips").mkdir()
        for number in numbers:
            (folder / "clips" / f"{number}.mp4").write_bytes(b"a clip")
    write_comparison(tmp_path / "both", ("one", "other"), (one, other))
    page = (tmp_path / "both" / "index.html").read_text()
    assert page.count("<video") == 2
    assert "caption 0" in page
    assert "caption 1" not in page
    rest = {name: value for name, value in SLOW.items() if name != "text"}
    write_comparison(tmp_path / "both", ("one", "rest"), (one, written(tmp_path / "c", rest)))
    assert "<video" not in (tmp_path / "both" / "index.html").read_text()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1]", "this is no report, got"),
        ("{", "this is no report, got"),
        ('{"format_version": 1}', "format_version 1"),
        (json.dumps({**SLOW, "recogniser": None}), "without a right recogniser"),
        (f'{{"format_version": {FORMAT_VERSION}, "suite": {{}}}}', "without a right model"),
        (json.dumps({**SLOW, "vae": []}), "without a right vae"),
        ('{"format_version": 2, "kind": "comparison"}', "a comparison cannot be compared"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(RequestError, match="this is no report, got"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(RequestError, match=says):
        read_report(tmp_path)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"suite": {"name": "quick", "questions": 4}}, "got questions 256 and 4: measure both"),
        (
            {"recogniser": "f" * 64},
            f"got {recogniser_hash()[:12]} and {'f' * 12}: measure both again",
        ),
    ],
)
def test_reports_that_were_made_otherwise_are_not_compared(
    tmp_path: Path, other: dict[str, Any], says: str
) -> None:
    folders = written(tmp_path / "a", SLOW), written(tmp_path / "b", {**SLOW, **other})
    with pytest.raises(RequestError, match=says):
        write_comparison(tmp_path / "both", ("a", "b"), folders)
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize("place", ["a", "b", "b/../a", "c"])
def test_no_report_is_overwritten_by_a_comparison(tmp_path: Path, place: str) -> None:
    folders = [written(tmp_path / name, SLOW) for name in "abc"]
    code, out, err = overcrank("eval", "--compare", *folders[:2], "-o", tmp_path / place)
    assert (code, out) == (2, "")
    assert "name another folder with -o" in err
    for folder in folders:
        assert [path.name for path in folder.iterdir()] == ["report.json"]
        assert json.loads((folder / "report.json").read_text()) == SLOW


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_nano(tmp_path_factory.mktemp("models") / "nano")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nano", "--compare", "quick", "quick"], "/nano as well: leave it out"),
        (["--compare", "nano", "nor-this"], "no such model"),
        (["--compare", "quick", "nor-this"], "no such model"),
        (["--compare", "nano", "nano:0"], "num_inference_steps"),
        (["--compare", "quick", "nano", "--items", "4"], "questions 256 and 4"),
        (["--compare", "quick", "short"], "questions 256 and 4"),
        (["--compare", "quick", "quick", "-o", "file"], "a report is a folder, got the file"),
        (["--compare", "nano", "new/first"], "measured over another report"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_measured(
    nano: Path, tmp_path: Path, words: list[str], says: str
) -> None:
    suite = {**asdict(chosen("quick")), "name": "quick"}
    content = {**SLOW, "suite": suite}
    places: dict[str, object] = {
        "nano": nano,
        "nano:0": f"{nano}:0",
        "quick": written(tmp_path / "quick", content),
        "short": written(tmp_path / "short", {**content, "suite": {**suite, "questions": 4}}),
        "new/first": tmp_path / "new" / "first",
        "file": tmp_path / "file",
    }
    (tmp_path / "file").write_text("mine")
    if "new/first" in words:
        written(tmp_path / "new" / "first", content)
    given = [places.get(word, word) for word in words]
    code, out, err = overcrank("eval", "-o", tmp_path / "new", *given)
    assert (code, out) == (2, "")
    assert says in " ".join(err.split())
    assert "Traceback" not in err
    assert not (tmp_path / "new" / "second").exists()
    assert (tmp_path / "new").exists() == ("new/first" in words)


def test_a_finished_report_and_a_model_are_compared(nano: Path, tmp_path: Path) -> None:
    wish = ["--items", 1, "--part", "vae"]
    code, _, err = overcrank("eval", nano, *wish, "-o", tmp_path / "a")
    assert code == 0, err
    words = ["eval", "--compare", tmp_path / "a", f"{nano}:1", *wish, "-o", tmp_path / "both"]
    code, out, err = overcrank(*words)
    assert code == 0, err
    assert "nothing differs by more than chance" in out
    assert f"{nano}:1: vae 2 of 2" in "".join(err.split("\n"))
    assert (tmp_path / "both" / "second" / "report.json").exists()
    assert not (tmp_path / "both" / "first").exists()


def test_numbers_are_found_and_written_with_their_units() -> None:
    found = {x.path: x for x in leaves({"psnr": 25.5, "motion": Rate(3, 4).to_dict(), "list": [1]})}
    assert shown(found["psnr",]) == "25.50 dB"
    assert (shown(found["motion",]), span(found["motion",])) == ("75%", "30% to 95% of 4")
    assert len(found) == 2


def test_groups_of_numbers_become_columns_of_one_table() -> None:
    rates = {"colour": Rate(1, 2).to_dict(), "shape": Rate(2, 2).to_dict()}
    page = blocks({"clips": rates, "items": 3, "wordings": {"seen": rates, "unseen": rates}})
    assert page.count("<thead>") == 1
    assert "<th>unseen</th>" in page
    assert "<h3>wordings</h3>" in page
    assert "50%" in page
    assert 'title="9% to 91% of 2"' in page


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pocket", ("pocket", None, None)),
        ("pocket:4", ("pocket", 4, None)),
        ("runs/a:4:1.5", ("runs/a", 4, 1.5)),
        ("owner/name:file", ("owner/name:file", None, None)),
    ],
)
def test_a_setting_is_a_model_steps_and_guidance(text: str, expected: tuple[Any, ...]) -> None:
    setting = Setting.read(text)
    assert (setting.model, setting.steps, setting.guidance) == expected


def test_a_suite_can_be_cut_short() -> None:
    assert chosen("quick") == QUICK
    assert chosen("full", 3).questions == chosen("full", 3).speed == 3
    assert chosen("quick", 1000).questions == 256
