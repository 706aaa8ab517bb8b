"""What LoRA files call their tensors: PEFT and diffusers, ComfyUI, kohya."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from overcrank.transformer import TransformerConfig
from overcrank.weights.names import diffusers_names

Part = Literal["down", "up", "alpha"]

_PREFIXES = (
    *("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer."),
    *("lora_unet_", "lora_transformer_"),
)
_PART = re.compile(
    r"(?P<stem>.+?)\.(?:(?P<alpha>alpha)"
    r"|(?:lora_A|lora_down|lora\.down|(?P<up>lora_B|lora_up|lora\.up))(?:\.[^.]+)?\.weight)"
)
"""Between the part and `weight`, PEFT writes the adapter's name."""


def split(key: str) -> tuple[str, Part] | None:
    """The layer a tensor belongs to, as the file calls it, and which part of the pair it is."""
    found = _PART.fullmatch(key)
    if found is None:
        return None
    return found["stem"], "alpha" if found["alpha"] else "up" if found["up"] else "down"


class Layers:
    """Finds the layers of one transformer by any of their names."""

    def __init__(self, config: TransformerConfig, names: Iterable[str]) -> None:
        theirs = diffusers_names(config, names)
        dotted = {alias: ours for ours, other in theirs.items() for alias in (ours, other)}
        flat = {alias.replace(".", "_"): ours for alias, ours in dotted.items()}
        self._known: Mapping[str, str] = {**flat, **dotted}

    def find(self, stem: str) -> str | None:
        """Our name for a layer of a LoRA file; None where the transformer has no such layer."""
        while stem not in self._known:
            prefix = next((p for p in _PREFIXES if stem.startswith(p)), None)
            if prefix is None:
                return None
            stem = stem.removeprefix(prefix)
        return self._known[stem]
