"""Clips that `overcrank prepare` wrote, read one by one out of their shards.

A shard is a tar file: for each clip what is known of it (.json) and its pixels (.mp4 or .webp), as
docs/prepare.md says. Nothing is unpacked to the disk, and nothing but these kinds is decoded.
"""

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from overcrank.data.prepare.parts import Entry
from overcrank.data.prepare.shards import MANIFEST
from overcrank.errors import MediaError, RequestError
from overcrank.media import open_frames

PICTURE_RATE = 24.0
"""A picture has no frame rate; as a clip of one frame it is said to have this one."""
HELD_OUT = 64
"""The first clips of a folder are never trained on: this many, but at most a tenth."""

_MEND = "run the same `overcrank prepare` again with a new folder"


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """A clip in a shard: what is known of it, and where its pixels lie."""

    key: str
    source: str
    shard: Path
    offset: int
    bytes: int
    is_picture: bool
    frames: int
    height: int
    width: int
    frame_rate: float
    caption: str | None
    digest: str
    """Of what is known of the clip, and how long its file is."""


class Prepared:
    """The clips of a folder, in the order of their shards and keys."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        shards = _shards(self.folder)
        self.clips = [clip for shard in shards for clip in _index(shard)]
        _check_complete(self.folder, self.clips)
        if not self.clips:
            raise RequestError(
                f"there is no clip in {self.folder}, got {len(shards)} empty shards: prepare "
                "other videos, or drop fewer clips: docs/prepare.md says how"
            )
        held = min(HELD_OUT, len(self.clips) // 10)
        self.held_out = frozenset(clip.key for clip in self.clips[:held])

    def frames(self, clip: PreparedClip, wanted: range) -> Iterator[Tensor]:
        """Frames of a clip by their places in it, one by one: uint8 (H, W, 3)."""
        with clip.shard.open("rb") as file:
            file.seek(clip.offset)
            data = file.read(clip.bytes)
        first = 0 if clip.is_picture else wanted.start
        decoded = _picture(data) if clip.is_picture else _video(data, first)
        count = 0
        with closing(decoded):
            try:
                for frame in islice(
                    decoded, wanted.start - first, wanted.stop - first, wanted.step
                ):
                    if frame.shape != (clip.height, clip.width, 3):
                        break
                    yield frame
                    count += 1
            except (MediaError, OSError, ValueError, SyntaxError) as error:
                raise _damaged(clip.shard, f"{clip.key} cannot be decoded: {error}") from error
        if count < len(wanted):
            said = f"{clip.frames} frames of {clip.width} x {clip.height}"
            raise _damaged(clip.shard, f"{clip.key} is not, as it says, {said}")


def _picture(data: bytes) -> Generator[Tensor, None, None]:
    with Image.open(io.BytesIO(data), formats=("WEBP",)) as picture:
        yield torch.from_numpy(np.array(picture.convert("RGB")))


def _video(data: bytes, first: int) -> Generator[Tensor, None, None]:
    with open_frames(io.BytesIO(data), first) as (frames_HW3, _, _):
        yield from frames_HW3


def _shards(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise RequestError(
            f"there is no folder of clips: got {folder}: run `overcrank prepare VIDEOS {folder}` "
            "first"
        )
    shards = sorted(folder.glob("*.tar"))
    if not shards:
        begun = (folder / ".parts").exists()
        raise RequestError(
            f"{folder} holds no shards (*.tar): "
            + ("preparing it was stopped: " if begun else "it is no folder of clips: ")
            + f"run `overcrank prepare VIDEOS {folder}`"
        )
    return shards


def _index(shard: Path) -> Iterator[PreparedClip]:
    """What the headers of a shard say; of the clips only what is known of them is read."""
    known: dict[str, bytes] = {}
    length = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                key, _, kind = member.name.rpartition(".")
                whole = member.isreg() and member.offset_data + member.size <= length
                if not whole or kind not in ("json", "mp4", "webp"):
                    raise _damaged(shard, f"{member.name} is cut off, or no json, mp4 or webp file")
                content = tar.extractfile(member)
                if kind == "json" and content is not None:
                    known[key] = content.read()
                elif key in known:
                    yield _clip(key, known.pop(key), shard, member)
                else:
                    raise _damaged(shard, f"nothing is said of {member.name}")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _damaged(shard, str(error)) from error
    if known:
        raise _damaged(shard, f"the pixels of {', '.join(sorted(known)[:3])} are missing")


def _clip(key: str, said: bytes, shard: Path, member: tarfile.TarInfo) -> PreparedClip:
    try:
        entry: Entry = json.loads(said)
        clip = PreparedClip(
            key=key,
            source=_typed(entry["source"], str),
            shard=shard,
            offset=member.offset_data,
            bytes=member.size,
            is_picture=member.name.endswith(".webp"),
            frames=_typed(entry["frames"], int),
            height=_typed(entry["height"], int),
            width=_typed(entry["width"], int),
            frame_rate=_typed(entry.get("frame_rate", PICTURE_RATE), int | float),
            caption=_typed(entry["caption"] or "", str).strip() or None,
            digest=hashlib.sha256(said + b"%d" % member.size).hexdigest(),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(shard, f"{key}.json says too little: {error!r}") from error
    numbers = (clip.frames, clip.height, clip.width, clip.frame_rate)
    if entry.get("format_version") != 1 or min(numbers) <= 0:
        raise _damaged(shard, f"{key}.json is of another format: {said[:80]!r}")
    return clip


def _typed(value: Any, kind: type | UnionType) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind}")
    return value


def _check_complete(folder: Path, clips: list[PreparedClip]) -> None:
    """Against the manifest, if there is one: shards may be lost, or cut off between two clips."""
    try:
        lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
        wanted = Counter(entry["shard"] for entry in map(json.loads, lines) if "shard" in entry)
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError) as error:
        raise MediaError(
            f"{folder / MANIFEST} cannot be read: {error}: delete it, or {_MEND}"
        ) from error
    found = Counter(clip.shard.name for clip in clips)
    for shard, count in sorted(wanted.items()):
        if found[shard] != count:
            raise _damaged(folder / shard, f"{found[shard]} of its {count} clips are there")


def _damaged(shard: Path, what: str) -> MediaError:
    return MediaError(f"the shard {shard} is damaged or lost: {what}: {_MEND}")
