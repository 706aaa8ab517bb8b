"""A training run: one YAML file, strictly read.

A key that is not known is an error that names the nearest one, or those of its group.
`--set optim.lr=1e-4` changes a value by its dotted name. Presets are YAML files in the package.
"""

import difflib
import os
import reprlib
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from overcrank import transformer, vae
from overcrank.errors import RequestError
from overcrank.shapes import ClipSize

Share = Annotated[float, Field(ge=0, lt=1)]
"""A number in [0, 1)."""
Step = Annotated[int, Field(ge=0, le=10**9)]
Count = Annotated[int, Field(ge=1, le=10**9)]


class Strict(BaseModel):
    """No unknown keys, no infinite numbers, no changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Shaped(Strict):
    """A group of keys with the size of a clip."""

    frames: int = Field(ge=1, le=8193)
    size: int = Field(ge=1, le=8192)

    @property
    def clip(self) -> ClipSize:
        """The size as the networks know it."""
        return ClipSize(self.frames, self.size, self.size)

    @property
    def pixels(self) -> int:
        """Of all frames of a clip."""
        return self.frames * self.size**2

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        _ = self.clip
        return self


class Stage(Shaped):
    """From step `start` on, batches have this shape; stages of one start take turns.

    An autoencoder's clips smaller than 128 are random crops of 128 x 128.
    """

    start: Step = 0
    batch: int = Field(ge=1, le=65536)


class Optim(Strict):
    """AdamW with warm-up, a constant rate, and a linear fall to zero over the last steps."""

    lr: float = Field(gt=0)
    betas: tuple[Share, Share] = (0.9, 0.99)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    warmup: Step = 200
    fall: Step = 0
    ema: Share = 0.999
    fan_in: Count | None = None
    """Matrices with more inputs than this learn at a rate that falls as 1 / inputs, so that one
    step changes every layer's output by about as much. Yang et al., arXiv:2203.03466, table 8."""


class VAELoss(Strict):
    """Weights of the autoencoder's losses."""

    l1: float = 1.0
    mse: float = 8.0
    wavelet: float = 1.0
    kl: float = 1e-3
    max_sigma: float = Field(default=0.2, ge=0, le=1)
    """Latents are noised with a level up to this before decoding, in 70 % of the samples."""


class Latents(Shaped):
    """Clips that are rendered and encoded once and then seen many times."""

    clips: Count
    first: Step = 0
    """Number of the first one: caches that overlap show the same scenes."""
    frames: int = Field(default=121, ge=1, le=8193)
    size: int = Field(default=128, ge=1, le=8192)
    captions: int = Field(default=2, ge=1, le=64)
    """Paraphrases per clip."""
    folder: str | None = None
    """Where they are kept; `latents` in the run's folder if not given."""


class Conditions(Strict):
    """Probabilities of what a sample is given besides noise."""

    drop_text: float = Field(default=0.1, ge=0, le=1)
    first_frame: float = Field(default=0.3, ge=0, le=1)
    beginning: float = Field(default=0.0, ge=0, le=1)
    """Some latent frames from the first on."""
    later_frame: float = Field(default=0.0, ge=0, le=1)
    """A picture of a later frame, as extra tokens; of batches, not of samples."""
    own_levels: float = Field(default=0.0, ge=0, le=1)
    """A noise level for each latent frame instead of one for the clip."""

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.first_frame + self.beginning > 1:
            raise RequestError(
                "a sample is given its first frame or its beginning, not both: got "
                f"{self.first_frame} and {self.beginning}, right is a sum of at most 1"
            )
        return self


class Scenes(Strict):
    """What the clips show: solids, and with probability `figures` figures of a pack."""

    figures: Share = 0.0
    pack: str | None = None
    """A file as docs/figures.md says."""

    @model_validator(mode="after")
    def _has_its_pack(self) -> Self:
        if self.figures > 0 and self.pack is None:
            raise RequestError(
                f"figures need a pack: got a share of {self.figures} and no pack: add pack: FILE, "
                "built as docs/figures.md says, or leave figures out"
            )
        return self


class FilmShare(Strict):
    """Real footage among an autoencoder's clips: a file as docs/film.md says."""

    file: str
    share: Share = 0.15


