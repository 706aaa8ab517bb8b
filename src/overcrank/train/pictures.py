"""Pictures that a run leaves behind for people to look at."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

SAMPLES = "samples"
"""The folder of the clips that a run makes of its own network."""


def contact_sheet(rows: Sequence[Tensor], path: Path) -> None:
    """Each row is uint8 (F, H, W, 3): its frames side by side, rows below each other."""
    sheet = torch.cat([torch.cat(list(row), dim=1) for row in rows], dim=0)
    Image.fromarray(sheet.numpy()).save(path)
