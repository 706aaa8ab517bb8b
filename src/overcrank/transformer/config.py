"""What distinguishes one video transformer from another, and the presets."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from overcrank.errors import ModelError
from overcrank.shapes import LATENT_CHANNELS

Activation = Literal["gelu", "silu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """Architecture of a `Transformer`. Source: LTX-Video, arXiv:2501.00103, section 2.2."""

    layers: int
    heads: int
    head_width: int
    text_width: int
    causal_positions: bool
    """Whether latent frame f > 0 is placed at its first new frame, 8f - 7, or at 8f."""
    latent_channels: int = LATENT_CHANNELS
    ff_multiple: int = 4
    activation: Activation = "gelu"
    """Of the feed-forward layers and the caption projection; gelu is the tanh form."""
    rope_theta: float = 10000.0
    max_position: tuple[float, float, float] = (20.0, 2048.0, 2048.0)
    """Where a coordinate reaches the end of its range: seconds, pixels down, pixels right."""

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "head_width", "text_width", "latent_channels"):
            if getattr(self, name) < 1:
                raise ModelError(f"{name} must be positive, got {getattr(self, name)}: try 1")
        if self.width < 6 or self.width % 2:
            raise ModelError(
                f"heads x head_width must be even and at least 6, got {self.width}: "
                "the rotary embedding turns pairs, and three axes share them"
            )
        if self.activation not in get_args(Activation):
            raise ModelError(f"activation must be gelu or silu, got {self.activation!r}")

    @property
    def width(self) -> int:
        """Width D of the residual stream."""
        return self.heads * self.head_width

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TransformerConfig":
        """Read what `to_dict` wrote; an unknown or missing key is refused by name."""
        known = {field.name for field in fields(cls)}
        required = {"layers", "heads", "head_width", "text_width", "causal_positions"}
        for problem, names in (
            ("unknown", sorted(set(values) - known)),
            ("missing", sorted(required - set(values))),
        ):
            if names:
                raise ModelError(
                    f"a transformer config has {problem} keys: {', '.join(names)}; "
                    f"the known ones are {', '.join(sorted(known))}"
                )
        plain = dict(values)
        if "max_position" in plain:
            plain["max_position"] = tuple(float(end) for end in plain["max_position"])
        return cls(**plain)


_PUBLISHED_2B = TransformerConfig(
    layers=28, heads=32, head_width=64, text_width=4096, causal_positions=False
)
_POCKET = TransformerConfig(
    layers=8,
    heads=6,
    head_width=48,
    text_width=384,
    causal_positions=True,
    activation="silu",
    rope_theta=100.0,
)

PRESETS: dict[str, TransformerConfig] = {
    "nano": replace(_POCKET, layers=2, heads=2, head_width=24, text_width=48),
    "pocket": _POCKET,
    "ltxv-2b-0.9": _PUBLISHED_2B,
    "ltxv-2b-0.9.5": replace(_PUBLISHED_2B, causal_positions=True),
    "ltxv-13b": replace(_PUBLISHED_2B, layers=48, head_width=128, causal_positions=True),
}
