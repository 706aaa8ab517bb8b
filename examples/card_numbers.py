"""What a model's card says of its quality, from a report of `overcrank eval`.

    overcrank eval pocket -o report
    python examples/card_numbers.py report src/overcrank/presets/pocket

Writes measured.json, the report without its single clips, beside the model, and prints the tables
of the card in Markdown.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from overcrank.evaluate.compare import read_report
from overcrank.evaluate.leaves import leaf, shown, span, words

HEADS = ("one actor", "two actors", "true clips", "true clips through the VAE", "random weights")


def main() -> None:
    """Write and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("model", type=Path)
    asked = parser.parse_args()
    report = without_lists(read_report(asked.report))
    text = json.dumps(report, indent=1) + "\n"
    (asked.model / "measured.json").write_text(text, encoding="utf-8")
    for line in tables(report):
        print(line)


def without_lists(part: Mapping[str, Any]) -> dict[str, Any]:
    """The same without what is said of each clip."""
    return {
        name: without_lists(value) if isinstance(value, dict) else value
        for name, value in part.items()
        if not isinstance(value, list)
    }


def tables(report: Mapping[str, Any]) -> Iterator[str]:
    """Of captions, wordings, and the single numbers."""
    adherence = report["text"]["adherence"]
    scenes = adherence["scenes"]
    groups = [scenes["one actor"], scenes["two actors"]]
    groups += [adherence[name] for name in ("true_clips", "round_trips", "random_weights")]
    yield from table("asked and found", HEADS, groups)
    yield ""
    wordings = {**adherence["wordings"], "held out": scenes["held out"]}
    yield from table("of these", list(wordings), list(wordings.values()))
    yield ""
    yield "| | |"
    yield "|---|---|"
    for path in (
        *(("vae", name) for name in ("psnr", "psnr_actors", "ssim", "perceptual", "flicker")),
        *(("image", "first_frame", name) for name in ("psnr", "below_round_trip", "change_ratio")),
        ("image", "first_frame", "facts", "motion"),
        *(("image", "beginning", name) for name in ("psnr", "seam", "seam_vae")),
        *(
            ("text", "distance", "toybox-FD", name)
            for name in ("distance", "noise_floor", "coverage")
        ),
        *(
            ("text", "distance", "transnet-FD", name)
            for name in ("distance", "noise_floor", "coverage")
        ),
        ("speed", "realtime_factor"),
        ("speed", "peak_memory"),
    ):
        yield f"| {', '.join(map(words, path))} | {number(report, path)} |"


def table(head: str, names: Any, groups: Any) -> Iterator[str]:
    """A row for each fact."""
    yield f"| {head} | {' | '.join(map(words, names))} |"
    yield "|---" * (len(groups) + 1) + "|"
    for fact in dict.fromkeys(name for group in groups for name in group):
        cells = [number(group, (fact,)) for group in groups]
        yield f"| {words(fact)} | {' | '.join(cells)} |"


def number(part: Any, path: tuple[str, ...]) -> str:
    """With its interval, or why there is none."""
    for name in path:
        part = part.get(name, {}) if isinstance(part, dict) else part
    found = leaf(part, path)
    if found is None:
        return part if isinstance(part, str) else "-"
    return f"{shown(found)} ({span(found)})" if found.low is not None else shown(found)


if __name__ == "__main__":
    main()
