"""How often a model's clips show the figure of their captions, doing what they say.

    python examples/figure_adherence.py pocket --every 4

Makes clips of the captions of figures-v1 with the model's own settings and reads them; beside them
the true clips. `--every 4` takes each fourth item. `--true` makes no clips.
"""

import argparse

import overcrank
from overcrank.evaluate.figures import FigureAdherence, Table
from overcrank.request import Request
from overcrank.shapes import ClipSize
from overcrank.toybox.figure_bench import figure_bench
from overcrank.toybox.figure_pack import shipped_pack
from overcrank.toybox.figure_reader import FigureReader
from overcrank.toybox.figures import render_figures

TRUE_SIZE, TRUE_RATE = ClipSize(41, 64, 64), 8.0


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--true", action="store_true")
    asked = parser.parse_args()
    reader = FigureReader(shipped_pack())
    items = figure_bench()[:: asked.every]
    true = FigureAdherence(reader)
    for item in items:
        frames = render_figures(item.scene, shipped_pack(), TRUE_SIZE, TRUE_RATE)
        true.see(item, frames, TRUE_RATE)
    tables = {"true clips": true.result()}
    if not asked.true:
        pipe, made = overcrank.load(asked.model), FigureAdherence(reader)
        for item in items:
            video = pipe.generate(Request(prompt=item.caption, seed=item.seed))
            made.see(item, video.frames, video.frame_rate)
        tables[asked.model] = made.result()
    print("| clips | captions | figure | motion | all | of |\n|---|---|---|---|---|---|")
    for name, table in tables.items():
        print("\n".join(_rows(name, table)))


def _rows(name: str, table: Table) -> list[str]:
    return [
        f"| {name} | {group} | "
        + " | ".join(f"{found[key]['rate']:.0%}" for key in ("figure", "motion", "all"))
        + f" | {found['all']['total']} |"
        for group, found in table.items()
    ]


if __name__ == "__main__":
    main()
