"""What distinguishes one video transformer from another, and the presets."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from overcrank.errors import ModelError
from overcrank.shapes import LATENT_CHANNELS

Activation = Literal["gelu", "silu"]

_MOST = {
    "layers": 1_000,
    "heads": 1_000,
    "head_width": 1_000,
    "text_width": 100_000,
    "latent_channels": 100_000,
    "ff_multiple": 100,
}
MAX_NUMBER = 1e9
"""Far more than any network has; what lies beyond is damage, and torch would fail on it."""


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
        for name, most in _MOST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise ModelError(
                    f"{name} must be a whole number, got {value!r}: choose from 1 to {most}"
                )
        if not isinstance(self.causal_positions, bool):
            raise ModelError(
                f"causal_positions must be true or false, got {self.causal_positions!r}: choose one"
            )
        for name, numbers in (
            ("rope_theta", (self.rope_theta,)),
            ("max_position", self.max_position),
        ):
            if not all(type(n) in (int, float) and 0 < n <= MAX_NUMBER for n in numbers):
                raise ModelError(
                    f"{name} must be above 0 and at most {MAX_NUMBER:g}, got {numbers!r}: choose so"
                )
        if len(self.max_position) != 3:
            raise ModelError(
                f"max_position must be three numbers, got {self.max_position!r}: "
                "give seconds, pixels down, pixels right"
            )
        if self.width < 6 or self.width % 2:
            raise ModelError(
                f"heads x head_width must be even and at least 6, got {self.width}: "
                "the rotary embedding turns pairs, and three axes share them"
            )
        if self.activation not in get_args(Activation):
            raise ModelError(
                f"activation must be gelu or silu, got {self.activation!r}: choose one"
            )

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
            plain["max_position"] = tuple(plain["max_position"])
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
    "nano": replace(_POCKET, layers=2, heads=2, head_width=24),
    "pocket": _POCKET,
    "ltxv-2b-0.9": _PUBLISHED_2B,
    "ltxv-2b-0.9.5": replace(_PUBLISHED_2B, causal_positions=True),
    "ltxv-13b": replace(_PUBLISHED_2B, layers=48, head_width=128, causal_positions=True),
}
