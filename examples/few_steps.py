"""How good a model is with few steps: text obeyed, and seconds a clip, one row a setting.

    python examples/few_steps.py pocket:20:3 pocket:8:3 pocket:4:3 pocket:4:1 runs/student:4:1

A setting is MODEL:STEPS:GUIDANCE, MODEL:STEPS or MODEL; what is left out is the model's own. A
student that recommends its levels is run with them at their number of steps; with another number
its levels are read off the same line, evenly. The captions are the first of bench-v1 with one
actor, the same for every setting, and so are the seeds.
"""

import argparse
import statistics
from collections.abc import Sequence

import torch

import overcrank
from overcrank.evaluate.adherence import Ledger, match, single_actor_items
from overcrank.evaluate.shown import ask
from overcrank.evaluate.suites import Setting
from overcrank.request import Request
from overcrank.toybox.bench import BenchItem
from overcrank.toybox.recogniser import Recogniser

FACTS = ("colour", "shape", "motion", "ground")


def main() -> None:
    """Print a table in Markdown, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("settings", nargs="+", type=Setting.read)
    parser.add_argument("--items", type=int, default=64)
    asked = parser.parse_args()
    items, recogniser = single_actor_items(asked.items), Recogniser.load()
    print(f"| model | steps | guidance | {' | '.join(FACTS)} | seconds a clip |")
    print(f"|---|---|---|{'---|' * len(FACTS)}---|", flush=True)
    for setting in asked.settings:
        print(_row(setting, items, recogniser), flush=True)


def _row(setting: Setting, items: Sequence[BenchItem], recogniser: Recogniser) -> str:
    pipe, ledger, seconds = overcrank.load(setting.model), Ledger(), []
    own, advised = pipe.model.defaults.levels, pipe.model.advice.walk
    steps = advised.steps if setting.steps is None else setting.steps
    scale = getattr(advised.guidance, "scale", 1.0)
    guidance = scale if setting.guidance is None else setting.guidance
    stretched = bool(own) and len(own) != steps
    for item in items:
        video = pipe.generate(
            Request(
                prompt=item.caption,
                seed=item.seed,
                num_inference_steps=None if stretched else steps,
                guidance=guidance,
                sigmas=_between(own, steps) if stretched else None,
            )
        )
        question = ask(item)
        ledger.add(question, match(question, recogniser.read(video.frames, video.frame_rate)))
        seconds.append(sum(video.report.seconds.values()))
    rates = ledger.table()
    found = " | ".join(f"{rates[name]['rate']:.0%}" for name in FACTS)
    name = setting.model.rstrip("/").rpartition("/")[2]
    middle = statistics.median(seconds)
    return f"| {name} | {steps} | {guidance:g} | {found} | {middle:.2f} |"


def _between(levels: tuple[float, ...], steps: int) -> list[float]:
    """As many levels, where the line through the given ones and zero has them."""
    known = torch.tensor([*levels, 0.0])
    places = torch.linspace(0, len(levels), steps + 1)[:-1]
    low = places.floor().long()
    return torch.lerp(known[low], known[low + 1], places - low).tolist()


if __name__ == "__main__":
    main()
