"""Write a clip as mp4, and read video back. Frames are uint8 (F, H, W, 3), RGB."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from itertools import repeat
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from overcrank.errors import MediaError, SoundOnlyError
from overcrank.media.encoder import Encoder, rational
from overcrank.media.files import check_output, published, readable_file

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

AV_TIME_BASE = 1_000_000
"""The length of a file is counted in such parts of a second. Source: libavutil."""

MAX_PIXELS = 1 << 30
"""A video is held in memory as a whole; longer ones are refused (3 GiB of RGB)."""


def write_mp4(
    path: str | PathLike[str],
    chunks: Iterable[Tensor],
    frame_rate: float,
    *,
    metadata: Mapping[str, str],
    crf: int = 18,
    reproducible: bool = False,
    key_every: int | None = None,
) -> None:
    """Write chunks of frames, uint8 (n, H, W, 3), as one H.264 file that players can start early.

    The file appears under its name only when it is complete: whatever goes wrong before, nothing
    is left behind. `metadata` is stored in the file, any key; `crf` is x264's quality, 0 best.
    `reproducible`: equal frames give equal bytes, on one thread, in a slightly larger file.
    `key_every`: a clip can be read from every so many frames on, at least; x264 takes 250.
    """
    target = check_output(path)
    rate = rational(frame_rate)
    with published(target) as temporary:
        import av

        options = {"movflags": "+faststart+use_metadata_tags"}
        try:
            with av.open(str(temporary), "w", format="mp4", options=options) as container:
                container.metadata.update(metadata)
                encoder = Encoder(
                    container, rate, crf=crf, reproducible=reproducible, key_every=key_every
                )
                for chunk in chunks:
                    encoder.add(chunk)
                encoder.end()
        except av.FFmpegError as error:
            raise MediaError(
                f"the clip cannot be written, got {error.strerror!r} for {target}: "
                "make room on the disk or choose another folder"
            ) from error


def read_frames(path: str | PathLike[str]) -> tuple[Tensor, float]:
    """All frames of a video's first picture track, uint8 (F, H, W, 3), and its frames a second.

    Frames come upright and evenly spaced: where a file leaves gaps, the frame before is held.
    """
    frames: list[Tensor] = []
    with open_frames(path) as (pictures_HW3, rate, _):
        for frame_HW3 in pictures_HW3:
            height, width, _ = frame_HW3.shape
            if (len(frames) + 1) * height * width > MAX_PIXELS:
                raise MediaError(
                    f"a video is too long, got at least {len(frames) + 1} frames, "
                    f"{width} x {height}, in {path}: cut it or scale it down first"
                )
            frames.append(frame_HW3)
    return torch.stack(frames), rate


@contextmanager
def open_frames(
    path: str | PathLike[str] | BytesIO, first: int = 0
) -> Iterator[tuple[Iterator[Tensor], float, int]]:
    """The same one by one, uint8 (H, W, 3), for videos that do not fit in memory.

    Besides their rate: about how many there will be, or 0 if the file does not say. A file may
    also be given as its bytes. Frames before the `first` are left out, and only those since the
    last key frame before it are decoded.
    """
    file = path if isinstance(path, BytesIO) else readable_file(path, "a video")
    with _opened(file) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.base_rate
        if not rate:
            raise _not_a_video(file)
        expected = round((container.duration or 0) / AV_TIME_BASE * rate)
        start: float | None = None
        if first:
            base = float(stream.time_base or 1)
            start = (stream.start_time or 0) * base
            container.seek(round((start + first / float(rate)) / base), stream=stream)
        frames = _evenly(_decoded(container, stream, file), rate, file, start, first)
        yield frames, float(rate), max(0, expected - first)


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """What a video file says about itself: the mapping given to `write_mp4`, and what x264 adds."""
    with _opened(readable_file(path, "a video")) as container:
        return dict(container.metadata)


@contextmanager
def _opened(file: Path | BytesIO) -> "Iterator[InputContainer]":
    import av

    source = file if isinstance(file, BytesIO) else str(file)
    try:
        with av.open(source, "r", metadata_errors="replace") as container:
            if not container.streams.video:
                raise _sound_only(file) if container.streams.audio else _not_a_video(file)
            yield container
    except av.FFmpegError as error:
        raise _not_a_video(file) from error


def _decoded(
    container: "InputContainer", stream: "VideoStream", file: Path | BytesIO
) -> "Iterator[av.VideoFrame]":
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise _not_a_video(file)
        yield from packet.decode()


def _evenly(
    frames: "Iterable[av.VideoFrame]",
    rate: Fraction,
    file: Path | BytesIO,
    start: float | None,
    first: int,
) -> Iterator[Tensor]:
    """Frames of one size at the times n / rate from `start` on; at least one.

    Those before the `first` are left out; a `start` of None is the time of the first frame.
    """
    held: Tensor | None = None
    before: av.VideoFrame | None = None
    count = first
    for frame in frames:
        start = frame.time if start is None else start
        place = round((frame.time - start) * rate) if frame.time is not None else count
        if place < first:
            before = frame  # which stands where a gap begins
            continue
        if held is None and before is not None and place > first:
            held = _to_rgb(before)
        if held is not None:
            yield from repeat(held, max(0, place - count))
        count = max(count, place)
        if place < count:
            continue
        now = _to_rgb(frame)
        if held is not None and now.shape != held.shape:
            raise _not_a_video(file)
        held = now
        yield held
        count += 1
    if held is None:
        raise _not_a_video(file)


def _to_rgb(frame: "av.VideoFrame") -> Tensor:
    pixels = frame.to_ndarray(format="rgb24")
    return torch.from_numpy(np.rot90(pixels, round(frame.rotation / 90)).copy())


def _not_a_video(file: Path | BytesIO) -> MediaError:
    return MediaError(
        f"a video cannot be read: {_name(file)} is damaged or not a video; "
        "give a file that a common player can show, such as mp4"
    )


def _sound_only(file: Path | BytesIO) -> SoundOnlyError:
    return SoundOnlyError(
        f"a video cannot be read: {_name(file)} has sound only; give one with pictures"
    )


def _name(file: Path | BytesIO) -> str:
    return str(file) if isinstance(file, Path) else "what was given"
