"""Weights in float8_e4m3fn: how they become numbers that can be computed with.

Rule: a float8 tensor without a scale stands for exactly the numbers it holds (a plain cast, as in
the official files), and each of them fits bfloat16. A tensor `NAME.weight` with a companion
`NAME.scale_weight` or `NAME.weight_scale` stands for number times scale, multiplied in float32;
the scale is one number, or one for each row. What else such files carry (`scaled_fp8`,
`NAME.scale_input`, `NAME.input_scale`) serves faster multiplications and is not read.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from overcrank.errors import ModelError
from overcrank.weights.mapped import Entries, Entry

FLOAT8 = (torch.float8_e4m3fn,)
_SCALES = (".scale_weight", ".weight_scale")
_UNREAD = (".scale_input", ".input_scale")
MARKER = "scaled_fp8"


def split_scales(entries: Entries) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """The weights by name, and the scales by the name of the weight they belong to."""
    weights: dict[str, Entry] = {}
    scales: dict[str, Entry] = {}
    for name, entry in entries.items():
        stem = next((name.removesuffix(end) for end in _SCALES if name.endswith(end)), None)
        if stem is not None and f"{stem}.weight" in entries:
            scales[f"{stem}.weight"] = entry
        elif not name.endswith(_UNREAD) and name != MARKER:
            weights[name] = entry
    return weights, scales


def computable(
    entries: Entries, scales: Mapping[str, Entry], dtype: torch.dtype | None
) -> dict[str, Entry]:
    """Entries cast to `dtype`; None keeps theirs, except that float8 becomes bfloat16."""
    return {
        name: _scaled(name, entry, scales[name], dtype or torch.bfloat16)
        if name in scales
        else entry.to(dtype or (torch.bfloat16 if entry.dtype in FLOAT8 else entry.dtype))
        for name, entry in entries.items()
    }


def _scaled(name: str, entry: Entry, scale: Entry, dtype: torch.dtype) -> Entry:
    rows = entry.shape[0] if entry.shape else 1
    if scale.count not in (1, rows):
        raise ModelError(
            f"the scale of {name} does not fit, got shape {scale.shape}: right is one number, or "
            f"one for each of its {rows} rows"
        )

    def load() -> Tensor:
        factor = scale.load().float()
        shape = (-1, *[1] * (len(entry.shape) - 1)) if factor.numel() > 1 else ()
        return (entry.load().float() * factor.reshape(shape)).to(dtype)

    return Entry(entry.shape, dtype, load)
