"""The parts of a report: what is asked of a model, and what is measured of its answers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from overcrank.errors import MediaError, ModelError, RequestError
from overcrank.evaluate import spaces
from overcrank.evaluate.adherence import (
    Adherence,
    Ledger,
    match,
    single_actor_items,
    without_knowledge,
)
from overcrank.evaluate.artefacts import Artefacts
from overcrank.evaluate.distance import Distance
from overcrank.evaluate.fidelity import beginning_kept, keyframes_kept, picture_kept
from overcrank.evaluate.permanence import Permanence
from overcrank.evaluate.shown import Measure, OnClip, Question, Shown, ask, questions
from overcrank.evaluate.speed import speed, trade
from overcrank.evaluate.suites import Studio, Suite
from overcrank.evaluate.true_clips import Filmed, Rendered, TrueClip, find_clips
from overcrank.evaluate.vae_report import vae_report
from overcrank.media import write_mp4
from overcrank.metrics import load_features
from overcrank.toybox.bench import bench
from overcrank.toybox.recogniser import Recogniser

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


class Parts:
    """Measures each part of one report, and leaves pictures and clips in its folder."""

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
        self.films = readable(given.videos)
        self.distances, self.left_out = self._distances()

    def text(self) -> dict[str, Any]:
        """Every clip is made once, and all measures see it."""
        asked, told, sheet = questions(self.suite.questions), [], Sheet(SHEET_ROWS)
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
            sheet.add(shown.true_frames, shown.frames)
        sheet.save(self.folder / "text.png")
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
                if space.name in found:
                    raise RequestError(
                        f"two feature networks have one name, got {space.name!r} twice: rename one"
                    )
                found[space.name] = Distance(space, count)
            except RequestError as error:
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
        asked = [ask(item) for item in single_actor_items(self.suite.pictures)]
        given: dict[str, Any] = {
            "first_frame": partial(picture_kept, self.studio, self.recogniser),
            "keyframes": partial(keyframes_kept, self.studio),
            "beginning": partial(beginning_kept, self.studio),
        }
        found: dict[str, Any] = {}
        if not self.studio.pipe.model.advice.keyframes:
            del given["keyframes"]
            found["keyframes"] = {"left_out": "the model takes pictures at its first frame only"}
        for name, measured in given.items():
            sheet, on_clip = Sheet(SHEET_ROWS // 2), self._on_clip(name.replace("_", " "))
            found[name] = measured(asked, on_clip, sheet.add)
            sheet.save(self.folder / f"image-{name}.png")
        return found

    def vae(self) -> dict[str, Any]:
        """What the autoencoder alone loses: of the benchmark, and of videos of the user."""
        pairs = self.suite.round_trips // 2
        items = [*bench()[: self.suite.round_trips - pairs], *bench()[256 : 256 + pairs]]
        size, rate = self.studio.own_size, self.studio.frame_rate
        facts, sheet = Ledger(), Sheet(SHEET_ROWS)

        def look(clip: TrueClip, output: Tensor) -> None:
            assert clip.item is not None
            question = ask(clip.item)
            facts.add(question, match(question, self.recogniser.read(output, rate)))
            sheet.add(clip.frames, output)

        try:
            features, lacking = load_features(), {}
        except ModelError as error:
            features, lacking = None, {"perceptual": str(error)}
        measured = partial(vae_report, self.studio.pipe, features=features)
        clips = [Rendered(item, size, rate) for item in items]
        found = measured(clips, self._on_clip("vae"), on_trip=look)
        sheet.save(self.folder / "vae.png")
        found |= lacking | {"facts": facts.table()}
        if self.films:
            found["videos"] = measured(self.films, self._on_clip("videos"))
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


def readable(videos: Sequence[Path]) -> list[Filmed]:
    """What there is to measure. Raises MediaError if none of it is a video."""
    films = find_clips(videos) if videos else []
    for film in films:
        try:
            film.open()
        except MediaError as error:
            if film is films[-1]:
                raise MediaError(
                    f"none of the videos can be measured, got {len(films)}; the last: {error}"
                ) from None
        else:
            break
    return films


class Sheet:
    """A contact sheet of the first clips, in pairs of rows: what is true above what was made."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.clips: list[Tensor] = []

    def add(self, *pair: Tensor) -> None:
        """Clips uint8 (F, H, W, 3), if there is room left."""
        if len(self.clips) < 2 * self.rows:
            self.clips += pair

    def save(self, path: Path) -> None:
        """Some frames of each clip, from first to last. Without clips, there is no sheet."""
        if not self.clips:
            return
        count = min(SHEET_COLUMNS, *(len(frames) for frames in self.clips))
        strips = []
        for frames in self.clips:
            chosen = torch.linspace(0, len(frames) - 1, count).round().long()
            strips.append(torch.cat(list(frames[chosen]), dim=1))
        Image.fromarray(torch.cat(strips).numpy()).save(path)
