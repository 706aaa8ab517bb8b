"""The recogniser: says what a clip shows, or that it is not sure.

It judges whether a clip obeys its caption. It is never used for training, for choosing seeds or
for stopping. Six frames a second of the first four seconds, 64 pixels on the shorter side, go
through a small network of two-dimensional and one-dimensional convolutions; then three slots, one
for each actor from left to right at the beginning, and one for the world look for what they need.
Two readers have such slots: the second learnt later, and left what the first says as it was.

Axes: B batch, C channels, F frames, H W pixels or cells, N cells of a whole clip, S slots,
D width, A heads, K head width.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch
from einops import rearrange
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from overcrank.errors import ModelError, RequestError
from overcrank.toybox.recogniser_layers import Conv, Reader, Residual, TimeConv, with_hints
from overcrank.toybox.scene import (
    CAMERAS,
    COLOURS,
    GROUNDS,
    MOTIONS,
    SHAPES,
    SIZES,
    SKIES,
    TEXTURES,
)

FORMAT_VERSION = 2
"""Format 1 has the first reader alone, and is sure from `SURE` on."""
RATE = 6.0
"""Frames a second that are looked at."""
FRAMES = 24
SIDE = 64
SLOTS = 3
SURE = 0.5
"""An answer less probable than this is "unsure", whatever a file says."""
NAMES: dict[str, tuple[str, ...]] = {
    "colour": COLOURS,
    "shape": SHAPES,
    "motion": MOTIONS,
    "ground": GROUNDS,
    "actors": ("1", "2", "3"),
    "size": SIZES,
    "texture": TEXTURES,
    "depth": ("front", "middle", "back"),
    "sky": SKIES,
    "camera": CAMERAS,
}
"""What is asked, and the answers; "depth" is how near an actor stands, among several."""
FIRST_ASKED = ("colour", "shape", "motion", "ground", "actors")
LATER_ASKED = tuple(name for name in NAMES if name not in FIRST_ASKED)
"""What the second reader answers, which learns on cells that stay as they are."""
OF_ACTOR = ("colour", "shape", "motion", "size", "texture", "depth")
OF_WORLD = ("ground", "actors", "sky", "camera")


@dataclass(frozen=True, slots=True)
class Answer:
    """A name, or None for "unsure", and the probability of the likeliest name."""

    name: str | None
    probability: float


NOT_READ = Answer(None, 0.0)
"""What a file of format 1 says of what it does not know."""


@dataclass(frozen=True, slots=True)
class Solid:
    """What one actor is; `centre` is (column, row) at the beginning, in parts of the frame."""

    colour: Answer
    shape: Answer
    motion: Answer
    size: Answer = NOT_READ
    texture: Answer = NOT_READ
    depth: Answer = NOT_READ
    centre: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a clip shows; `solids` from left to right at its beginning, as many as likely."""

    solids: tuple[Solid, ...]
    ground: Answer
    actors: Answer
    sky: Answer = NOT_READ
    camera: Answer = NOT_READ

    @property
    def colour(self) -> Answer:
        """Of the leftmost actor, as are `shape` and `motion`."""
        return self.solids[0].colour

    @property
    def shape(self) -> Answer:
        return self.solids[0].shape

    @property
    def motion(self) -> Answer:
        return self.solids[0].motion


