"""One folder that says how good a model is: report.json, index.html, and clips nobody selected."""

import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from overcrank import __version__
from overcrank.errors import MediaError, RequestError
from overcrank.evaluate.leaves import PARTS
from overcrank.evaluate.page import write_page
from overcrank.evaluate.parts import Given, OnEvent, Parts
from overcrank.evaluate.suites import QUICK, Setting, Studio, Suite
from overcrank.pipeline import Pipeline
from overcrank.runtime import processor
from overcrank.toybox.recogniser import Recogniser

FORMAT_VERSION = 2


def evaluate(
    pipe: Pipeline,
    folder: Path,
    *,
    suite: Suite = QUICK,
    setting: Setting | None = None,
    parts: Sequence[str] = tuple(PARTS),
    given: Given | None = None,
    on_event: OnEvent = lambda _: None,
) -> dict[str, Any]:
    """Measure a model on bench-v1 and write the report.

    A contact sheet shows the first clips of a part, in pairs of rows: what is true above what the
    model made.
    """
    check_wish(parts, folder)
    studio = Studio(pipe, setting or Setting(model=pipe.model.name))
    run = Parts(studio, suite, folder, Recogniser.load(), given or Given(), on_event)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "overcrank": __version__,
        "model": pipe.model.name,
        "hashes": dict(pipe.model.hashes),
        "bench": "bench-v1",
        "suite": asdict(suite),
        "setting": studio.setting.to_dict(),
        "hardware": _hardware(pipe),
    }
    seconds = {}
    for part in PARTS:
        if part in parts:
            begin = perf_counter()
            report[part] = getattr(run, part)()
            seconds[part] = perf_counter() - begin
    report["seconds"] = seconds
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    write_page(folder, report)
    return report


def check_wish(parts: Sequence[str], folder: Path) -> None:
    """Refuse what cannot be measured, or a folder that could not be written; leaves no trace."""
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


def _hardware(pipe: Pipeline) -> dict[str, Any]:
    device = pipe.hardware.device
    return {
        "device": str(device),
        "processor": processor(device),
        "dtype": str(pipe.hardware.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
