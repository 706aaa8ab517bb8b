"""A pack of figures: pictures with alpha, their names and kinds, in one safetensors file.

Axes: N figures, H W pixels, C channels of a picture.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from overcrank.errors import MediaError, RequestError
from overcrank.toybox.rigs import KINDS

PICTURE_SIDE = 128
FORMAT_VERSION = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FigurePack:
    """Pictures to act with: uint8 RGBA (N, 128, 128, 4), standing on the lower edge and looking
    left or at the viewer. `kinds` are keys of `KINDS`."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    pictures_NHWC: Tensor
    source: str
    licence: str

    def __post_init__(self) -> None:
        expected = (len(self.names), PICTURE_SIDE, PICTURE_SIDE, 4)
        if tuple(self.pictures_NHWC.shape) != expected or self.pictures_NHWC.dtype != torch.uint8:
            raise MediaError(
                f"the pictures of a figure pack do not fit: got {self.pictures_NHWC.dtype} "
                f"{tuple(self.pictures_NHWC.shape)}, {len(self.names)} names need uint8 {expected}"
            )
        if not self.names or len(set(self.names)) < len(self.names):
            raise MediaError(f"a figure pack needs names that differ, got {list(self.names)}")
        if len(self.kinds) != len(self.names) or not set(self.kinds) <= set(KINDS):
            raise MediaError(
                f"a figure pack needs a kind for each name, got {list(self.kinds)}: kinds are "
                f"{', '.join(KINDS)}"
            )

    def save(self, path: Path) -> None:
        """Write one safetensors file; of equal packs, equal ones.

        Its header is written here, because the order of metadata in safetensors' own is random.
        """
        metadata = {
            "format_version": FORMAT_VERSION,
            "names": json.dumps(self.names),
            "kinds": json.dumps(self.kinds),
            "source": self.source,
            "licence": self.licence,
        }
        pictures = self.pictures_NHWC.contiguous().numpy().tobytes()
        shape = list(self.pictures_NHWC.shape)
        entry = {"dtype": "U8", "shape": shape, "data_offsets": [0, len(pictures)]}
        header = {"__metadata__": metadata, "pictures": entry}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        path.write_bytes(len(text).to_bytes(8, "little") + text + pictures)

    @classmethod
    def load(cls, path: Path | str) -> "FigurePack":
        """Read what `save` wrote."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                keys = sorted(file.keys())
                pictures = file.get_tensor("pictures") if keys == ["pictures"] else None
        except (OSError, SafetensorError) as error:
            raise MediaError(
                f"the figure pack cannot be read: got {path} ({error}): build one as "
                f"docs/figures.md says"
            ) from error
        needed = {"format_version", "names", "kinds", "source", "licence"}
        version = metadata.get("format_version")
        if pictures is None or version != FORMAT_VERSION or not needed <= metadata.keys():
            raise MediaError(
                f"{path} is no figure pack of this version: got format_version {version} with "
                f"tensors {keys}, right is {FORMAT_VERSION} with ['pictures']"
            )
        return cls(
            names=tuple(json.loads(metadata["names"])),
            kinds=tuple(json.loads(metadata["kinds"])),
            pictures_NHWC=pictures,
            source=metadata["source"],
            licence=metadata["licence"],
        )

    def picture(self, name: str) -> Tensor:
        """One picture, colours already multiplied by alpha, in [0, 1]: float32 (1, 4, H, W)."""
        if name not in self.names:
            raise RequestError(f"the pack has no figure {name!r}: it has {', '.join(self.names)}")
        picture = self.pictures_NHWC[self.names.index(name)].permute(2, 0, 1)[None] / 255
        picture[:, :3] *= picture[:, 3:]
        return picture


@cache
def shipped_pack() -> FigurePack:
    """The 32 figures of this package. Pictures: Fluent emoji by Microsoft, MIT; see NOTICE."""
    with as_file(files("overcrank.toybox").joinpath("figures.safetensors")) as path:
        return FigurePack.load(path)
