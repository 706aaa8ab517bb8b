"""Weights inside a package of plain files: located by path, never imported, pinned by sha256."""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from overcrank.errors import ModelError


@dataclass(frozen=True, slots=True)
class Pinned:
    """`file` in `package`, whose content has `sha256`; `install` is the command that gets it."""

    package: str
    file: str
    sha256: str
    install: str

    def read(self) -> Mapping[str, Tensor]:
        """Its tensors by name; ModelError if it is not there, or another file than the pinned."""
        path = self.path()
        if path is None:
            raise ModelError(
                f"the feature network is not installed: no package {self.package}: "
                f"run `{self.install}`"
            )
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        if digest != self.sha256:
            raise ModelError(
                f"the feature network is not the pinned file: {path} has sha256 {digest[:16]}, "
                f"right is {self.sha256[:16]}...: run `{self.install} --force-reinstall`"
            )
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    def path(self) -> Path | None:
        """Where the file should be; None if the package is not installed."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]) / self.file
