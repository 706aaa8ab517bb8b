"""One folder that says how good a model is: report.json, index.html, and clips nobody selected."""

import json
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from overcrank import __version__
from overcrank.errors import MediaError, RequestError
from overcrank.evaluate import spaces
from overcrank.evaluate.adherence import Adherence, single_actor_items, without_knowledge
from overcrank.evaluate.artefacts import Artefacts
from overcrank.evaluate.distance import Distance
from overcrank.evaluate.fidelity import beginning_kept, keyframes_kept, picture_kept, vae_keeps
from overcrank.evaluate.leaves import PARTS
from overcrank.evaluate.page import write_page
from overcrank.evaluate.permanence import Permanence
from overcrank.evaluate.shown import Measure, OnClip, Question, Shown, ask, questions
from overcrank.evaluate.speed import speed, trade
from overcrank.evaluate.suites import QUICK, Setting, Studio, Suite
from overcrank.evaluate.true_clips import find_clips
from overcrank.evaluate.vae_report import vae_report
from overcrank.media import write_mp4
from overcrank.pipeline import Pipeline
from overcrank.runtime import processor
from overcrank.toybox.bench import bench
from overcrank.toybox.recogniser import Recogniser

FORMAT_VERSION = 2
SHEET_ROWS, SHEET_COLUMNS = 8, 8
KEPT = 8
"""Clips that stay in the folder: those of the first questions."""

OnEvent = Callable[[dict[str, Any]], None]
"""Called after each clip with {"part": name, "done": n, "total": n}."""


@dataclass(frozen=True, slots=True)
class Given:
    """What users measure with: `videos`, files or folders, that the autoencoder is to keep, and
    `features`, Python files with feature networks of their own (see `spaces.open_space`)."""

    videos: Sequence[Path] = ()
    features: Sequence[str] = ()


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
    begin = perf_counter()
    studio = Studio(pipe, setting or Setting(model=pipe.model.name))
    run = _Run(studio, suite, folder, Recogniser.load(), given or Given(), on_event)
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
    report |= {part: getattr(run, part)() for part in PARTS if part in parts}
    report["seconds"] = perf_counter() - begin
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    write_page(folder, report)
    return report


