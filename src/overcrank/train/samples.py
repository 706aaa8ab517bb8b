"""Clips of a run's own network while it learns, made as all clips are: by `Pipeline.stream`.

They leave no trace in the training: a step's random numbers depend on the seed and the step only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from overcrank.errors import OvercrankError, RunError
from overcrank.media import write_mp4
from overcrank.metrics.artefacts import find_artefacts
from overcrank.pipeline import Pipeline
from overcrank.request import Request
from overcrank.runtime import Hardware
from overcrank.text import TextEncoder
from overcrank.train.config import RunConfig, Samples
from overcrank.train.pictures import SAMPLES
from overcrank.train.record import Event, Objective
from overcrank.transformer import Transformer
from overcrank.vae import VAE
from overcrank.weights import Defaults, Model, load_network

SHOWN = 8
"""Frames of a clip in a strip."""
SIDE = 192
"""Pixels of the longer side of a frame in a strip, at most."""


class Sampler:
    """Makes the clips of `config.samples` with the networks of a run."""

    def __init__(
        self,
        config: RunConfig,
        hardware: Hardware,
        on_event: Callable[[Event], None],
        text: Callable[[], TextEncoder],
    ) -> None:
        assert config.samples is not None
        self.config, self.hardware, self.on_event = config, hardware, on_event
        self.wish: Samples = config.samples
        self.size = config.sampled().clip
        self._open_text = text
        self._text: TextEncoder | None = None
        self._vae: VAE | None = None

    def make(self, module: nn.Module, folder: Path, step: int) -> None:
        """Write the clips of a step and the strip that shows them.

        What cannot be is refused before the first step; later it is told, and the run goes on.
        """
        sheet = folder / SAMPLES / f"step-{step:06d}.webp"
        try:
            sheet.parent.mkdir(exist_ok=True)
            found = self._write(self._model(module), sheet)
        except (OvercrankError, OSError) as error:
            if step == 0 and not isinstance(error, RunError):  # that is noise of a young network
                raise
            self.on_event({"step": step, "no_samples": str(error)})
        else:
            self.on_event({"step": step, "samples": str(sheet)})
            for each in found:
                self.on_event({"step": step, "artefact": each})

    def _write(self, model: Model, sheet: Path) -> list[str]:
        """A clip of each prompt beside the sheet, which shows them all; what is wrong with them."""
        pipe = Pipeline(model, device=self.hardware.device, dtype=self.hardware.dtype)
        strips, found = [], []
        for number, prompt in enumerate(self.wish.prompts):
            chunks = list(pipe.run(self._request(prompt)))
            tags = {"overcrank": "generated", "comment": f"{sheet.stem}: {prompt}"}
            clip = sheet.with_name(f"{sheet.stem}-{number}.mp4")
            write_mp4(clip, chunks, self.wish.frame_rate, metadata=tags)
            frames = torch.cat(chunks)
            strips.append(_strip(frames))
            wrong = find_artefacts(frames, self.wish.frame_rate)
            found += [f"{clip.name}: {each.message}" for each in wrong]
        pipe.drop_text_models()  # large ones make room
        Image.fromarray(torch.cat(strips).numpy()).save(sheet, quality=80)
        return found

    def _request(self, prompt: str) -> Request:
        wish, student = self.wish, self.config.kind == "distil"
        return Request(
            prompt,
            image=wish.image,
            height=self.size.height,
            width=self.size.width,
            num_frames=self.size.frames,
            frame_rate=wish.frame_rate,
            num_inference_steps=None if student else wish.steps,
            guidance=None if student else wish.guidance,
            seed=wish.seed,
        )

    def _model(self, module: nn.Module) -> Model:
        """The networks of a run as a model: nothing is written."""
        config, wish, parts = self.config, self.wish, module
        vae: nn.Module | None = None
        transformer = parts
        if isinstance(parts, nn.ModuleDict):
            transformer = parts["student" if config.kind == "distil" else "transformer"]
            vae = parts["vae"] if config.kind == "joint" else None
        if vae is None:
            vae = self._autoencoder()
        assert isinstance(transformer, Transformer)
        assert isinstance(vae, VAE)
        student = config.kind == "distil"
        levels = tuple(config.distil.levels) if student else ()
        defaults = Defaults(
            frames=self.size.frames,
            height=self.size.height,
            width=self.size.width,
            frame_rate=wish.frame_rate,
            steps=len(levels) or wish.steps,
            guidance=1.0 if student else wish.guidance,
            decode_sigma=(config.distil.end if student else 0.05) if vae.config.denoises else None,
            negative_prompt="",
            levels=levels,
        )
        return Model("this run", vae, transformer, defaults, self._encoder)

    def _autoencoder(self) -> VAE:
        """The one that the latents of the run are made by, read once."""
        if self._vae is None:
            assert self.config.vae is not None
            self._vae = load_network(self.config.vae, "vae")
        return self._vae

    def _encoder(self) -> TextEncoder:
        if self._text is None:
            self._text = self._open_text()
        return self._text


class Sampled:
    """An objective whose run is looked at: beside its held-out numbers, clips."""

    def __init__(self, objective: Objective, sampler: Sampler) -> None:
        self.objective, self.sampler = objective, sampler

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        return self.objective.module

    def data(self) -> Dataset[Any]:
        """Of the objective."""
        return self.objective.data()

    def loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Of the objective."""
        return self.objective.loss(batch, generator)

    def evaluate(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """Numbers of the objective; clips where it is their turn."""
        last = step == self.sampler.config.steps
        numbers = {} if step == 0 else self.objective.evaluate(module, folder, step)
        if step % (self.sampler.wish.every or 1) == 0 or last:
            self.sampler.make(module, folder, step)
        return numbers

    def export(self, module: nn.Module, folder: Path) -> None:
        """Of the objective."""
        self.objective.export(module, folder)


def _strip(frames_FHW3: Tensor) -> Tensor:
    """Some frames of a clip side by side, made smaller where they are large."""
    count, height, width, _ = frames_FHW3.shape
    places = torch.linspace(0, count - 1, min(SHOWN, count)).round().long()
    by = max(1, -(-max(height, width) // SIDE))
    return torch.cat(list(frames_FHW3[places, ::by, ::by]), dim=1)
