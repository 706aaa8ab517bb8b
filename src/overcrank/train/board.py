"""A run's numbers and clips in TensorBoard: the extra `tensorboard`."""

from pathlib import Path
from typing import Any

from overcrank.errors import RequestError
from overcrank.train.record import Event

FOLDER = "tensorboard"


class Board:
    """Writes the events of a run that goes on after step `begin`."""

    def __init__(self, folder: Path, begin: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RequestError(
                f"TensorBoard is not installed: got --log tensorboard ({error}): "
                "pip install 'overcrank[tensorboard]', or leave --log out"
            ) from None
        self.folder = folder
        # What a stopped run wrote of later steps is written again: readers forget it.
        self.writer: Any = SummaryWriter(str(folder / FOLDER), purge_step=begin + 1)

    def close(self) -> None:
        """Write what is not on the disk yet."""
        self.writer.close()

    def show(self, event: Event) -> None:
        """Numbers of a step as scalars, pictures of clips as images."""
        step = event.get("step")
        if step is None:
            return
        for name, value in event.items():
            if isinstance(value, float | int) and name not in ("step", "lost"):
                self.writer.add_scalar(_place(name), value, step)
        if "samples" in event:
            self._picture("samples", Path(event["samples"]), step)
        sheet = self.folder / f"round-trip-{step:06d}.png"
        if "held_out_psnr" in event and sheet.exists():
            self._picture("round trip", sheet, step)

    def _picture(self, name: str, path: Path, step: int) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self.writer.add_image(name, pixels, step, dataformats="HWC")
        self.writer.flush()


def _place(name: str) -> str:
    """held_out_128_0.5 is level 0.5 in the group of its size; the rest is of the training."""
    if not name.startswith("held_out"):
        return f"train/{name}"
    group, _, level = name.rpartition("_")
    return f"{group}/{level}" if level[:1].isdigit() else f"held_out/{name}"
