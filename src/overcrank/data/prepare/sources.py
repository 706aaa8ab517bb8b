"""The videos and pictures that a folder holds or a list names, with their captions."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overcrank.errors import RequestError

CONTAINERS = {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".ogv", ".webm", ".wmv"}
STREAMS = {".m2ts", ".mpeg", ".mpg", ".mts", ".ts"}
VIDEOS = frozenset(CONTAINERS | STREAMS)
LOSSLESS = {".bmp", ".gif", ".png", ".ppm", ".tif", ".tiff"}
PICTURES = frozenset(LOSSLESS | {".avif", ".jpeg", ".jpg", ".webp"})
LISTS = (".csv", ".json", ".jsonl")
SIDECARS = (".txt", ".json")


@dataclass(frozen=True, slots=True)
class Source:
    """A file, what it is called in the manifest, and its caption."""

    path: Path
    name: str
    caption: str | None


def find_sources(given: Path) -> list[Source]:
    """In the order of a list, or by name in a folder and those below it; at least one.

    Sidecar captions and hidden files are left out; any other file of a folder is named, also what
    cannot be used: the manifest says so later.
    """
    if given.is_dir():
        found = list(_in_folder(given))
    elif given.suffix.lower() in LISTS and given.is_file():
        found = list(_in_list(given))
    else:
        what = "nothing of this name" if not given.exists() else "another kind of file"
        raise RequestError(
            f"videos come from a folder or a list, got {given} ({what}): "
            f"give a folder, or a file that ends in {', '.join(LISTS)}"
        )
    if not any(is_known(source.path) for source in found):
        raise RequestError(
            f"there is nothing to prepare, got {given} without a video or picture: "
            "give another folder or list"
        )
    return found


def is_known(path: Path) -> bool:
    """Whether the ending of the name is one of a video or picture."""
    return path.suffix.lower() in VIDEOS | PICTURES


def is_picture(path: Path) -> bool:
    """Whether the ending of the name is one of a picture."""
    return path.suffix.lower() in PICTURES


def _in_folder(folder: Path) -> Iterator[Source]:
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    described = {file.with_suffix(kind) for file in files if is_known(file) for kind in SIDECARS}
    for file in files:
        if file not in described:
            yield Source(file, file.relative_to(folder).as_posix(), _sidecar(file))


def _sidecar(file: Path) -> str | None:
    """The first that says something."""
    if not is_known(file):
        return None
    captions = (_caption_in(file.with_suffix(kind)) for kind in SIDECARS)
    return next((caption for caption in captions if caption), None)


def _caption_in(file: Path) -> str | None:
    if not file.is_file():
        return None
    try:
        text = file.read_text(encoding="utf-8")
        said: Any = json.loads(text).get("caption") if file.suffix == ".json" else text
        return said.strip() if said else None
    except (OSError, ValueError, AttributeError) as error:
        raise RequestError(
            f"a caption cannot be read, got {file} ({error}): write it as UTF-8 text, in JSON as "
            'the text "caption" of an object'
        ) from error


def _in_list(file: Path) -> Iterator[Source]:
    for place, row in enumerate(_rows(file), 1):
        path = row.get("media_path") if isinstance(row, dict) else None
        caption = row.get("caption") if isinstance(row, dict) else None
        if not isinstance(path, str) or not path or not isinstance(caption, str | None):
            raise RequestError(
                f"an entry of a list has media_path and caption, both text, got {row!r:.200} as "
                f"entry {place} of {file}: mend that one"
            )
        full = file.parent / path
        yield Source(full, path, (caption or "").strip() or _sidecar(full))


def _rows(file: Path) -> list[Any]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".csv":
            return list(csv.DictReader(text.splitlines(keepends=True), strict=True))
        if file.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        rows = json.loads(text)
    except (OSError, ValueError, csv.Error) as error:
        raise RequestError(
            f"the list cannot be read, got {file} ({error}): give UTF-8 text, with a header in "
            "CSV, a list of objects in JSON, an object a line in JSONL"
        ) from error
    if not isinstance(rows, list):
        raise RequestError(
            f"a JSON list is a list of objects, got {type(rows).__name__} in {file}: "
            'write [{"media_path": "a.mp4", "caption": "..."}]'
        )
    return rows
