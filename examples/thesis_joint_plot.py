"""Table and curves of what `thesis_joint.py` measured: `thesis_joint_plot.py runs/thesis OUT`.

Prints a table of all arms and draws OUT/thesis-joint.png: how rich the latents stay, and what a
round trip keeps, against the operations that training took. Needs matplotlib:
pip install 'overcrank[examples]'.
"""

import json
from pathlib import Path

from thesis_joint import ARMS
from thesis_plot import ASKED, Run, folders, runs

ROWS = ("staged", *ARMS)
COLUMNS = {
    "decibels": ("held_out_psnr", "{:.1f}"),
    "on actors": ("held_out_actor_psnr", "{:.1f}"),
    "rank of latents": ("latent_rank", "{:.0f}"),
    "error at level 0.5": ("held_out_0.5", "{:.2f}"),
    **{name: (name, "{:.0%}") for name in ASKED},
    "distance of clips": ("frechet", "{:.0f}"),
    "flicker": ("flicker", "{:.1f}"),
}


def final(run: Run) -> dict[str, float]:
    """The last value of each measure; of stages, the autoencoder's are in a folder of their own."""
    kept = run.folder / "vae"
    events = run.events
    if kept.exists():
        events = [*Run(kept).events, json.loads((kept / "latents.json").read_text()), *events]
    return {name: value for event in events for name, value in event.items()}


def table(folder: Path) -> str:
    """Markdown: means over the seeds, and what they lie between."""
    lines = [["", "seeds", *COLUMNS], ["---"] * (len(COLUMNS) + 2)]
    for arm in ROWS:
        found = [final(run) for run in runs(folder, f"joint-{arm}")]
        if not found:
            continue
        cells = [arm, str(len(found))]
        for name, form in COLUMNS.values():
            values = sorted(each[name] for each in found if name in each)
            ends = [form.format(values[place]) for place in (0, -1)] if values else ["-"]
            cells.append(" to ".join(dict.fromkeys(ends)))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(folder: Path, path: Path) -> None:
    """The rank of the latents and the decibels of round trips."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(7.5, 3), layout="constrained")
    panels[0].set(title="effective rank of the latents, of 128")
    panels[1].set(title="round trips: decibels")
    for index, arm in enumerate(ROWS):
        for seed, run in enumerate(runs(folder, f"joint-{arm}")):
            of_stage = run.folder / "vae"
            coder = Run(of_stage) if (of_stage / "summary.json").exists() else run
            for panel, name in zip(panels, ("latent_rank", "held_out_psnr"), strict=True):
                label = arm if seed == 0 else None
                panel.plot(*coder.curve(name), color=f"C{index}", marker=".", lw=1.2, label=label)
    for panel in panels:
        panel.set_xlabel("10$^{12}$ operations")
        panel.legend(fontsize=7)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    """Whatever arms are there."""
    folder, pictures = folders(__doc__)
    print(table(folder))
    draw(folder, pictures / "thesis-joint.png")


if __name__ == "__main__":
    main()
