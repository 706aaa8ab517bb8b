"""Two reports side by side: what differs by more than chance, and which way is better."""

import json
from pathlib import Path
from typing import Any

import pytest

from overcrank.errors import RequestError
from overcrank.evaluate.compare import changes, read_report, write_comparison
from overcrank.evaluate.leaves import leaves, shown, span
from overcrank.evaluate.suites import QUICK, Setting, chosen
from overcrank.evaluate.tables import blocks
from overcrank.metrics import Rate, mean_of


def report(hits: int, seconds: list[float], factor: list[float]) -> dict[str, Any]:
    return {
        "format_version": 2,
        "model": "some",
        "suite": {"name": "quick"},
        "setting": {"steps": None, "guidance": None},
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


def test_a_report_beside_itself_has_no_difference() -> None:
    found = changes(SLOW, SLOW)
    assert [x.by for x in found] == [0] * 5
    assert {x.verdict for x in found} == {""}


def test_the_comparison_is_written_as_page_and_numbers(tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder, one in zip(folders, (SLOW, FAST), strict=True):
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(one))
    write_comparison(tmp_path / "both", ("slow", "fast"), folders)
    written = json.loads((tmp_path / "both" / "report.json").read_text())
    assert written["compared"] == ["slow", "fast"]
    motion = written["changes"][0]
    assert motion["difference"] == pytest.approx(0.2)
    assert 0 < motion["low"] < 0.2 < motion["high"] < 0.4
    page = (tmp_path / "both" / "index.html").read_text()
    assert "+20.0 points" in page
    assert ">better<" in page


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="this is no report, got"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text('{"format_version": 1}')
    with pytest.raises(RequestError, match="format_version 1"):
        read_report(tmp_path)


def test_reports_of_different_suites_are_not_compared(tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder, suite in zip(folders, ("quick", "full"), strict=True):
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps({**SLOW, "suite": {"name": suite}}))
    with pytest.raises(RequestError, match="'quick' and 'full'"):
        write_comparison(tmp_path / "both", ("a", "b"), folders)
    assert not (tmp_path / "both").exists()


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
