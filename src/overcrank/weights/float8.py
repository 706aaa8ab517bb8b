"""Weights in eight bits: how they become numbers that can be computed with.

A matrix of whole numbers, int8, has a scale for each row; we write such files (`in_steps`).
Published ones have float8_e4m3fn. Rule: a float8 tensor without a scale stands for exactly the
numbers it holds (a plain cast, as in the official files), and each of them fits bfloat16. A
tensor `NAME.weight` with a companion `NAME.scale_weight` or `NAME.weight_scale` stands for number
times scale, multiplied in float32; the scale is one number, or one for each row. What else such
files carry (`scaled_fp8`, `NAME.scale_input`, `NAME.input_scale`) serves faster multiplications and
is not read.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from overcrank.errors import ModelError
from overcrank.weights.mapped import Entries, Entry

FLOAT8 = (torch.float8_e4m3fn,)
_SCALES = (".scale_weight", ".weight_scale")
_LARGEST = 127
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
    """Entries cast to `dtype`; None keeps theirs, except that float8 becomes bfloat16 and whole
    numbers float32."""
    found = {}
    for name, entry in entries.items():
        kept = {torch.int8: torch.float32, **dict.fromkeys(FLOAT8, torch.bfloat16)}
        wanted = dtype or kept.get(entry.dtype, entry.dtype)
        scaled = name in scales
        found[name] = _scaled(name, entry, scales[name], wanted) if scaled else entry.to(wanted)
    return found


def in_steps(
    matrices: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is stored of matrices `NAME.weight` in eight bits, and what is read of that, float32.

    Whole numbers from -127 to 127, and a scale for each row.
    """
    stored, read = {}, {}
    for name, matrix_RC in matrices.items():
        scale_R1 = (matrix_RC.float().abs().amax(1, keepdim=True) / _LARGEST).clamp_min(1e-9)
        stored[name] = (matrix_RC / scale_R1).round().to(torch.int8)
        stored[f"{name.removesuffix('.weight')}{_SCALES[0]}"] = scale_R1[:, 0]
        read[name] = stored[name].float() * scale_R1
    return stored, read


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
