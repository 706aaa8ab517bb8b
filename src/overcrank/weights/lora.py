"""LoRA: small additions to the linear layers of a transformer, read, fused and taken out again.

A layer's weight W becomes W + weight * alpha / rank * (up @ down).
Source: Hu et al., "LoRA", arXiv:2106.09685, section 4.1.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from overcrank.errors import ModelError
from overcrank.transformer import Transformer
from overcrank.weights.lora_names import Layers, Part, split
from overcrank.weights.mapped import open_file

MAX_WEIGHT = 100.0
_METADATA = "lora_adapter_metadata"
"""Where diffusers keeps PEFT's configuration."""
_OTHER_KINDS = ("dora_scale", "lora_magnitude_vector")
"""Parts of pairs that mean something else without them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What is added to one layer."""

    down: Tensor
    """(rank, in)"""
    up: Tensor
    """(out, rank)"""
    scale: float
    """alpha / rank."""


@dataclass(frozen=True, slots=True)
class LoRA:
    """A LoRA file, read."""

    name: str
    pairs: Mapping[str, Pair]
    """By layer, as the file calls it."""
    unread: tuple[str, ...] = ()
    """Keys that are no part of a pair."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks that occur."""
        return tuple(sorted({len(pair.down) for pair in self.pairs.values()}))

    @property
    def width(self) -> int | None:
        """Width of the transformer it was trained on, where a query layer tells."""
        widths = {p.down.shape[1] for n, p in self.pairs.items() if n.endswith("to_q")}
        return widths.pop() if len(widths) == 1 else None


@dataclass(frozen=True, slots=True)
class Report:
    """What of a LoRA is used."""

    name: str
    weight: float
    matched: tuple[str, ...]
    """Layers of the transformer that it changes."""
    unmatched: tuple[str, ...]
    """Layers and keys of the file that go nowhere."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence about what is not used, if there is any."""
        if not self.unmatched:
            return ()
        count = len(self.unmatched)
        said = (
            f"of the LoRA {self.name}, {len(self.matched)} layers are used and {count} "
            f"{'key goes' if count == 1 else 'keys go'} nowhere, such as {self.unmatched[0]}"
        )
        return (said,)


def read_lora(path: str | Path) -> LoRA:
    """Read a .safetensors file; damaged pairs and other kinds of adapters are refused by name."""
    path = Path(path)
    file = open_file(path)
    parts: dict[str, dict[Part, Tensor]] = {}
    unread = []
    for key, entry in file.entries.items():
        found = split(key)
        if found is None:
            unread.append(key)
        else:
            parts.setdefault(found[0], {})[found[1]] = entry.load()
    other = next((key for key in unread if any(kind in key for kind in _OTHER_KINDS)), None)
    if other is not None:
        raise ModelError(
            f"{path} holds adapters that rescale weights (DoRA), got {other}: "
            "right is a plain LoRA, pairs of lora_A and lora_B or lora_down and lora_up"
        )
    lonely = [stem for stem, found in parts.items() if set(found) == {"alpha"}]
    unread += [f"{stem}.alpha" for stem in lonely]
    alphas = _stated_alphas(path, file.metadata)
    pairs = {
        stem: _pair(path, stem, found, alphas)
        for stem, found in parts.items()
        if stem not in lonely
    }
    if not pairs:
        raise ModelError(
            f"{path} is no LoRA: got {', '.join(unread[:3]) or 'no tensors'}: right are pairs of "
            "lora_A and lora_B or lora_down and lora_up"
        )
    return LoRA(path.stem, pairs, tuple(unread), file.metadata)


