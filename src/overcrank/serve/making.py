"""One job, from its row to its files.

Whatever is written can be written again: a worker that takes over what another has begun goes on
from the last moment that was kept, makes the same frames and writes the same bytes over those that
are there, so that whoever reads them need not know.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from overcrank.media import fragments
from overcrank.moment import Moment
from overcrank.pipeline import Pipeline
from overcrank.request import Request
from overcrank.serve.files import JobFiles
from overcrank.serve.pace import Pace
from overcrank.serve.pictures import write_preview, write_spritesheet, write_thumbnail
from overcrank.serve.shown import conditions
from overcrank.serve.store import Store
from overcrank.serve.tables import Job, Status
from overcrank.shapes import ClipSize
from overcrank.video import Outcome, tagged

_MEASURES = ("frame_rate", "num_frames", "height", "width", "num_inference_steps")


class Stopped(Exception):  # noqa: N818
    """The job was cancelled, or another worker has it."""


class Making:
    """A worker's hold on one job."""

    def __init__(self, pipe: Pipeline, store: Store, job: Job, files: JobFiles, pace: Pace) -> None:
        assert job.worker is not None
        self._pipe, self._store, self._files, self._pace = pipe, store, files, pace
        self._name, self._worker, self._job = job.id, job.worker, job

    def run(self, keep_every: int) -> None:
        """Make the clip and end the job, one way or another.

        What denoising has come to is kept every `keep_every` steps.
        """
        self._files.make()
        try:
            report = self._make(keep_every)
        except Stopped:
            if self._store.end(self._name, self._worker, Status.CANCELLED):
                self._files.remove()
            return
        self._store.end(self._name, self._worker, Status.COMPLETED, report=report)

    def _make(self, keep_every: int) -> dict[str, Any]:
        files, asked = self._files, dict(self._job.request)
        shown = conditions(asked.pop("conditions"), files)
        request = Request(**asked, conditions=shown)
        recipe, begun = self._pipe.recipe(request), monotonic()
        first: float | None = None
        measures: Any = (recipe[name] for name in _MEASURES)
        rate, count, height, width, steps = measures
        self._pace.begin(ClipSize(count, height, width), steps)
        self._tell("denoising")

        def on_moment(moment: Moment) -> None:
            if moment.step % keep_every == 0 or moment.step == moment.total:
                files.keep(moment)
            if self._pipe.vae.config.preview:
                colours = self._pipe.vae.preview(moment.data_BCTHW)
                write_preview(files.picture("preview"), colours[0])
            self._pace.stepped(moment.step, moment.total)
            self._tell("denoising")

        request = replace(request, on_moment=on_moment, resume=files.kept())
        seen: list[Tensor] = []
        with closing(self._decoded(request, seen)) as decoded, files.writing() as part:
            for piece in fragments(decoded, rate, metadata=tagged(recipe)):
                part.write(piece)
                first = first or monotonic() - begun
        frames = torch.cat(seen)
        write_thumbnail(files.picture("thumbnail"), frames)
        write_spritesheet(files.picture("spritesheet"), frames)
        files.publish()
        report = self._outcome.report
        return {
            "seconds": {**report.seconds, "total": monotonic() - begun},
            "first_frame": first,
            "realtime_factor": report.realtime_factor,
            "bytes": files.clip.stat().st_size,
            "recipe": recipe,
        }

    def _decoded(self, request: Request, seen: list[Tensor]) -> Generator[Tensor]:
        """Chunks of frames, each told and held."""
        stream = self._pipe.run(request)
        with closing(stream):
            while True:
                try:
                    chunk = next(stream)
                except StopIteration as end:
                    self._outcome: Outcome = end.value
                    return
                seen.append(chunk)
                yield chunk
                self._pace.decoded(sum(map(len, seen)))
                self._tell("decoding")

    def _tell(self, stage: str) -> None:
        news = {"stage": stage, "done": self._pace.done, "eta": self._pace.left}
        if not self._store.keep(self._name, self._worker, **news):
            raise Stopped
