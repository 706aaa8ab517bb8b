"""One folder that says how good a model is: report.json, index.html, and clips nobody selected."""

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.resources import files
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

FORMAT_VERSION = 3


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
    setting, given = setting or Setting(model=pipe.model.name), given or Given()
    check_wish(parts, folder, given)
    setting.check()
    studio, recogniser = Studio(pipe, setting), Recogniser.load()
    run = Parts(studio, suite, folder, recogniser, given, on_event)
    report: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "overcrank": __version__,
        "model": pipe.model.name,
        "hashes": dict(pipe.model.hashes),
        "recogniser": recogniser_hash(),
        "bench": "bench-v1",
        "suite": asdict(suite),
        "setting": setting.to_dict(),
        "hardware": _hardware(pipe),
    }
    seconds = {}
    with _replaced(folder) as run.folder:
        for part in PARTS:
            if part in parts:
                begin = perf_counter()
                report[part] = getattr(run, part)()
                seconds[part] = perf_counter() - begin
        report["seconds"] = seconds
        text = json.dumps(report, indent=2) + "\n"
        (run.folder / "report.json").write_text(text, encoding="utf-8")
        write_page(run.folder, report)
    return report


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A folder to write to; what is in it replaces an older report in `folder` when it is whole."""
    made = not folder.exists()
    temporary = folder / ".part"
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    (temporary / "clips").mkdir(parents=True)
    try:
        yield temporary
        for pattern in ("index.html", "report.json", *(f"{part}*.png" for part in PARTS)):
            for old in folder.glob(pattern):
                old.unlink()
        shutil.rmtree(folder / "clips", ignore_errors=True)
        for new in temporary.iterdir():
            new.rename(folder / new.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if made and not any(folder.iterdir()):
            folder.rmdir()


def check_wish(parts: Sequence[str], folder: Path, given: Given | None = None) -> None:
    """Refuse what cannot be measured, or a folder that could not be written; leaves no trace."""
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise RequestError(f"a report has the parts {', '.join(PARTS)}, got {unknown}: choose some")
    given = given or Given()
    for name, part, values in (
        ("videos", "vae", given.videos),
        ("features", "text", given.features),
    ):
        if values and part not in parts:
            raise RequestError(
                f"{name} are measured in the part {part}, got only {', '.join(parts)}: "
                f"add --part {part}"
            )
    if folder.exists() and not folder.is_dir():
        raise MediaError(f"a report is a folder, got the file {str(folder)!r}: give another name")
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise MediaError(
            f"the report cannot be written, got {str(folder)!r} ({error.strerror}): "
            "give a folder that you may write to"
        ) from error


def recogniser_hash() -> str:
    """Of the judge: numbers of two of them are not comparable."""
    file = Path(str(files("overcrank.toybox"))) / "recogniser.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()


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