class Fuser:
    """Adds LoRAs to the weights of a transformer, and takes them out bit for bit.

    The original tensors are kept while any LoRA is fused, so memory grows by the layers that are
    changed. Do not move or cast the transformer meanwhile.
    """

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer
        self._linears = {
            name: module
            for name, module in transformer.named_modules()
            if isinstance(module, nn.Linear)
        }
        self._layers = Layers(transformer.config, self._linears)
        self._originals: dict[str, Tensor] = {}
        self.reports: tuple[Report, ...] = ()
        """Of what is fused now."""
        self.in_context = False
        """Whether an IC-LoRA is: only then does the transformer know what a reference video is."""

    def match(self, lora: LoRA, weight: float = 1.0) -> Report:
        """Which layers a LoRA changes; nothing at all, or another width, is refused."""
        if not (math.isfinite(weight) and abs(weight) <= MAX_WEIGHT):
            raise ModelError(
                f"the weight of {lora.name} must be from {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}, "
                f"got {weight}: 1 is as it was trained"
            )
        found = {stem: self._layers.find(stem) for stem in lora.pairs}
        self._check_width(lora)
        unmatched = [stem for stem, layer in found.items() if layer is None]
        matched = [layer for layer in found.values() if layer is not None]
        if not matched:
            raise ModelError(
                f"no layer of the LoRA {lora.name} is one of the transformer's, got "
                f"{', '.join(unmatched[:3])}: right is a LoRA for LTX-Video, with layers like "
                "transformer_blocks.0.attn1.to_q"
            )
        for stem, layer in found.items():
            if layer is not None:
                self._check_shape(lora, stem, layer)
        return Report(
            lora.name, weight, tuple(sorted(set(matched))), (*sorted(unmatched), *lora.unread)
        )

    def fuse(self, *loras: tuple[LoRA, float], in_context: bool = False) -> tuple[Report, ...]:
        """Make these LoRAs, each with its weight, the ones that are fused, instead of any others.

        All are checked before any weight changes. The sum is made in float32 and stored in the
        weight's own dtype; weights of eight bits become bfloat16, which can hold the difference.
        """
        reports = tuple(self.match(lora, weight) for lora, weight in loras)
        self.unfuse()
        additions: dict[str, list[tuple[Pair, float]]] = {}
        for lora, weight in loras:
            for stem, pair in lora.pairs.items():
                layer = self._layers.find(stem)
                if layer is not None and weight:
                    additions.setdefault(layer, []).append((pair, weight))
        for layer, pairs in additions.items():
            parameter = self._linears[layer].weight
            self._originals[layer] = parameter.data
            parameter.data = _fused(parameter.data, pairs)
        self.reports, self.in_context = reports, in_context
        return reports

    def unfuse(self) -> None:
        """Put the original tensors back."""
        for layer, original in self._originals.items():
            self._linears[layer].weight.data = original
        self._originals.clear()
        self.reports, self.in_context = (), False

    def _check_width(self, lora: LoRA) -> None:
        width = self.transformer.config.width
        if lora.width not in (None, width):
            fitting = {2048: "a 2B checkpoint", 4096: "a 13B checkpoint"}.get(lora.width or 0)
            raise ModelError(
                f"the LoRA {lora.name} is for a transformer {lora.width} wide, got one that is "
                f"{width} wide: right is {fitting or 'the model it was trained on'}, or another "
                "LoRA"
            )

    def _check_shape(self, lora: LoRA, stem: str, layer: str) -> None:
        pair, right = lora.pairs[stem], tuple(self._linears[layer].weight.shape)
        given = (len(pair.up), pair.down.shape[1])
        if given != right:
            raise ModelError(
                f"the LoRA {lora.name} does not fit the transformer: got {stem} for a layer of "
                f"{given[1]} to {given[0]}, right is {right[1]} to {right[0]}"
            )


def _fused(weight: Tensor, pairs: list[tuple[Pair, float]]) -> Tensor:
    total = weight.float()
    for pair, factor in pairs:
        down, up = (part.to(weight.device, torch.float32) for part in (pair.down, pair.up))
        total = torch.addmm(total, up, down, alpha=factor * pair.scale)
    return total.to(torch.bfloat16 if weight.dtype.itemsize == 1 else weight.dtype)


def _pair(path: Path, stem: str, parts: Mapping[Part, Tensor], alphas: "_Alphas") -> Pair:
    down, up, alpha = parts.get("down"), parts.get("up"), parts.get("alpha")
    if down is None or up is None:
        raise ModelError(
            f"{path} is not complete: got only the {'upper' if down is None else 'lower'} half of "
            f"{stem}: copy or download it again"
        )
    square = down.ndim == up.ndim == 2 and 0 < len(down) == up.shape[1]
    numbers = [part for part in (down, up, alpha) if part is not None]
    if not square or (alpha is not None and alpha.numel() != 1):
        raise ModelError(
            f"{path} is damaged: got {tuple(down.shape)} and {tuple(up.shape)} for {stem}: "
            "right are (rank, in) and (out, rank), and one number alpha"
        )
    if not all(part.is_floating_point() or part is alpha for part in numbers) or not all(
        part.float().isfinite().all() for part in numbers
    ):
        raise ModelError(f"{path} is damaged: {stem} is not finite: copy or download it again")
    rank = len(down)
    return Pair(down, up, alphas.scale(stem, rank) if alpha is None else float(alpha) / rank)


@dataclass(frozen=True, slots=True)
class _Alphas:
    """What the metadata say of alpha, for files that do not store it."""

    alpha: float | None = None
    by_layer: Mapping[str, float] = field(default_factory=dict)
    root: bool = False
    """Divide by the square root of the rank: Kalajdzievski, arXiv:2312.03732."""

    def scale(self, stem: str, rank: int) -> float:
        stated = [a for layer, a in self.by_layer.items() if f".{stem}".endswith(f".{layer}")]
        alpha = stated[0] if stated else self.alpha
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.root else rank)


def _stated_alphas(path: Path, metadata: Mapping[str, str]) -> _Alphas:
    if _METADATA not in metadata:
        return _Alphas()
    try:
        stated = json.loads(metadata[_METADATA])
        config = {key.removeprefix("transformer."): value for key, value in stated.items()}
        alpha, by_layer = config.get("lora_alpha"), config.get("alpha_pattern") or {}
        if config.get("use_dora"):
            raise ModelError(
                f"{path} holds adapters that rescale weights (DoRA): right is a plain LoRA"
            )
        return _Alphas(
            None if alpha is None else _finite(alpha),
            {str(layer): _finite(value) for layer, value in by_layer.items()},
            bool(config.get("use_rslora")),
        )
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} is damaged: got {_METADATA} that cannot be read ({error}): "
            "right is what diffusers writes"
        ) from error


def _finite(value: float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number