class Distil(Strict):
    """What a few-step student of the network `start_from` learns to do."""

    levels: list[Annotated[float, Field(gt=0, le=1)]] = [1.0, 0.88, 0.7, 0.42]
    """The noise level that each step begins with, before `end` squeezes them."""
    end: Share = 0.05
    """Where the decoder takes over."""
    guidance: float = Field(default=3.0, ge=1)
    """Of the teacher."""
    every: Count = 3
    """The student learns at one step in so many, its shadow at all."""

    @model_validator(mode="after")
    def _levels_fall(self) -> Self:
        if self.levels != sorted(set(self.levels), reverse=True):
            raise RequestError(
                f"the levels of a student fall, got {self.levels}: put them in order"
            )
        return self


ONLY_FOR = {
    "vae": ("freeze", "loss", "film"),
    "transformer": ("vae", "latents", "conditions"),
    "distil": ("vae", "latents", "conditions", "distil"),
}
"""Keys that not every kind of run understands."""


class RunConfig(Strict):
    """Everything that decides the outcome of a run."""

    kind: Literal["vae", "transformer", "distil"]
    preset: str = "pocket"
    """Row of the architecture table of that network."""
    vae: str | None = None
    """Transformer only: the autoencoder's file, or the name of a shipped model."""
    start_from: str | None = None
    """Weights to start from instead of random numbers: a file, or the name of a shipped model."""
    freeze: list[Literal["encoder", "decoder"]] = Field(default=[], max_length=1)
    """Parts of the network that stay as they are. With the encoder frozen, the latents and their
    statistics do too, and a transformer trained on them still fits."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    steps: Count
    stages: list[Stage] = Field(min_length=1)
    optim: Optim
    actor_weight: float = Field(default=2.0, ge=0)
    """How much more an error counts where an actor is seen."""
    loss: VAELoss = VAELoss()
    scenes: Scenes = Scenes()
    film: FilmShare | None = None
    latents: list[Latents] = []
    """One entry for each size."""
    conditions: Conditions = Conditions()
    distil: Distil = Distil()
    precision: Literal["auto", "float32"] = "auto"
    log_every: Count = 20
    save_every: Count = 500

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        presets = vae.PRESETS if self.kind == "vae" else transformer.PRESETS
        if self.preset not in presets:
            raise RequestError(
                f"no {self.kind} has the preset {self.preset}: there are {', '.join(presets)}"
            )
        for name in sorted({name for names in ONLY_FOR.values() for name in names}):
            unused = name not in ONLY_FOR[self.kind]
            if unused and getattr(self, name) != type(self).model_fields[name].default:
                raise RequestError(
                    f"{name} does nothing in a run of kind {self.kind}: leave it out"
                )
        needed = {"vae": (), "transformer": ("vae", "latents")}
        for name in needed.get(self.kind, ("vae", "latents", "start_from")):
            if not getattr(self, name):
                raise RequestError(
                    f"a run of kind {self.kind} needs an autoencoder (vae: a vae.safetensors file "
                    "or a model) and latents, and to distil also a teacher (start_from: a "
                    f"transformer.safetensors file): got no {name}, fill it in"
                )
        return self

    @model_validator(mode="after")
    def _has_stages_in_order(self) -> Self:
        starts = [stage.start for stage in self.stages]
        if starts[0] != 0 or starts != sorted(starts):
            raise RequestError(f"stages start at {starts}: right is 0 first, then rising steps")
        longest = {latents.size: latents.frames for latents in self.latents}
        if len(longest) < len(self.latents):
            raise RequestError("latents have one entry for each size, got two of one: join them")
        for stage in self.stages if longest else ():
            if stage.frames > longest.get(stage.size, 0):
                raise RequestError(
                    f"the latents do not hold a stage of {stage.frames} frames of {stage.size} "
                    "pixels: right is at most "
                    + " or ".join(f"{most} frames of {size}" for size, most in longest.items())
                )
        return self

    def stage(self, step: int) -> Stage:
        """The stage that `step` belongs to."""
        turns = self.stages_at(step)
        return turns[step % len(turns)]

    def stages_at(self, step: int) -> list[Stage]:
        """The stages that take turns around `step`, longest clips last."""
        start = max(s.start for s in self.stages if s.start <= step)
        return sorted((s for s in self.stages if s.start == start), key=lambda s: s.frames)


GROUPS: dict[str, type[Strict]] = {
    "": RunConfig,
    "stages": Stage,
    "optim": Optim,
    "loss": VAELoss,
    "latents": Latents,
    "scenes": Scenes,
    "film": FilmShare,
    "conditions": Conditions,
    "distil": Distil,
}


def read_config(source: str | Path, changes: Sequence[str] = ()) -> RunConfig:
    """A YAML file or the name of a shipped preset, with `a.b=value` changes applied."""
    values = _parse(_read(source), f"{source} is not YAML")
    if not isinstance(values, dict):
        raise RequestError(
            f"{source} holds no run: got {type(values).__name__}: right is name: value, line by "
            "line, as in src/overcrank/train/presets"
        )
    for change in changes:
        _apply(values, change)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise RequestError(_explain(str(source), error, changes)) from None


def _read(source: str | Path) -> str:
    presets = resources.files("overcrank.train") / "presets"
    names = sorted(p.name.removesuffix(".yaml") for p in presets.iterdir())
    if str(source) in names:
        return (presets / f"{source}.yaml").read_text()
    if not os.path.isfile(source):  # noqa: PTH113  unlike Path.is_file, False for any odd string
        raise RequestError(
            f"there is no such training preset or file: got {str(source)!r}: the presets are "
            f"{', '.join(names)}, or give a .yaml file"
        )
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"cannot read {source}: {error}: give a YAML file in UTF-8") from None


def _parse(text: str, problem: str) -> Any:
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise RequestError(f"{problem}: it is nested too deeply: a run has two levels") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise RequestError(
            f"{problem}: {_reason(error)}: right is name: value, line by line"
        ) from None


def _reason(error: Exception) -> str:
    """What YAML does not like, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return str(error).partition("\n")[0]