@dataclass(frozen=True, slots=True, kw_only=True)
class RecogniserConfig:
    """`stem` are the widths of the stages that each halve height and width; each has `depth`
    residual convolutions. `later` says what a second reader answers, who knows places too; there is
    none if it is empty."""

    stem: tuple[int, ...] = (64, 88)
    depth: int = 2
    heads: int = 4
    dilations: tuple[int, ...] = (1, 2, 4)
    layers: int = 2
    later: tuple[str, ...] = LATER_ASKED

    @property
    def asked(self) -> tuple[str, ...]:
        """All names that are answered."""
        return FIRST_ASKED + self.later

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `asdict`, also after JSON has made lists of tuples."""
        lists = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
        return cls(**{**data, **lists})


class Recogniser(nn.Module):
    """`read` takes frames as they are; `forward` takes what `prepare` makes of them."""

    temperature: Tensor
    sure: Tensor

    def __init__(self, config: RecogniserConfig) -> None:
        super().__init__()
        self.config = config
        width = config.stem[-1]
        layers: list[nn.Module] = []
        for n, m in zip((27, *config.stem[:-1]), config.stem, strict=True):
            layers += [Conv(n, m, stride=2), *(Residual(m) for _ in range(config.depth))]
        self.stem = nn.Sequential(*layers)
        self.time = nn.ModuleList(TimeConv(width, dilation) for dilation in config.dilations)
        shape = (SLOTS + 1, width, config.heads, config.layers)
        self.first = Reader(*shape)
        self.later = Reader(*shape) if config.later else None
        asked = config.asked
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(NAMES[name])) for name in asked})
        self.centre = nn.Linear(width, 2) if config.later else None
        self.register_buffer("temperature", torch.ones(len(asked)))
        self.register_buffer("sure", torch.full((len(asked),), SURE))

    @classmethod
    def load(cls, path: str | PathLike[str] | None = None) -> Self:
        """The recogniser that ships with the package, or the one in a file, in float32."""
        source = Path(str(files("overcrank.toybox"))) / "recogniser.safetensors"
        if path is not None:
            source = Path(path)
        try:
            with safe_open(source, framework="pt") as file:
                metadata = file.metadata() or {}
            tensors = load_file(source)
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{source} cannot be read as a recogniser ({error}): give a .safetensors file "
                "that the recogniser's training wrote"
            ) from error
        version, config = metadata.get("format_version"), json.loads(metadata.get("config", "{}"))
        if version not in ("1", str(FORMAT_VERSION)):
            raise ModelError(
                f"{source} has a format this version does not read: got format_version "
                f"{version}, right is 1 or {FORMAT_VERSION}"
            )
        if version == "1":
            config["later"] = []
            tensors = {_name_now(name): tensor for name, tensor in tensors.items()}
            tensors["sure"] = torch.full((len(FIRST_ASKED),), SURE)
        network = cls(RecogniserConfig.from_dict(config))
        try:
            network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except RuntimeError as error:
            raise ModelError(
                f"{source} does not fit its own config: {error}: write it again"
            ) from error
        return network.eval()

    def metadata(self) -> dict[str, str]:
        """What a file of this network says of it; its training adds the score."""
        return {"format_version": str(FORMAT_VERSION), "config": json.dumps(asdict(self.config))}

    @torch.no_grad()
    def read(self, frames: Tensor, frame_rate: float) -> Reading:
        """Read one clip: uint8 (F, H, W, 3) of any length and size."""
        logits = self(prepare(frames, frame_rate)[None])
        centres = ((logits.pop("centre")[0] + 1) / 2).tolist() if self.centre else None
        found: dict[str, list[Answer]] = {}
        for name, chance in self.probabilities(logits).items():
            sure = float(self.sure[self.config.asked.index(name)])
            found[name] = [
                _answer(name, each, sure) for each in chance[0].reshape(-1, len(NAMES[name]))
            ]
        count = int(logits["actors"][0].argmax()) + 1
        solids = tuple(
            Solid(
                **{name: found[name][i] for name in OF_ACTOR if name in found},
                centre=tuple(centres[i]) if centres else None,
            )
            for i in range(count)
        )
        return Reading(solids, **{name: found[name][0] for name in OF_WORLD if name in found})

    def probabilities(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        """What `forward` gives, "centre" left out, as calibrated probabilities."""
        scales = dict(zip(self.config.asked, self.temperature.tolist(), strict=True))
        return {name: (logits[name] / scales[name]).softmax(-1) for name in self.config.asked}

    def forward(self, clip_BCFHW: Tensor) -> dict[str, Tensor]:
        """Logits (B, S, names) of what actors have, (B, names) of what the world has, and
        "centre" (B, S, 2): x and y of actors in the first frame, in [-1, 1] inside of it.

        `clip_BCFHW` is RGB in [-1, 1], the shorter side `SIDE`, `RATE` frames a second.
        """
        return self.answer(self.cells(clip_BCFHW))

    def cells(self, clip_BCFHW: Tensor) -> Tensor:
        """What is seen in each cell of 8 x 8 pixels, and how it changes: (B, F, D, H, W)."""
        batch = len(clip_BCFHW)
        x = rearrange(with_hints(clip_BCFHW, FRAMES), "b f c h w -> (b f) c h w")
        x = self.stem(x.to(memory_format=torch.channels_last))
        height, width = x.shape[2:]
        x_BNFC = rearrange(x, "(b f) c h w -> b (h w) f c", b=batch)
        for conv in self.time:
            x_BNFC = x_BNFC + conv(x_BNFC)
        return rearrange(x_BNFC, "b (h w) f c -> b f c h w", h=height, w=width)

    def answer(self, cells_BFDHW: Tensor) -> dict[str, Tensor]:
        """The logits that `forward` gives."""
        answers = self._said(self.first(cells_BFDHW), FIRST_ASKED)
        return answers if self.later is None else answers | self.answer_later(cells_BFDHW)

    def answer_later(self, cells_BFDHW: Tensor) -> dict[str, Tensor]:
        """Those of them that the second reader gives."""
        if self.later is None or self.centre is None:
            return {}
        slots_BSD = self.later(cells_BFDHW)
        answers = self._said(slots_BSD, self.config.later)
        return answers | {"centre": self.centre(slots_BSD[:, :SLOTS]).float()}

    def _said(self, slots_BSD: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        actors_BSD, world_BD = slots_BSD[:, :SLOTS], slots_BSD[:, SLOTS]
        return {
            name: self.heads[name](actors_BSD if name in OF_ACTOR else world_BD).float()
            for name in names
        }


def prepare(frames: Tensor, frame_rate: float) -> Tensor:
    """uint8 (F, H, W, 3) -> RGB in [-1, 1], (3, F, H, W): fewer frames, a shorter side of 64."""
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise RequestError(
            f"a clip is uint8 (F, H, W, 3), got {tuple(frames.shape)}: put the colours last"
        )
    if not 0 < frame_rate < float("inf"):
        raise RequestError(f"the frame rate must be above 0, got {frame_rate}: try 24")
    step = frame_rate / RATE
    count = min(FRAMES, int((len(frames) - 1) / step + 1e-6) + 1)
    chosen = frames[[min(len(frames) - 1, round(i * step)) for i in range(count)]]
    video_FCHW = rearrange(chosen, "f h w c -> f c h w").float() / 127.5 - 1
    high, wide = video_FCHW.shape[2:]
    scale = SIDE / min(high, wide)
    size = (round(high * scale), round(wide * scale))
    if size != (high, wide):
        video_FCHW = F.interpolate(video_FCHW, size, mode="bilinear", antialias=True)
    return rearrange(video_FCHW, "f c h w -> c f h w")


def _name_now(name: str) -> str:
    """Of a tensor that format 1 calls `name`."""
    return f"first.{name}" if name.startswith(("queries_SD", "look.", "norm.")) else name


def _answer(name: str, probabilities: Tensor, sure: float) -> Answer:
    best = int(probabilities.argmax())
    probability = float(probabilities[best])
    return Answer(NAMES[name][best] if probability >= sure else None, probability)
