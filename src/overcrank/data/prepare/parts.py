"""One source file becomes a folder of clips and a record; a folder that is there is complete."""

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from overcrank.data.prepare.look import Seen, look, look_at
from overcrank.data.prepare.settings import Scorer, Settings
from overcrank.data.prepare.sources import Source, is_known, is_picture
from overcrank.errors import MediaError, SoundOnlyError
from overcrank.media import open_frames, read_image, write_mp4

RECORD = "record.json"
PREVIEW = 160
"""Pixels of the longer side of a picture in the contact sheet."""
SCORED = 4

KEY_EVERY = 32
"""Frames from which a clip can be read: a training begins anywhere in it."""

TOLD = 16
"""Frames between one telling and the next."""

Tell = Callable[[float], None]
"""Hears which share of a file is done, now and then."""

Entry = dict[str, Any]
"""What the manifest says of a clip. `reason` stands there if it is dropped, `member` if not."""


Judge = tuple[Settings, Scorer]


def key_of(source: Source, settings: Settings, scorer: Scorer) -> str:
    """Names the part of a source; another file or setting has another, another caption not."""
    try:
        state = source.path.stat()
        stamp = [state.st_size, state.st_mtime_ns]
    except OSError:
        stamp = []
    judge = f"{scorer.__module__}:{scorer.__qualname__}"
    left_out = settings.require_captions and source.caption is None
    said = [source.name, left_out, stamp, asdict(settings), judge]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


def make_part(
    source: Source,
    judge: Judge,
    folder: Path,
    tell: Tell = lambda _share: None,
) -> None:
    """Write the clips of one source to `folder`, which appears when all is done."""
    making = making_of(folder)
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    _keep_record(_entries(source, judge, making, tell), making)
    making.replace(folder)


def making_of(folder: Path) -> Path:
    """Where a part is until it is complete."""
    return folder.with_name(f"{folder.name}.making")


def keep_crash(folder: Path) -> None:
    """Of a source at which a process died: a part without clips."""
    making = making_of(folder)
    _keep_record([{"reason": "unreadable", "detail": "the decoder crashed"}], making)
    making.replace(folder)


def _keep_record(entries: list[Entry], folder: Path) -> None:
    (folder / RECORD).write_text(json.dumps(entries), encoding="utf-8")


def read_record(folder: Path) -> list[Entry]:
    """The clips of a part, in the order of the video."""
    entries: list[Entry] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return entries


def _entries(source: Source, judge: Judge, folder: Path, tell: Tell) -> list[Entry]:
    settings, _ = judge
    if not is_known(source.path):
        return [{"reason": "unknown kind"}]
    if settings.require_captions and source.caption is None:
        return [{"reason": "no caption"}]
    try:
        if is_picture(source.path):
            found: Tensor | _Video = _pixels(source.path)
        else:
            found = _look_through(source.path, settings, lambda share: tell(share / 2))
    except MediaError as error:  # of the input: what cannot be written is not caught
        reason = "sound only" if isinstance(error, SoundOnlyError) else "unreadable"
        return [{"reason": reason, "detail": str(error)}]
    if isinstance(found, Tensor):
        return [_picture(found, judge, folder)]
    if not found.stretches:
        return [{"reason": "frame rate", "frame_rate": found.rate}]
    return list(_clips(source.path, found, judge, folder, lambda share: tell((1 + share) / 2)))


def _pixels(path: Path) -> Tensor:
    picture = read_image(path)
    flat = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return flat.view(picture.height, picture.width, 3)


def _picture(pixels_HW3: Tensor, judge: Judge, folder: Path) -> Entry:
    settings, _ = judge
    seen = look_at(pixels_HW3)
    entry: Entry = {"frames": 1, "look": seen.look, "colour": seen.colour}
    reason = _too_little(seen, settings)
    if reason is not None:
        return {**entry, "reason": reason}
    small_HW3 = _fitted(pixels_HW3, seen, settings)
    entry |= {"width": small_HW3.shape[1], "height": small_HW3.shape[0]}
    entry |= _scored(small_HW3[None], *judge)
    if "reason" not in entry:
        to_pillow(small_HW3).save(folder / "0.webp", quality=90, method=4)
        _preview(small_HW3, folder / "0.preview")
        entry["member"] = "0.webp"
    return entry


@dataclass(frozen=True, slots=True)
class _Video:
    """What the first pass found: frames a second after thinning to every `step`-th."""

    rate: float
    step: int
    stretches: list[Seen]


def _look_through(path: Path, settings: Settings, tell: Tell) -> _Video:
    with open_frames(path) as (frames_HW3, native, expected):
        step = max(1, ceil(native / settings.max_fps - 0.05))
        rate = native / step
        if rate < settings.min_fps:
            return _Video(rate, step, [])
        longest = max(1, int(settings.max_seconds * rate))
        thinned_HW3 = islice(_telling(frames_HW3, expected, tell), 0, None, step)
        return _Video(rate, step, list(look(thinned_HW3, longest)))