def _apply(values: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    if not equals or not name:
        raise RequestError(f"--set takes name=value, got {change!r}: try optim.lr=1e-4")
    *parents, last = name.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise RequestError(
                f"{parent} is a value, not a group of keys, got --set {change}: "
                f"try --set {parent}=VALUE"
            )
    try:
        value = _parse(text, "--set")
    except RequestError:
        raise RequestError(
            f"a value of --set is YAML, got --set {change}: try a number, or a list: [1, 2]"
        ) from None
    if isinstance(value, str):
        with suppress(ValueError):  # YAML 1.1 reads 1e-4 as a string
            value = float(value)
    values[last] = value


def _explain(source: str, error: ValidationError, changes: Sequence[str] = ()) -> str:
    lines, names = [], []
    for issue in error.errors():
        name = ".".join(str(part) for part in issue["loc"])
        names.append(f"{name}.")
        if issue["type"] == "extra_forbidden":
            lines.append(f"unknown key {name}: {_instead_of(name)}")
        elif issue["type"] == "missing":
            lines.append(f"the key {name} is missing")
        elif issue["type"] == "value_error":
            lines.append(f"{name}: {issue['ctx']['error']}" if name else str(issue["ctx"]["error"]))
        else:
            lines.append(f"{name}: {issue['msg'].lower()}, got {reprlib.repr(issue['input'])}")
    # Which --set it may come from: the key itself, its group, or a key in it.
    keys = [f"{change.partition('=')[0]}." for change in changes]
    said = [
        f" --set {change}"
        for key, change in zip(keys, changes, strict=True)
        if any(name == "." or key.startswith(name) or name.startswith(key) for name in names)
    ]
    return f"{source}{' with' if said else ''}{','.join(said)} cannot be run: {'; '.join(lines)}"


def _instead_of(name: str) -> str:
    """What an unknown key may have meant, first of all in its own group."""
    *groups, last = name.split(".")
    group = groups[0] if groups else ""
    for place in (group, *GROUPS):
        near = difflib.get_close_matches(last, GROUPS[place].model_fields, 1)
        if near:
            return f"did you mean {place}.{near[0]}?" if place else f"did you mean {near[0]}?"
    return f"known are {', '.join(GROUPS[group].model_fields)}"
