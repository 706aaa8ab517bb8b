"""What a job keeps on disk, in a folder of its own.

clip.part              the clip while it is made: every byte that is there is final
clip.mp4               the clip
moment.safetensors     the last denoising step that was kept
thumbnail.webp, spritesheet.webp, preview.webp
NAME.png               the pictures it shows, by their content
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from overcrank.moment import Moment


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The files of one job."""

    folder: Path

    @property
    def part(self) -> Path:
        return self.folder / "clip.part"

    @property
    def clip(self) -> Path:
        return self.folder / "clip.mp4"

    def shown(self, name: str) -> Path:
        """A picture that the clip shows."""
        return self.folder / f"{name}.png"

    @property
    def moment(self) -> Path:
        return self.folder / "moment.safetensors"

    def picture(self, variant: str) -> Path:
        """thumbnail, spritesheet or preview."""
        return self.folder / f"{variant}.webp"

    def make(self) -> None:
        """The folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def keep(self, moment: Moment) -> None:
        """For a worker that has to go on from it."""
        tensors = {"tokens": moment.tokens_BNC, "data": moment.data_BCTHW}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        steps = {"step": str(moment.step), "total": str(moment.total)}
        write_whole(self.moment, save(tensors, steps))

    def kept(self) -> Moment | None:
        """The last one; None where there is none, or none that can be read."""
        try:
            with safe_open(self.moment, "pt") as file:
                steps = file.metadata()
                return Moment(
                    step=int(steps["step"]),
                    total=int(steps["total"]),
                    tokens_BNC=file.get_tensor("tokens"),
                    data_BCTHW=file.get_tensor("data"),
                )
        except (OSError, SafetensorError):
            return None

    @contextmanager
    def writing(self) -> Iterator[FileIO]:
        """The part, from its beginning, over what is there; it is never shorter than it was."""
        with FileIO(os.open(self.part, os.O_WRONLY | os.O_CREAT, 0o644), "w") as file:
            yield file

    def publish(self) -> None:
        """The clip is complete: it gets its name, and what only its making needed goes."""
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
        self.part.replace(self.clip)
        self.tidy()

    def tidy(self) -> None:
        """Remove what only the making of a clip needs."""
        for path in (self.part, self.moment, self.moment.with_suffix(".tmp")):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """All of them."""
        shutil.rmtree(self.folder, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> None:
    """A file that is there as a whole or not at all; who dies meanwhile leaves what the next one
    writes over."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
