"""Where weights come from, and under which licence: kept through every conversion."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from overcrank.errors import ModelError
from overcrank.weights.files import FORMAT_VERSION, write_atomically
from overcrank.weights.mapped import json_object, read_json

ORIGIN_FILE = "origin.json"
ORIGIN_KEY = "overcrank_origin"
"""In the metadata of a single file."""
LICENCE_FILE = "LICENSE.txt"
_MOST_LICENCE = 256 << 10


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a checkpoint says besides its weights."""

    source: str = ""
    """Name of the file, folder or hub id that it was first read from."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of the single file it came from, word for word."""
    licence: str = ""
    """Text of the licence file that lay beside it."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """model.json of our own format."""
    diffusers: Mapping[str, Any] = field(default_factory=dict)
    """`model_index` and `scheduler` of a diffusers folder."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is empty is left out."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {"format_version": FORMAT_VERSION, **{k: v for k, v in values.items() if v}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str | Path) -> "Origin":
        """Inverse of `to_dict`; what is unknown or of another type is refused by name."""
        values = dict(values)
        version = values.pop("format_version", None)
        kinds = {"source": str, "licence": str, "metadata": dict, "card": dict, "diffusers": dict}
        wrong = [
            name for name, value in values.items() if not isinstance(value, kinds.get(name, ()))
        ]
        texts = values.get("metadata", {})
        if isinstance(texts, dict) and not all(isinstance(text, str) for text in texts.values()):
            wrong.append("metadata")
        if version != FORMAT_VERSION or wrong:
            raise ModelError(
                f"{where} says nothing about an origin: got format_version {version!r}, odd are "
                f"{', '.join(wrong) or 'none'}: right is what overcrank wrote"
            )
        return cls(**values)

    def write(self, folder: Path) -> None:
        """Write origin.json, and the licence as a file of its own."""
        with write_atomically(folder / ORIGIN_FILE) as path:
            path.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        self.write_licence(folder / LICENCE_FILE)

    def write_licence(self, path: Path) -> None:
        """Write the licence, where there is one."""
        if self.licence:
            with write_atomically(path) as temporary:
                temporary.write_text(self.licence, encoding="utf-8")

    @classmethod
    def of_folder(cls, folder: Path) -> "Origin":
        """What a folder says of its origin."""
        if (folder / ORIGIN_FILE).exists():
            path = folder / ORIGIN_FILE
            found = cls.from_dict(read_json(path), path)
        else:
            found = cls(source=folder.name)
        return replace(found, licence=found.licence or _licence(folder, ""))

    @classmethod
    def of_file(cls, path: Path, metadata: Mapping[str, str]) -> "Origin":
        """What a single file says of its origin."""
        found = cls(source=path.name)
        if ORIGIN_KEY in metadata:
            where = f"{ORIGIN_KEY} in {path}"
            found = cls.from_dict(json_object(metadata[ORIGIN_KEY], where), where)
        words = {name: text for name, text in metadata.items() if name != ORIGIN_KEY}
        licence = found.licence or _licence(path.parent, path.stem)
        return replace(found, metadata=words, licence=licence)


def _licence(folder: Path, stem: str) -> str:
    """The licence file that belongs to `stem`, or to a whole folder if that is empty."""
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        named = name.startswith(stem.lower()) if stem else name.startswith(("license", "licence"))
        if (
            named
            and ("license" in name or "licence" in name)
            and path.suffix in ("", ".txt", ".md")
        ):
            try:
                if path.is_file() and path.stat().st_size <= _MOST_LICENCE:
                    return path.read_text(encoding="utf-8")
            except (OSError, ValueError):
                continue
    return ""
