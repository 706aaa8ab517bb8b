"""The reader of figures: what a clip shows, told from its frames alone."""

import pytest
import torch

from overcrank.errors import RequestError
from overcrank.shapes import ClipSize
from overcrank.toybox.figure_bench import figure_bench
from overcrank.toybox.figure_pack import shipped_pack
from overcrank.toybox.figure_reader import FigureReader
from overcrank.toybox.figure_templates import Templates, small
from overcrank.toybox.figures import render_figures

SIZE = ClipSize(41, 64, 64)


@pytest.fixture(scope="module")
def reader() -> FigureReader:
    return FigureReader(shipped_pack())


@pytest.mark.parametrize("index", [7, 40, 90])
def test_a_true_clip_is_read(reader: FigureReader, index: int) -> None:
    scene = figure_bench()[index].scene
    figure = scene.figures[0]
    frames = render_figures(scene, shipped_pack(), SIZE, 8.0)
    reading = reader.read(frames, 8.0, len(figure.motions))
    assert (reading.name, reading.motions) == (figure.name, figure.motions)
    assert reading.likeness > 0.4
    assert reading.miss < 0.2


def test_an_empty_stage_is_like_nothing(reader: FigureReader) -> None:
    scene = figure_bench()[40].scene
    there = render_figures(scene, shipped_pack(), SIZE, 8.0)
    empty = render_figures(type(scene)(figures=(), stage=scene.stage), shipped_pack(), SIZE, 8.0)
    assert reader.which(empty, 8.0)[1] < 0.75 * reader.which(there, 8.0)[1]


def test_frames_that_are_not_square_are_refused(reader: FigureReader) -> None:
    with pytest.raises(RequestError, match="64 x 32"):
        reader.read(torch.zeros(9, 32, 64, 3, dtype=torch.uint8), 8.0)


def test_a_template_is_found_where_it_lies() -> None:
    picture = torch.zeros(1, 4, 128, 128)
    picture[:, :, 32:96, 16:112] = torch.tensor([0.9, 0.2, 0.1, 1.0])[None, :, None, None]
    picture[:, 1, 32:64, 16:112] = 0.8
    frame = torch.full((1, 64, 64, 3), 120, dtype=torch.uint8)
    frame[:, 24:40, 12:36] = torch.tensor([230, 51, 26], dtype=torch.uint8)
    frame[:, 24:32, 12:36, 1] = 204
    found = Templates([picture], 0.5, [(1.0, 1.0, 0.0), (1.0, 1.0, 0.8)]).find(small(frame))
    assert found.template_F.tolist() == [0]
    assert found.place_F2[0].tolist() == pytest.approx([24 / 64, 32 / 64], abs=0.03)
    assert found.likeness_F[0] > 0.8
