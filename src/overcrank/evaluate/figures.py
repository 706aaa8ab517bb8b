"""Does a clip show the figure of its caption, doing what it says? Counted on figures-v1."""

from collections import Counter

from torch import Tensor

from overcrank.metrics import Rate
from overcrank.toybox.figure_bench import FigureItem
from overcrank.toybox.figure_reader import FigureReader

Table = dict[str, dict[str, dict[str, float]]]


class FigureAdherence:
    """Measure: how often the figure, its motion (of a story both, in turn) and all of it are found,
    for the pairs of figure and motion that training never shows, for others, and for stories."""

    def __init__(self, reader: FigureReader) -> None:
        self.reader = reader
        self._hits: dict[str, Counter[str]] = {}

    def see(self, item: FigureItem, frames_FHWC: Tensor, frame_rate: float) -> None:
        """Read a clip that was made from the item's caption: uint8, square frames."""
        (figure,) = item.scene.figures
        group = "not held out" if figure.then is None else "stories"
        if figure.then is None and item.scene.held_out:
            group = "held out"
        reading = self.reader.read(frames_FHWC, frame_rate, len(figure.motions))
        found = {"figure": reading.name == figure.name, "motion": reading.motions == figure.motions}
        found["all"] = all(found.values())
        hits = self._hits.setdefault(group, Counter())
        hits.update({"total": 1, **{name: int(hit) for name, hit in found.items()}})

    def result(self) -> Table:
        """By group and by what is asked: hits, total, rate, low and high (95 %)."""
        return {
            group: {
                name: Rate(hits[name], hits["total"]).to_dict()
                for name in ("figure", "motion", "all")
            }
            for group, hits in sorted(self._hits.items())
        }
