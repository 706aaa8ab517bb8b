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
    """`stem` are the widths of the stages that each halve height and width; each has `depth`
    residual convolutions."""

    stem: tuple[int, ...] = (64, 88)
    depth: int = 2
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
        layers: list[nn.Module] = []
        for n, m in zip((27, *config.stem[:-1]), config.stem, strict=True):
            layers += [_Conv(n, m, stride=2), *(_Residual(m) for _ in range(config.depth))]
        self.stem = nn.Sequential(*layers)
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
        return self.answer(self.cells(clip_BCFHW))

    def cells(self, clip_BCFHW: Tensor) -> Tensor:
        """What is seen in each cell of 8 x 8 pixels, and how it changes: (B, F, D, H, W)."""
        batch = len(clip_BCFHW)
        x = rearrange(_with_hints(clip_BCFHW), "b f c h w -> (b f) c h w")
        x = self.stem(x.to(memory_format=torch.channels_last))
        height, width = x.shape[2:]
        x_BNFC = rearrange(x, "(b f) c h w -> b (h w) f c", b=batch)
        for conv in self.time:
            x_BNFC = x_BNFC + conv(x_BNFC)
        return rearrange(x_BNFC, "b (h w) f c -> b f c h w", h=height, w=width)

    def answer(self, cells_BFDHW: Tensor) -> dict[str, Tensor]:
        """The logits that `forward` gives."""
        cells_BND = rearrange(cells_BFDHW, "b f d h w -> b (f h w) d")
        slots_BSD = self.queries_SD.expand(len(cells_BND), -1, -1)
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
    """Squares of 2 x 2 pixels become one: (B, F, 27, H, W) of colours, what changed since the
    frame before, and when and where it is."""
    batch, _, frames = clip_BCFHW.shape[:3]
    before = torch.cat([clip_BCFHW[:, :, :1], clip_BCFHW[:, :, :-1]], dim=2)
    seen = rearrange(
        torch.cat([clip_BCFHW, 2 * (clip_BCFHW - before)], 1), "b c f h w -> b f c h w"
    )
    seen = F.pad(seen, (0, seen.shape[4] % 2, 0, seen.shape[3] % 2))
    seen = F.pixel_unshuffle(seen, 2)
    high, wide = seen.shape[3:]
    short = min(high, wide)
    axes = [
        torch.arange(frames, device=seen.device) / FRAMES,
        *((torch.arange(n, device=seen.device) + 0.5 - n / 2) / short for n in (high, wide)),
    ]
    where = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=1)
    return torch.cat([seen, where.expand(batch, -1, -1, -1, -1)], dim=2)


class _Conv(nn.Sequential):
    """3 x 3 convolution, normalisation, activation."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        )


class _Residual(nn.Module):
    """A convolution that adds to what it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _Conv(width, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.conv(x_BCHW)


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
