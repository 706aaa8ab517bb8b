"""A training run: one YAML file, strictly read.

A key that is not known is an error that names the nearest one. `--set optim.lr=1e-4` changes a
value by its dotted name. Presets are YAML files inside the package.
"""

import difflib
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from overcrank.errors import RequestError


class Strict(BaseModel):
    """No unknown keys, no changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(Strict):
    """From step `start` on, batches have this shape."""

    start: int = Field(default=0, ge=0)
    frames: PositiveInt
    size: PositiveInt
    """Height and width in pixels; smaller than 128: a random crop of a 128 x 128 clip."""
    batch: PositiveInt


class Optim(Strict):
    """AdamW with warm-up, a constant rate, and a linear fall to zero over the last steps."""

    lr: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    warmup: int = Field(default=200, ge=0)
    fall: int = Field(default=0, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    fan_in: int | None = Field(default=None, ge=1)
    """Matrices with more inputs than this learn at a rate that falls as 1 / inputs, so that one
    step changes every layer's output by about as much. Yang et al., arXiv:2203.03466, table 8."""


class VAELoss(Strict):
    """Weights of the autoencoder's losses."""

    l1: float = 1.0
    mse: float = 4.0
    wavelet: float = 1.0
    kl: float = 1e-3
    max_sigma: float = Field(default=0.2, ge=0, le=1)
    """Latents are noised with a level up to this before decoding, in 70 % of the samples."""


class Latents(Strict):
    """Clips that are rendered and encoded once and then seen many times."""

    clips: PositiveInt
    frames: PositiveInt = 121
    size: PositiveInt = 128
    captions: PositiveInt = 2
    """Paraphrases per clip."""
    folder: str | None = None
    """Where they are kept; `latents` in the run's folder if not given."""


class Conditions(Strict):
    """Probabilities of what a sample is given besides noise."""

    drop_text: float = Field(default=0.1, ge=0, le=1)
    first_frame: float = Field(default=0.3, ge=0, le=1)


class RunConfig(Strict):
    """Everything that decides the outcome of a run."""

    kind: Literal["vae", "transformer"]
    preset: str = "pocket"
    """Row of the architecture table of that network."""
    vae: str | None = None
    """Transformer only: the autoencoder's file, or the name of a shipped model."""
    start_from: str | None = None
    """Weights file to start from instead of random numbers."""
    freeze: list[str] = []
    """Parts of the network that stay as they are. With the encoder frozen, the latents and their
    statistics do too, and a transformer trained on them still fits."""
    seed: int = Field(default=0, ge=0)
    steps: PositiveInt
    stages: list[Stage] = Field(min_length=1)
    optim: Optim
    loss: VAELoss = VAELoss()
    latents: Latents | None = None
    conditions: Conditions = Conditions()
    precision: Literal["auto", "float32"] = "auto"
    log_every: PositiveInt = 20
    save_every: PositiveInt = 500

    def stage(self, step: int) -> Stage:
        """The stage that `step` belongs to."""
        return max((s for s in self.stages if s.start <= step), key=lambda s: s.start)


def read_config(source: str | Path, changes: Sequence[str] = ()) -> RunConfig:
    """A YAML file or the name of a shipped preset, with `a.b=value` changes applied."""
    path = Path(source)
    presets = resources.files("overcrank.train") / "presets"
    if not path.suffix:
        names = sorted(p.name.removesuffix(".yaml") for p in presets.iterdir())
        if str(source) not in names:
            raise RequestError(f"no training preset {source}: there are {', '.join(names)}")
        text = (presets / f"{source}.yaml").read_text()
    elif path.is_file():
        text = path.read_text()
    else:
        raise RequestError(f"cannot read {source}: no such file; give a YAML file or a preset name")
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RequestError(f"{source} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise RequestError(f"{source} holds {type(values).__name__}: a run is a mapping of keys")
    for change in changes:
        _apply(values, change)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise RequestError(_explain(str(source), error)) from None


def _apply(values: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    if not equals or not name:
        raise RequestError(f"--set takes name=value, got {change!r}: try optim.lr=1e-4")
    *parents, last = name.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise RequestError(f"--set {change}: {parent} is a value, not a group of keys")
    value = yaml.safe_load(text)
    if isinstance(value, str):
        with suppress(ValueError):  # YAML 1.1 reads 1e-4 as a string
            value = float(value)
    values[last] = value


def _explain(source: str, error: ValidationError) -> str:
    lines = []
    known = {name for model in Strict.__subclasses__() for name in model.model_fields}
    for issue in error.errors():
        name = ".".join(str(part) for part in issue["loc"])
        if issue["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(issue["loc"][-1]), known, 1)
            lines.append(f"unknown key {name}" + (f": did you mean {near[0]}?" if near else ""))
        else:
            lines.append(f"{name}: {issue['msg'].lower()}, got {issue['input']!r}")
    return f"{source} cannot be run: " + "; ".join(lines)
