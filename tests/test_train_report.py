"""The page of a run shows all that it left, needs nothing beside it, and is written with it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
import yaml
from PIL import Image

from overcrank.pages.curves import Curve, figure, short, smooth, thin, ticks
from overcrank.train import train
from overcrank.train.config import RunConfig
from overcrank.train.report import FILE, MOST_BYTES, write_report
from test_train_loop import CPU, Line, vae_run
from test_train_samples import WISH


class Links(HTMLParser):
    """Everything that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        links = [value or "" for name, value in attrs if name in ("src", "href", "data")]
        self.found += [f"{tag} {link}" for link in links]


def write_run(folder: Path, lines: list[dict[str, Any]], config: RunConfig | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    values = (config or vae_run()).model_dump()
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def page(folder: Path) -> str:
    write_report(folder, "cpu")
    return (folder / FILE).read_text()


def points_of(text: str) -> dict[str, list[list[float]]]:
    """What the page says of each curve, by its name."""
    found = re.findall(r"data-curves='(.*?)'", text)
    return {name: points for each in found for name, points in json.loads(each)}


def test_a_run_leaves_its_page_where_it_is_saved(tmp_path: Path) -> None:
    train(vae_run(), Line(), tmp_path, lambda _event: None, CPU)
    text = (tmp_path / FILE).read_text()
    assert "4 of 4" in text
    assert "kind: vae" in text
    curves = points_of(text)
    assert {"loss", "norm", "lr", "seconds"} <= set(curves)
    assert curves["lr"] == [[1, 1e-3], [2, 1e-3], [3, 1e-3], [4, 1e-3]]


def test_a_page_needs_nothing_beside_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [{"step": 1, "loss": 1.0}])
    Image.new("RGB", (64, 32)).save(folder / "round-trip-000002.png")
    links = Links()
    text = page(folder)
    links.feed(text)
    assert links.found
    assert all(link.startswith(("img data:", "video data:")) for link in links.found)
    assert "http" not in text.replace("http://www.w3.org", "")


def test_held_out_losses_have_a_chart_for_each_size(tmp_path: Path) -> None:
    names = ["held_out_128_0.1", "held_out_128_1.0", "held_out_768x512_0.1", "held_out_psnr"]
    lines = [{"step": step, **dict.fromkeys(names, 1 / step)} for step in (1, 2, 3)]
    text = page(write_run(tmp_path / "run", lines))
    titles = re.findall(r"<figcaption>(.*?) <small>", text)
    assert "Held-out loss by noise level, 128 pixels" in titles
    assert "Held-out loss by noise level, 768x512 pixels" in titles
    assert "Held out psnr" in titles


def test_clips_are_in_the_page_until_it_is_full(tmp_path: Path) -> None:
    config = vae_run().model_copy(update={"samples": None}).model_dump() | {"samples": WISH}
    folder = write_run(tmp_path / "run", [{"step": 1, "loss": 1.0}])
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    clips = folder / "samples"
    clips.mkdir()
    sizes = {0: 10, 2: MOST_BYTES - 100, 4: 20}
    for step, size in sizes.items():
        Image.new("RGB", (8, 8)).save(clips / f"step-{step:06d}.webp")
        (clips / f"step-{step:06d}-0.mp4").write_bytes(b"0" * size)
    (clips / "step-000004-1.mp4").write_bytes(b"1" * 90)
    text = page(folder)
    assert text.count("<video ") == 3  # the newest two and the small one; the large one is too much
    assert "a red ball" in text
    assert "step 2" in text


def test_what_a_user_wrote_is_text_and_no_markup(tmp_path: Path) -> None:
    config = vae_run().model_dump() | {"preset": "<script>alert(1)</script>"}
    folder = write_run(tmp_path / "<b>run", [{"step": 1, "<i>": 1.0}])
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    text = page(folder)
    assert "<script>alert" not in text
    assert "<b>run" not in text
    assert "<i>:" not in text


def test_a_run_without_a_step_has_a_page(tmp_path: Path) -> None:
    assert "No step yet" in page(write_run(tmp_path / "run", []))


def test_a_page_that_cannot_be_written_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    events: list[dict[str, Any]] = []
    assert train(vae_run(), Line(), tmp_path, events.append, CPU) == 4
    assert any("no_report" in event for event in events)


def svg_of(text: str) -> ElementTree.Element:
    found = re.search(r"<svg.*</svg>", text)
    assert found
    return ElementTree.fromstring(found[0])


def test_a_curve_stays_inside_of_its_chart() -> None:
    curve = Curve("x", [(step, 10.0 ** (step % 5 - 2)) for step in range(1, 1000)])
    svg = svg_of(figure("x", [curve]))
    line = svg.find("polyline")
    assert line is not None
    places = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert all(58 <= x <= 508 and 12 <= y <= 214 for x, y in places)


@pytest.mark.parametrize("points", [[(1, 0.0)], [(1, 2.0), (2, 2.0)], [(5, -1.0), (9, 1e-9)]])
def test_curves_without_extent_are_drawn(points: list[tuple[float, float]]) -> None:
    svg = svg_of(figure("x", [Curve("x", points)]))
    assert svg.find("polyline") is not None or svg.find("circle") is not None
    assert "nan" not in ElementTree.tostring(svg, "unicode")


def test_values_over_several_decades_are_logarithmic() -> None:
    assert "logarithmic" in figure("x", [Curve("x", [(1, 100.0), (2, 1.0)])])
    assert "logarithmic" not in figure("x", [Curve("x", [(1, 2.0), (2, 1.0)])])
    assert "logarithmic" not in figure("x", [Curve("x", [(1, 100.0), (2, 0.0)])])


def test_a_long_curve_is_thinned_but_keeps_its_ends_and_its_mean() -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0)).tolist()
    points = list(enumerate(values))
    few = thin(points)
    assert len(few) <= 240
    assert (few[0], few[-1]) == (points[0], points[-1])
    mean = sum(value for _, value in few) / len(few)
    assert mean == pytest.approx(sum(values) / len(values), abs=0.02)


def test_the_end_of_a_smoothed_curve_is_a_mean_too() -> None:
    points = [(float(step), float(step % 2)) for step in range(100)]
    assert all(0.3 < value < 0.7 for _, value in smooth(points))


def test_a_constant_stays_when_it_is_smoothed() -> None:
    points = [(float(step), 3.0) for step in range(100)]
    assert [value for _, value in smooth(points)] == pytest.approx([3.0] * 100)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0123, "0.0123"), (999.4, "999"), (999.6, "1000"), (-999.6, "-1000")),
        *((9996, "9996"), (9999.6, "10k"), (12_345, "12.3k"), (999_499, "999k")),
        *((999_999, "1M"), (3.4e6, "3.4M"), (999.9e6, "1G"), (2e9, "2G"), (float("nan"), "nan")),
    ],
)
def test_numbers_are_short_after_rounding(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(
    ("low", "high"), [(5.2, 9.7), (2.1, 4.9), (0.11, 0.19), (0.5, 50), (3, 4e5)]
)
def test_every_axis_has_marks(low: float, high: float) -> None:
    for log in (True, False):
        marks = ticks(low, high, log=log)
        assert 2 <= len(marks) <= 10
        assert low <= marks[0] < marks[-1] <= high
