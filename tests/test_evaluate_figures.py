"""Adherence to captions of figures, counted on true clips and on clips of something else."""

from overcrank.evaluate.figures import FigureAdherence
from overcrank.shapes import ClipSize
from overcrank.toybox.figure_bench import figure_bench
from overcrank.toybox.figure_pack import shipped_pack
from overcrank.toybox.figure_reader import FigureReader
from overcrank.toybox.figures import render_figures


def test_what_is_shown_is_found_and_what_is_not_is_not() -> None:
    adherence, items = FigureAdherence(FigureReader(shipped_pack())), figure_bench()
    for asked, shown in ((7, 7), (40, 40), (90, 90), (12, 40)):
        frames = render_figures(items[shown].scene, shipped_pack(), ClipSize(41, 64, 64), 8.0)
        adherence.see(items[asked], frames, 8.0)
    table = adherence.result()
    assert set(table) == {"held out", "not held out", "stories"}
    assert (table["held out"]["figure"]["hits"], table["held out"]["all"]["total"]) == (1, 2)
    assert table["stories"]["all"]["rate"] == table["not held out"]["motion"]["rate"] == 1
