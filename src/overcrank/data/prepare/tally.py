"""How much is done, in files and bytes, also of files that other processes work on."""

from collections.abc import Callable, Iterable
from pathlib import Path

from overcrank.data.prepare.sources import Source

OnFile = Callable[[int, int, int, int], None]
"""Files done, of all, bytes done, of all, also while a file is worked on.

What a run that was stopped has done counts from the start.
"""


class Tally:
    """Tells how much is done, in files and bytes."""

    def __init__(self, parts: dict[Path, Source], on_file: OnFile | None) -> None:
        self._sizes = {folder: _size(source.path) for folder, source in parts.items()}
        self._on_file = on_file
        self._shares = dict.fromkeys(parts, 0.0)
        self._files, self._bytes, self._total = 0, 0.0, sum(self._sizes.values())
        self.add(*(folder for folder in parts if folder.exists()))

    def add(self, *folders: Path) -> None:
        """These are done."""
        self._files += len(folders)
        self.share(dict.fromkeys(folders, 1.0))

    def share_of(self, folder: Path, share: float) -> None:
        """So much of one is done."""
        self.share({folder: share})

    def share(self, shares: dict[Path, float]) -> None:
        """So much of these is done."""
        for folder, share in shares.items():
            self._bytes += (share - self._shares[folder]) * self._sizes[folder]
            self._shares[folder] = share
        if self._on_file is not None:
            self._on_file(self._files, len(self._sizes), round(self._bytes), self._total)

    def look_at(self, folders: Iterable[Path]) -> None:
        """Other processes work on these, and note how far they are."""
        self.share({folder: _noted(folder) for folder in folders})


def note(folder: Path, share: float) -> None:
    """For `Tally.look_at`, in a file beside the part."""
    _note_of(folder).write_text(f"{share:.4f}", encoding="utf-8")


def _noted(folder: Path) -> float:
    try:
        return float(_note_of(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not begun, or just being written
        return 0.0


def _note_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.share")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