def _clips(path: Path, video: _Video, judge: Judge, folder: Path, tell: Tell) -> Iterator[Entry]:
    """The second pass, as a film does not fit in memory."""
    settings, _ = judge
    with open_frames(path) as (frames_HW3, _, expected):
        thinned_HW3 = islice(_telling(frames_HW3, expected, tell), 0, None, video.step)
        for number, seen in enumerate(video.stretches):
            entry: Entry = {
                "start": round(seen.first / video.rate, 4),
                "seconds": round(seen.frames / video.rate, 4),
                "frames": seen.frames,
                "frame_rate": video.rate,
                "motion": seen.motion,
                "look": seen.look,
                "colour": seen.colour,
            }
            stretch_HW3 = islice(thinned_HW3, seen.frames)
            reason = _too_little(seen, settings, video.rate)
            if reason is None:
                fitted_HW3 = (_fitted(frame_HW3, seen, settings) for frame_HW3 in stretch_HW3)
                name = folder / f"{number}.mp4"
                yield entry | _clip(fitted_HW3, seen.frames, video.rate, judge, name)
            else:
                yield {**entry, "reason": reason}
            deque(stretch_HW3, maxlen=0)  # the next begins where this ends


def _telling(frames_HW3: Iterator[Tensor], expected: int, tell: Tell) -> Iterator[Tensor]:
    for place, frame_HW3 in enumerate(frames_HW3):
        if expected and place % TOLD == 0:
            tell(min(1.0, place / expected))
        yield frame_HW3


def _clip(
    fitted_HW3: Iterator[Tensor],
    frames: int,
    rate: float,
    judge: Judge,
    path: Path,
) -> Entry:
    """Write it, and take it away again if its score is too low."""
    looked_at = {frames * (2 * i + 1) // (2 * SCORED) for i in range(SCORED)}
    some_HW3: list[Tensor] = []

    def chunks() -> Iterator[Tensor]:
        for place, frame_HW3 in enumerate(fitted_HW3):
            if place in looked_at:
                some_HW3.append(frame_HW3)
            yield frame_HW3[None]

    write_mp4(path, chunks(), rate, metadata={}, reproducible=True, key_every=KEY_EVERY)
    height, width, _ = some_HW3[0].shape
    entry = {"width": width, "height": height} | _scored(torch.stack(some_HW3), *judge)
    if "reason" in entry:
        path.unlink()
        return entry
    _preview(some_HW3[len(some_HW3) // 2], path.with_suffix(".preview"))
    return {**entry, "member": path.name}


def _scored(some_FHW3: Tensor, settings: Settings, scorer: Scorer) -> Entry:
    score = float(scorer(some_FHW3))
    low = settings.min_score is not None and not score >= settings.min_score
    return {"score": score, **({"reason": "score"} if low else {})}


def _too_little(seen: Seen, settings: Settings, rate: float | None = None) -> str | None:
    """Why a stretch is dropped; a picture has no rate."""
    if rate is not None and seen.frames < settings.min_seconds * rate:
        return "too short"
    if seen.box is None:
        return "black"
    top, left, bottom, right = seen.box
    if min(bottom - top, right - left) < settings.min_side:
        return "too small"
    if rate is not None and seen.motion < settings.min_motion:
        return "static"
    return None


def _fitted(frame_HW3: Tensor, seen: Seen, settings: Settings) -> Tensor:
    """Without black bars, scaled down to the largest size allowed, with even sides."""
    top, left, bottom, right = seen.box or (0, 0, *frame_HW3.shape[:2])
    scale = min(1.0, settings.max_side / min(bottom - top, right - left))
    height, width = (2 * max(1, int(side * scale / 2)) for side in (bottom - top, right - left))
    if scale == 1.0:  # at most one row and column of pixels is lost, and none is blurred
        return frame_HW3[top : top + height, left : left + width]
    inside_13HW = frame_HW3[top:bottom, left:right].permute(2, 0, 1)[None]
    small_13HW = interpolate(inside_13HW, (height, width), mode="bilinear", antialias=True)
    return small_13HW[0].permute(1, 2, 0)


def _preview(frame_HW3: Tensor, path: Path) -> None:
    picture = to_pillow(frame_HW3)
    picture.thumbnail((PREVIEW, PREVIEW))
    picture.save(path, format="PNG")


def to_pillow(pixels_HW3: Tensor) -> Image.Image:
    """As a picture of Pillow."""
    return Image.fromarray(pixels_HW3.contiguous().numpy())
