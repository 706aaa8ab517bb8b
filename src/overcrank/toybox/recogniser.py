"""The recogniser: says what a clip shows, or that it is not sure.

It judges whether a clip obeys its caption. It is never used for training, for choosing seeds or
for stopping. Six frames a second of the first four seconds, 64 pixels on the shorter side, go
through a small network of two-dimensional and one-dimensional convolutions; then three slots, one
for each actor from left to right at the beginning, and one for the world look for what they need.

Axes: B batch, C channels, F frames, H W pixels or cells, N cells of a whole clip, S slots,
D width, A heads, K head width.
"""

import json
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
from overcrank.toybox.scene import COLOURS, GROUNDS, MOTIONS, SHAPES

FORMAT_VERSION = 1
RATE = 6.0
"""Frames a second that are looked at."""
FRAMES = 24
SIDE = 64
SLOTS = 3
SURE = 0.5
"""An answer less probable than this is "unsure"."""
NAMES: dict[str, tuple[str, ...]] = {
    "colour": COLOURS,
    "shape": SHAPES,
    "motion": MOTIONS,
    "ground": GROUNDS,
    "actors": ("1", "2", "3"),
}
OF_ACTOR = ("colour", "shape", "motion")
OF_WORLD = ("ground", "actors")


@dataclass(frozen=True, slots=True)
class Answer:
    """A name, or None for "unsure", and the probability of the likeliest name."""

    name: str | None
    probability: float


@dataclass(frozen=True, slots=True)
class Solid:
    """What one actor is."""

    colour: Answer
    shape: Answer
    motion: Answer


