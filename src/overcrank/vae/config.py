"""What distinguishes one video autoencoder from another.

A block list is written from the pixel side to the latent side, for the encoder and for the
decoder alike (the decoder is built in reverse), as in the published checkpoints.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from overcrank.errors import ModelError

Kind = Literal[
    "res_x",  # a stack of residual blocks
    "res_x_y",  # one residual block that changes the width by `multiplier`
    "compress",  # encoder: strided convolution; decoder: convolution, then depth to space
    "compress_res",  # encoder only: convolution, then space to depth, plus an averaging skip
    "project",  # space to depth and one matrix; no activation (our small family)
]


MAX_WIDTH = 100_000
"""Far more than any network has; what lies beyond is damage, and torch would fail on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One entry of a block list."""

    kind: Kind
    layers: int = 0
    """Residual blocks in a `res_x`."""
    stride: tuple[int, int, int] = (1, 1, 1)
    """Time, height and width factors of a block that changes the resolution."""
    multiplier: int = 1
    """Width factor from the pixel side to the latent side."""
    width: int = 0
    """Width on the latent side; `project` only."""
    residual: bool = False
    """Decoder `compress`: add the input, moved from depth to space, to the output."""
    noise: bool = False
    """Decoder `res_x`: inject learned amounts of noise after each convolution."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ModelError(
                f"kind of a block must be known, got {self.kind!r}: "
                f"choose one of {', '.join(get_args(Kind))}"
            )
        _check_whole("layers of a block", self.layers, 0, 100)
        _check_whole("multiplier of a block", self.multiplier, 1, 16)
        _check_whole("width of a block", self.width, 0, MAX_WIDTH)
        if len(self.stride) != 3:
            raise ModelError(
                f"stride must be three numbers, got {self.stride!r}: give time, height, width"
            )
        for factor in self.stride:
            _check_whole("stride of a block", factor, 1, 8)
        _check_flags(self, "residual", "noise")


@dataclass(frozen=True, slots=True, kw_only=True)
class VAEConfig:
    """Architecture of one autoencoder."""

    encoder_blocks: tuple[Block, ...]
    decoder_blocks: tuple[Block, ...]
    base_width: int
    """Width next to the pixels, on both sides."""
    causal_decoder: bool
    """True: a frame depends on earlier latents only, so streaming is exact."""
    denoises: bool
    """True: the decoder is told the noise level of its latents and removes it."""
    factorised: bool = False
    """Residual blocks use a spatial, then a temporal convolution instead of two full ones."""
    linear_trunk: bool = False
    """No norm and activation before the last convolution, residual branches start at zero."""
    sigma_hidden: int | None = None
    """Hidden width of the noise-level embeddings; None is four times the block's width."""
    preview: bool = False
    """Carries a linear map from latents to colours; published files have none."""
    patch_size: int = 4
    latent_channels: int = 128

    def __post_init__(self) -> None:
        for name in ("base_width", "latent_channels"):
            _check_whole(name, getattr(self, name), 1, MAX_WIDTH)
        _check_whole("patch_size", self.patch_size, 1, 64)
        if self.sigma_hidden is not None:
            _check_whole("sigma_hidden", self.sigma_hidden, 1, MAX_WIDTH)
        _check_flags(self, "causal_decoder", "denoises", "factorised", "linear_trunk", "preview")
        for side in (self.encoder_blocks, self.decoder_blocks):
            _check_whole("the number of blocks of a side", len(side), 1, 100)
            widest = self.base_width * math.prod(block.multiplier for block in side)
            _check_whole("the width that the multipliers lead to", widest, 1, MAX_WIDTH)

    @property
    def pixel_kernel(self) -> tuple[int, int, int]:
        """Kernel of the convolutions next to the pixels."""
        return (1, 3, 3) if self.factorised else (3, 3, 3)

    @property
    def latent_kernel(self) -> tuple[int, int, int]:
        """Kernel of the convolutions next to the latent."""
        return (1, 1, 1) if self.factorised else (3, 3, 3)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; an unknown or missing key is refused by name."""
        values = dict(_known(cls, values))
        for side in ("encoder_blocks", "decoder_blocks"):
            values[side] = tuple(
                Block(**{**_known(Block, block), "stride": tuple(block.get("stride", (1, 1, 1)))})
                for block in values[side]
            )
        return cls(**values)


def _check_whole(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ModelError(
            f"{name} must be a whole number, got {value!r}: choose from {low} to {high}"
        )


def _check_flags(config: Block | VAEConfig, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(config, name), bool):
            raise ModelError(
                f"{name} must be true or false, got {getattr(config, name)!r}: choose one"
            )


def _known(cls: type, values: Mapping[str, Any]) -> Mapping[str, Any]:
    known = {field.name for field in fields(cls)}
    required = {field.name for field in fields(cls) if field.default is MISSING}
    for problem, names in (
        ("has no field", sorted(set(values) - known)),
        ("needs the field", sorted(required - set(values))),
    ):
        if names:
            raise ModelError(
                f"{cls.__name__} {problem} {', '.join(names)}: known are {', '.join(sorted(known))}"
            )
    return values
