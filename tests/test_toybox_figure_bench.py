"""The frozen prompts of figures: always the same, and what they say they are."""

import hashlib
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from overcrank.errors import RequestError
from overcrank.toybox.figure_bench import FIGURES_FILE, figure_bench, figure_digest, write
from overcrank.toybox.figure_pack import shipped_pack
from overcrank.toybox.figures import caption_figures

FROZEN = "b3e8d3237235429a13f7f5540a83e842e51d4a13a629c7a6758b44e3bce063e9"


def test_the_file_never_changes() -> None:
    data = files("overcrank.toybox").joinpath(FIGURES_FILE).read_bytes()
    assert hashlib.sha256(data).hexdigest() == FROZEN


def test_scenes_move_as_when_they_were_chosen() -> None:
    for item in figure_bench()[::5]:
        assert figure_digest(item.scene) == item.digest
        assert caption_figures(item.scene) == item.caption


def test_each_figure_is_asked_for_held_out_otherwise_and_in_a_story() -> None:
    items = figure_bench()
    assert [item.index for item in items] == list(range(96))
    for part in (items[:32], items[32:64], items[64:]):
        assert [item.scene.figures[0].name for item in part] == list(shipped_pack().names)
    assert all(item.scene.held_out for item in items[:32])
    assert not any(item.scene.held_out for item in items[32:64])
    assert [item.scene.figures[0].then is None for item in items] == [True] * 64 + [False] * 32
    assert all(len(item.scene.figures) == 1 for item in items)
    assert len(Counter(item.scene.figures[0].motion for item in items[:64])) == 10


def test_a_frozen_file_is_not_written_again(tmp_path: Path) -> None:
    (tmp_path / FIGURES_FILE).write_text("frozen")
    with pytest.raises(RequestError, match="frozen"):
        write(tmp_path / FIGURES_FILE)
