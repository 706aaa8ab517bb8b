"""Tables and pictures of what `thesis.py` measured: `examples/thesis_plot.py runs/thesis OUT`.

Prints a table for each comparison and draws its curves to OUT/thesis-NAME.png, against the
operations that training took. Needs matplotlib: pip install 'overcrank[examples]'.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from thesis_networks import VARIANTS

COMPARISONS = {
    "patchify": ("base", "merged"),
    "compression": ("base", "1:96", "1:48"),
    "attention": ("base", "alternating", "both"),
    "last-step": ("base", "clean"),
    "losses": ("base", "no-wavelet", "gan", "noise"),
}
NOT_RUN = "not run"
ASKED = ("colour", "shape", "motion", "ground")
_COLUMNS = {
    "dB over the frame": ("kept", "psnr", "{:.2f}"),
    "dB on actors": ("kept", "actor_psnr", "{:.2f}"),
    "read right": ("kept", "all", "{:.1%}"),
    "distance": ("kept", "frechet", "{:.1f}"),
    "its flicker": ("kept", "flicker", "{:.1f}"),
    **{name: ("made", name, "{:.0%}") for name in ASKED},
    "distance of clips": ("made", "frechet", "{:.0f}"),
    "flicker": ("made", "flicker", "{:.1f}"),
}


@dataclass(frozen=True, slots=True)
class Run:
    """A folder that `learn` filled: its evaluations, by 10^12 operations."""

    folder: Path

    @property
    def events(self) -> list[dict[str, float]]:
        """Lines of the log."""
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def curve(self, *names: str) -> tuple[list[float], list[float]]:
        """Operations, and the mean of some measures."""
        each = json.loads((self.folder / "summary.json").read_text())["flops_of_a_step"] / 1e12
        points = [event for event in self.events if all(name in event for name in names)]
        return (
            [event["step"] * each for event in points],
            [fmean(event[name] for name in names) for event in points],
        )


def runs(folder: Path, name: str) -> Iterator[Run]:
    """One for each seed that is done."""
    for path in sorted(folder.glob(f"{name.replace(':', '-')}-[0-9]*")):
        if (path / "summary.json").exists():
            yield Run(path)


def row(folder: Path, name: str) -> list[str]:
    """One line of a table: means over the seeds, with what lies between them."""
    kept = [
        json.loads((run.folder / "kept.json").read_text())
        for run in runs(folder, f"vae-{VARIANTS[name].vae}")
        if (run.folder / "kept.json").exists()
    ]
    made = [{k: v for e in run.events for k, v in e.items()} for run in runs(folder, name)]
    found = {"kept": kept, "made": made}
    cells = [name]
    for source, key, form in _COLUMNS.values():
        values = [each[key] for each in found[source] if key in each]
        ends = sorted(
            {form.format(value) for value in (min(values), max(values))} if values else ()
        )
        cells.append(" to ".join(dict.fromkeys((ends[0], ends[-1]))) if ends else NOT_RUN)
    return cells


def table(folder: Path, names: tuple[str, ...]) -> str:
    """Markdown, without the columns that nobody measured."""
    rows = [["", *_COLUMNS], *(row(folder, name) for name in names)]
    shown = [column for column in zip(*rows, strict=True) if {*column[1:]} != {NOT_RUN}]
    lines = list(zip(*shown, strict=True))
    lines.insert(1, ("---",) * len(shown))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def last_step(folder: Path) -> str:
    """Markdown of clips sampled in few and in more steps, to zero or handed over before."""
    lines = [
        "| autoencoder | steps | until | all four right | distance | flicker |",
        "|---" * 6 + "|",
    ]
    for name in COMPARISONS["last-step"]:
        for run in runs(folder, name):
            last = run.events[-1]
            for key in sorted(key for key in last if key.endswith(", all")):
                steps, until = key.removesuffix(", all").split(" steps to ")
                start = key.removesuffix("all")
                numbers = f"{last[key]:.0%} | {last[start + 'frechet']:.0f}"
                flicker = f"{last[start + 'flicker']:.1f}"
                lines.append(f"| {name} | {steps} | {until} | {numbers} | {flicker} |")
    return "\n".join(lines)


def draw(folder: Path, names: tuple[str, ...], path: Path) -> None:
    """What autoencoders keep, or how the error falls where they are the same; what clips show."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    if len({VARIANTS[name].vae for name in names}) > 1:
        title, keys = "round trips: decibels on actors", ("held_out_actor_psnr",)
        wanted = [(title, keys, {name: f"vae-{VARIANTS[name].vae}" for name in names})]
    else:
        title, keys = "held-out error of the velocity at level 0.5", ("held_out_0.5",)
        wanted = [(title, keys, {name: name for name in names})]
    title = "colour, shape, motion, ground right: mean"
    wanted.append((title, ASKED, {name: name for name in names}))
    drawn = [each for each in wanted if any(any(runs(folder, n)) for n in each[2].values())]
    if not drawn:
        return
    figure, panels = plt.subplots(
        1, len(drawn), figsize=(4 * len(drawn), 3), layout="constrained", squeeze=False
    )
    for panel, (title, keys, sources) in zip(panels[0], drawn, strict=True):
        for index, (name, source) in enumerate(sources.items()):
            for seed, run in enumerate(runs(folder, source)):
                label = name if seed == 0 else None
                panel.plot(*run.curve(*keys), color=f"C{index}", marker=".", lw=1.2, label=label)
        panel.set_title(title, fontsize=8)
        panel.set_xlabel("10$^{12}$ operations", fontsize=7)
        panel.tick_params(labelsize=7)
        panel.legend(fontsize=7)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def folders(about: str | None) -> tuple[Path, Path]:
    """The folder of the runs, and that for the pictures, as the command line names them."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("pictures", type=Path)
    wish = parser.parse_args()
    return wish.runs, wish.pictures


def main() -> None:
    """All comparisons of which something is there."""
    folder, pictures = folders(__doc__)
    for name, variants in COMPARISONS.items():
        print(f"\n### {name}\n\n{table(folder, variants)}")
        draw(folder, variants, pictures / f"thesis-{name}.png")
    print(f"\n{last_step(folder)}")


if __name__ == "__main__":
    main()
