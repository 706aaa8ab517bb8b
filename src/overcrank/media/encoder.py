"""Frames into an H.264 track, with the settings of all clips that we write.

Colours follow ITU-R BT.709, limited range, and the track says so: players would otherwise guess
from the size of the picture.
"""

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from overcrank.errors import MediaError

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

BT709 = 1
"""Primaries, transfer and matrix alike. Source: ITU-T H.273, tables 2 to 4, value 1."""

LIMITED_RANGE = 1
"""Luma from 16 to 235. Source: libavutil `AVCOL_RANGE_MPEG`."""

PRESET = "veryfast"
"""Half the processor time of "medium" and no larger a file, for 1.4 dB (docs/log.md)."""

MIN_FRAME_RATE = 0.1
"""Frames a second are stored as a fraction of small numbers; less would be rounded."""


class Encoder:
    """Writes frames, uint8 (n, H, W, 3), into a new track of a container.

    `crf` is x264's quality, 0 best. `reproducible`: equal frames give equal bytes, on one thread,
    in a slightly larger file. `key_every`: a track can be read from every so many frames on, at
    least; x264 takes 250. `at_once`: no frame waits for those after it, in a larger file.
    """

    def __init__(
        self,
        container: "OutputContainer",
        rate: Fraction,
        *,
        crf: int,
        reproducible: bool = False,
        key_every: int | None = None,
        at_once: bool = False,
    ) -> None:
        self._container, self._rate, self._crf = container, rate, crf
        self._reproducible, self._key_every, self._at_once = reproducible, key_every, at_once
        self._stream: VideoStream | None = None
        self._count = 0

    def add(self, chunk: Tensor) -> None:
        """Frames uint8 (n, H, W, 3), of one size all the time."""
        from av import VideoFrame

        _check_chunk(chunk, self._stream)
        if self._stream is None:
            self._stream = self._begin(chunk.shape[2], chunk.shape[1])
        for pixels in chunk.cpu().numpy():
            rgb = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = rgb.reformat(
                format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED_RANGE
            )
            frame.pts, frame.time_base = self._count, 1 / self._rate
            self._container.mux(self._stream.encode(frame))
            self._count += 1

    def end(self) -> None:
        """Write what was held back."""
        if self._stream is None:
            raise MediaError("a clip needs frames, got none: give at least one")
        self._container.mux(self._stream.encode(None))

    def _begin(self, width: int, height: int) -> "VideoStream":
        stream = self._container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.options = {"preset": PRESET, "crf": str(self._crf)}
        context.thread_count = 0  # as many as there are cores
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = LIMITED_RANGE
        if self._key_every is not None:
            context.gop_size = self._key_every
        if self._at_once:
            context.options |= {"tune": "zerolatency"}
        if self._reproducible:  # x264's macroblock tree differs from run to run, on one thread too
            context.thread_count = 1
            context.options |= {"x264-params": "mbtree=0"}
        return stream


def rational(frame_rate: float) -> Fraction:
    """Frames a second as a file states them."""
    if not math.isfinite(frame_rate) or frame_rate < MIN_FRAME_RATE:
        raise MediaError(
            f"a frame rate is a number of at least {MIN_FRAME_RATE}, got {frame_rate}: "
            "try 24 frames a second"
        )
    return Fraction(frame_rate).limit_denominator(1001)


def _check_chunk(chunk: Tensor, stream: "VideoStream | None") -> None:
    if chunk.dtype != torch.uint8 or chunk.ndim != 4 or chunk.shape[3] != 3:
        raise MediaError(
            "frames are uint8 of shape (n, height, width, 3), "
            f"got {chunk.dtype} of shape {tuple(chunk.shape)}: convert them first"
        )
    height, width = chunk.shape[1:3]
    if height < 2 or width < 2 or height % 2 or width % 2:
        raise MediaError(
            f"mp4 needs an even width and height, got {width} x {height}: "
            f"try {max(2, width - width % 2)} x {max(2, height - height % 2)}"
        )
    if stream is not None and (width, height) != (stream.width, stream.height):
        raise MediaError(
            f"all frames of a clip have one size, got {width} x {height} after "
            f"{stream.width} x {stream.height}: keep to the first"
        )