@dataclass(frozen=True, slots=True)
class Reading:
    """What a clip shows; `solids` from left to right at its beginning, as many as likely."""

    solids: tuple[Solid, ...]
    ground: Answer
    actors: Answer

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
    """Widths of the network."""

    stem: tuple[int, ...] = (32, 64, 96)
    heads: int = 4
    dilations: tuple[int, ...] = (1, 2, 4)
    layers: int = 2

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `asdict`, also after JSON has made lists of tuples."""
        lists = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
        return cls(**{**data, **lists})


class Recogniser(nn.Module):
    """`read` takes frames as they are; `forward` takes what `prepare` makes of them."""

    temperature: Tensor

    def __init__(self, config: RecogniserConfig) -> None:
        super().__init__()
        self.config = config
        width = config.stem[-1]
        inputs = (9, *config.stem[:-1])
        self.stem = nn.Sequential(
            *(_Conv(n, m, stride=2) for n, m in zip(inputs, config.stem, strict=True))
        )
        self.place = _Conv(width, width)
        self.time = nn.ModuleList(_TimeConv(width, dilation) for dilation in config.dilations)
        self.queries_SD = nn.Parameter(torch.randn(SLOTS + 1, width))
        self.look = nn.ModuleList(_Look(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(NAMES[name])) for name in NAMES})
        self.register_buffer("temperature", torch.ones(len(NAMES)))

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
        if metadata.get("format_version") != str(FORMAT_VERSION):
            raise ModelError(
                f"{source} has a format this version does not read: got format_version "
                f"{metadata.get('format_version')}, right is {FORMAT_VERSION}"
            )
        network = cls(RecogniserConfig.from_dict(json.loads(metadata["config"])))
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
        scales = dict(zip(NAMES, self.temperature.tolist(), strict=True))
        slots = {
            name: (logits[name] / scales[name]).softmax(-1)[0].reshape(-1, len(NAMES[name]))
            for name in NAMES
        }
        world = {name: _answer(name, slots[name][0]) for name in OF_WORLD}
        count = int(slots["actors"][0].argmax()) + 1
        solids = tuple(
            Solid(**{name: _answer(name, slots[name][i]) for name in OF_ACTOR})
            for i in range(count)
        )
        return Reading(solids, world["ground"], world["actors"])

    def forward(self, clip_BCFHW: Tensor) -> dict[str, Tensor]:
        """Logits (B, S, names) of what actors have, (B, names) of what the world has.

        `clip_BCFHW` is RGB in [-1, 1], the shorter side `SIDE`, `RATE` frames a second.
        """
        batch, _, frames = clip_BCFHW.shape[:3]
        x = rearrange(_with_hints(clip_BCFHW), "b c f h w -> (b f) c h w")
        x = self.stem(x.to(memory_format=torch.channels_last))
        x = x + self.place(x)
        height, width = x.shape[2:]
        x_BNFC = rearrange(x, "(b f) c h w -> b (h w) f c", b=batch, f=frames)
        for conv in self.time:
            x_BNFC = x_BNFC + conv(x_BNFC)
        cells_BND = rearrange(x_BNFC, "b n f c -> b (n f) c", n=height * width)
        slots_BSD = self.queries_SD.expand(batch, -1, -1)
        for layer in self.look:
            slots_BSD = layer(slots_BSD, cells_BND)
        slots_BSD = self.norm(slots_BSD)
        return {
            name: head(slots_BSD[:, :SLOTS] if name in OF_ACTOR else slots_BSD[:, SLOTS]).float()
            for name, head in self.heads.items()
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


def _answer(name: str, probabilities: Tensor) -> Answer:
    best = int(probabilities.argmax())
    probability = float(probabilities[best])
    return Answer(NAMES[name][best] if probability >= SURE else None, probability)


def _with_hints(clip_BCFHW: Tensor) -> Tensor:
    """Add what changed since the frame before, and where and when each pixel is: 9 channels."""
    batch, _, frames, high, wide = clip_BCFHW.shape
    before = torch.cat([clip_BCFHW[:, :, :1], clip_BCFHW[:, :, :-1]], dim=2)
    short = min(high, wide)
    when = torch.arange(frames, device=clip_BCFHW.device) / FRAMES
    axes = [
        when,
        *((torch.arange(n, device=when.device) + 0.5 - n / 2) / short for n in (high, wide)),
    ]
    where = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return torch.cat(
        [clip_BCFHW, 2 * (clip_BCFHW - before), where.expand(batch, -1, -1, -1, -1)], dim=1
    )


class _Conv(nn.Sequential):
    """3 x 3 convolution, normalisation, activation."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        )


class _TimeConv(nn.Module):
    """Each cell on its own: how it changes over three frames."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.taps = nn.Parameter(torch.randn(3, width) / 3**0.5)
        self.mix = nn.Linear(width, width)

    def forward(self, x_BNFC: Tensor) -> Tensor:
        frames = x_BNFC.shape[2]
        y = F.pad(self.norm(x_BNFC), (0, 0, self.dilation, self.dilation))
        parts = (
            y[:, :, i * self.dilation :][:, :, :frames] * tap for i, tap in enumerate(self.taps)
        )
        return F.silu(self.mix(sum(parts, torch.zeros_like(x_BNFC))))


class _Look(nn.Module):
    """Slots look at the cells, then at each other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_cells, self.norm_slots = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_inner, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.inner_in, self.inner_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, slots_BSD: Tensor, cells_BND: Tensor) -> Tensor:
        key, value = self.key_value(self.norm_cells(cells_BND)).chunk(2, -1)
        seen = self._attend(self.query(self.norm_slots(slots_BSD)), key, value)
        slots_BSD = slots_BSD + self.out(seen)
        inner = self._attend(*self.inner_in(self.norm_inner(slots_BSD)).chunk(3, -1))
        slots_BSD = slots_BSD + self.inner_out(inner)
        return slots_BSD + self.mlp(self.norm_mlp(slots_BSD))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (rearrange(x, "b n (a k) -> b a n k", a=self.heads) for x in (query, key, value))
        return rearrange(F.scaled_dot_product_attention(q, k, v), "b a n k -> b n (a k)")
