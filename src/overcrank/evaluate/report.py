"""One folder that says how good a model is: report.json, and pictures nobody selected."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from overcrank import __version__
from overcrank.errors import MediaError, RequestError
from overcrank.evaluate.adherence import OnClip, random_weights, single_actor_items, text_obeyed
from overcrank.evaluate.fidelity import picture_kept, vae_keeps
from overcrank.pipeline import Pipeline
from overcrank.toybox.bench import bench
from overcrank.toybox.recogniser import Recogniser

PARTS = ("text", "image", "vae")
MAX_ITEMS = 256
PICTURES = 32
"""First frames that clips are made from, at most."""
SHEET_ROWS = 8
SHEET_COLUMNS = 8

OnEvent = Callable[[dict[str, Any]], None]
"""Called after each clip with {"part": name, "done": n, "total": n}."""


def evaluate(
    pipe: Pipeline,
    folder: Path,
    *,
    items: int = MAX_ITEMS,
    parts: Sequence[str] = PARTS,
    on_event: OnEvent = lambda _: None,
) -> dict[str, Any]:
    """Measure a model on the first `items` of bench-v1 and write report.json and contact sheets.

    A sheet shows items 0, 1, 2 ... in pairs of rows: what is true above what the model made.
    """
    check_wish(items, parts, folder)
    folder.mkdir(parents=True, exist_ok=True)
    recogniser = Recogniser.load()
    singles = single_actor_items(items)
    report: dict[str, Any] = {
        "format_version": 1,
        "overcrank": __version__,
        "model": pipe.model.name,
        "hashes": dict(pipe.model.hashes),
        "bench": "bench-v1",
        "items": items,
    }

    def on_clip(part: str) -> OnClip:
        return lambda done, total: on_event({"part": part, "done": done, "total": total})

    sheets: dict[str, list[Tensor]] = {part: [] for part in parts}
    if "vae" in parts:
        pairs = [item for item in bench() if len(item.scene.actors) == 2][: items // 2]
        report["vae"] = vae_keeps(
            pipe, recogniser, [*singles, *pairs], on_clip("vae"), sheets["vae"], SHEET_ROWS
        )
    if "text" in parts:
        report["text"] = text_obeyed(
            pipe, recogniser, singles, on_clip("text"), sheets["text"], SHEET_ROWS
        )
        blank = random_weights(pipe, recogniser, singles, on_clip("random weights"))
        report["text"]["random_weights"] = blank
    if "image" in parts:
        report["image"] = picture_kept(
            pipe, singles[:PICTURES], on_clip("image"), sheets["image"], SHEET_ROWS
        )
    for part, rows in sheets.items():
        contact_sheet(rows, folder / f"{part}.png")
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def check_wish(items: int, parts: Sequence[str], folder: Path) -> None:
    """Refuse what cannot be measured, or a folder that could not be written; leaves no trace."""
    if not 1 <= items <= MAX_ITEMS:
        raise RequestError(
            f"items are counted from 1 to {MAX_ITEMS}, got {items}: choose how many to measure"
        )
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise RequestError(f"a report has the parts {', '.join(PARTS)}, got {unknown}: choose some")
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise MediaError(
            f"the report cannot be written, got {str(folder)!r} ({error.strerror}): "
            "give a folder that you may write to"
        ) from error


def contact_sheet(rows: Sequence[Tensor], path: Path) -> None:
    """Clips uint8 (F, H, W, 3) below each other, some frames of each from first to last."""
    count = min(SHEET_COLUMNS, *(len(frames) for frames in rows))
    strips = []
    for frames in rows:
        chosen = torch.linspace(0, len(frames) - 1, count).round().long()
        strips.append(torch.cat(list(frames[chosen]), dim=1))
    Image.fromarray(torch.cat(strips).numpy()).save(path)