class _Run:
    """The parts of one report."""

    def __init__(
        self,
        studio: Studio,
        suite: Suite,
        folder: Path,
        recogniser: Recogniser,
        given: Given,
        on_event: OnEvent,
    ) -> None:
        self.studio, self.suite, self.folder = studio, suite, folder
        self.recogniser, self.given, self.on_event = recogniser, given, on_event
        self.films = find_clips(given.videos) if given.videos else []
        self.distances, self.left_out = self._distances()

    def text(self) -> dict[str, Any]:
        """Every clip is made once, and all measures see it."""
        asked, told, sheet = questions(self.suite.questions), [], list[Tensor]()
        adherence = Adherence(self.recogniser, self.studio.round_trip)
        measures: dict[str, Measure] = {
            "adherence": adherence,
            "permanence": Permanence(self.recogniser),
            "artefacts": Artefacts(),
        }
        for number, shown in enumerate(self._answers("text", self.studio, asked)):
            for measure in [*measures.values(), *self.distances.values()]:
                measure.see(shown)
            if number < KEPT:
                told.append(self._keep(number, shown))
                sheet += [shown.true_frames, shown.frames]
        contact_sheet(sheet, self.folder / "text.png")
        found = {name: measure.result() for name, measure in measures.items()}
        for name in ("unsure", "chance"):
            rows = found["adherence"]["clips"]
            found["adherence"][name] = {fact: row[name] for fact, row in rows.items()}
        found["adherence"]["random_weights"] = self._guessed()
        distances = {name: each.result() for name, each in self.distances.items()}
        found["distance"] = self.left_out | distances
        return {"questions": len(asked), **found, "clips": told}

    def _distances(self) -> tuple[dict[str, Distance], dict[str, str]]:
        """In each feature space that can be used here; and why the others cannot."""
        size, count = self.suite.size or self.studio.own_size, self.suite.questions
        found, left_out = dict[str, Distance](), spaces.left_out()
        for source in (spaces.TOYBOX, spaces.TRANSNET, *self.given.features):
            if source in left_out:
                continue
            try:
                space = spaces.open_space(source, size, self.studio.frame_rate)
                found[space.name] = Distance(space, count)
            except RequestError as error:  # too few clips
                if source in self.given.features:
                    raise
                left_out[source] = str(error)
        return found, left_out

    def _guessed(self) -> dict[str, Any]:
        """What the recogniser finds in clips of a model that has learnt nothing."""
        blank = Studio(without_knowledge(self.studio.pipe), self.studio.setting)
        adherence = Adherence(self.recogniser)
        for shown in self._answers("random weights", blank, questions(self.suite.random)):
            adherence.see(shown)
        return dict(adherence.result()["clips"])

    def _answers(self, part: str, studio: Studio, asked: Sequence[Question]) -> Iterator[Shown]:
        for number, question in enumerate(asked):
            video = studio.make(question.caption, question.seed, self.suite.size)
            yield Shown(question=question, frames=video.frames, frame_rate=video.frame_rate)
            self._on_clip(part)(number + 1, len(asked))

    def image(self) -> dict[str, Any]:
        """What is kept of pictures and clips that are given."""
        items, sheet = single_actor_items(self.suite.pictures), list[Tensor]()
        found: dict[str, Any] = {}
        given = {
            "first_frame": picture_kept,
            "keyframes": keyframes_kept,
            "beginning": beginning_kept,
        }
        for name, measured in given.items():
            on_clip = self._on_clip(name.replace("_", " "))
            try:
                found[name] = measured(self.studio.pipe, items, on_clip, sheet, SHEET_ROWS // 2)
            except RequestError as error:  # not all models can be given all of them
                found[name] = {"left_out": str(error)}
        contact_sheet(sheet, self.folder / "image.png")
        return found

    def vae(self) -> dict[str, Any]:
        """What the autoencoder alone loses."""
        pairs = self.suite.round_trips // 2
        singles = self.suite.round_trips - pairs
        items = [*bench()[:singles], *bench()[256 : 256 + pairs]]
        sheet = list[Tensor]()
        found = vae_keeps(
            self.studio.pipe, self.recogniser, items, self._on_clip("vae"), sheet, SHEET_ROWS
        )
        contact_sheet(sheet, self.folder / "vae.png")
        if self.films:
            real = vae_report(self.studio.pipe, self.films, self._on_clip("videos"))
            found["videos"] = real
        return found

    def speed(self) -> dict[str, Any]:
        """Of warm clips, and what fewer steps cost in quality."""
        items = single_actor_items(self.suite.speed)
        found = speed(self.studio, items, self._on_clip("speed"))
        own = [ask(item) for item in single_actor_items(self.suite.trade)]
        points = trade(self.studio, self.recogniser, own, self._on_clip("settings"))
        return {**found, "trade": points}

    def _keep(self, number: int, shown: Shown) -> dict[str, Any]:
        """Leave a clip, and what is true, in the folder."""
        names = {kind: f"clips/{number:03d}-{kind}.mp4" for kind in ("made", "true")}
        for kind, frames in (("made", shown.frames), ("true", shown.true_frames)):
            write_mp4(self.folder / names[kind], [frames], shown.frame_rate, metadata={})
        question = shown.question
        return {
            "item": question.item.index,
            "wording": question.wording,
            "caption": question.caption,
            "seed": question.seed,
            **names,
        }

    def _on_clip(self, part: str) -> OnClip:
        return lambda done, total: self.on_event({"part": part, "done": done, "total": total})


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


def contact_sheet(rows: Sequence[Tensor], path: Path) -> None:
    """Clips uint8 (F, H, W, 3) below each other, some frames of each from first to last."""
    count = min(SHEET_COLUMNS, *(len(frames) for frames in rows))
    strips = []
    for frames in rows:
        chosen = torch.linspace(0, len(frames) - 1, count).round().long()
        strips.append(torch.cat(list(frames[chosen]), dim=1))
    Image.fromarray(torch.cat(strips).numpy()).save(path)


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
