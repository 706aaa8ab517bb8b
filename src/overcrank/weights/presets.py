"""The models that ship inside the package."""

import os
from importlib.resources import files
from pathlib import Path

from overcrank.errors import ModelError
from overcrank.weights.card import CARD_FILE, TRANSFORMER_FILE, VAE_FILE


def preset_names() -> list[str]:
    """What can be opened by a name alone."""
    return sorted(path.parent.name for path in _folder().glob(f"*/{CARD_FILE}"))


def find_model(source: str | Path) -> Path:
    """The folder of a preset, or `source` itself where it is a folder."""
    presets = preset_names()
    if str(source) in presets:
        return _folder() / str(source)
    if os.path.isdir(source):  # noqa: PTH112  unlike Path.is_dir, False for any odd string
        return Path(source)
    raise ModelError(
        f"there is no such model of ours: got {str(source)[:200]!r}: right is a preset "
        f"({', '.join(presets) or 'none is installed'}) or a folder with {CARD_FILE}, {VAE_FILE} "
        f"and {TRANSFORMER_FILE}"
    )


def _folder() -> Path:
    return Path(str(files("overcrank"))) / "presets"
