"""Build a film for training an autoencoder from video files: see docs/film.md."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from overcrank.data.cuts import THUMBNAIL, check_detector, with_cuts
from overcrank.errors import MediaError, OvercrankError
from overcrank.weights.files import write_atomically

HEADER = 4096
"""Bytes at the beginning of the file. They are written last, when the number of frames is known."""


def upright(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame as players show it: telephones store theirs lying on a side."""
    turns = round(frame.rotation / 90) % 4
    if not turns:
        return frame
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), turns)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def read(path: Path, width: int, height: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame, its middle cut to the shape and scaled, and its thumbnail: uint8 (H, W, 3)."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError(f"{path} has no video: got sound or text only: give a video file")
            container.streams.video[0].thread_type = "AUTO"
            for frame in map(upright, container.decode(video=0)):
                scale = max(width / frame.width, height / frame.height)
                wide = max(width, round(frame.width * scale))
                high = max(height, round(frame.height * scale))
                scaled = frame.reformat(wide, high, "rgb24", interpolation="AREA")
                pixels = scaled.to_ndarray()
                top, left = (high - height) // 2, (wide - width) // 2
                thumbnail = scaled.reformat(*THUMBNAIL, "rgb24", interpolation="AREA").to_ndarray()
                yield pixels[top : top + height, left : left + width], thumbnail
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path} cannot be read: {error}: give a video file") from error


def write(file: BinaryIO, videos: Iterable[Path], width: int, height: int, source: str) -> int:
    """Write the film frame by frame, as long ones do not fit in memory; the number of its shots."""
    file.seek(HEADER)
    starts: list[int] = []
    count = 0
    for video in videos:
        starts.append(count)
        frames = with_cuts(read(video, width, height), lambda pair: pair[1])
        for (pixels, _), _, begins in frames:
            if begins:
                starts.append(count)
            file.write(np.ascontiguousarray(pixels))
            count += 1
        if starts[-1] == count:
            raise MediaError(f"{video} has no frames: got an empty video: give another")
    file.write(np.array(starts, dtype="<i8"))
    end = count * height * width * 3
    tensors = {
        "__metadata__": {"source": source},
        "frames": {"dtype": "U8", "shape": [count, height, width, 3], "data_offsets": [0, end]},
        "starts": {
            "dtype": "I64",
            "shape": [len(starts)],
            "data_offsets": [end, end + 8 * len(starts)],
        },
    }
    header = json.dumps(tensors).encode()
    if len(header) > HEADER - 8:
        raise MediaError(f"the source is too long: got {len(source)} letters: say it in fewer")
    file.seek(0)
    file.write((HEADER - 8).to_bytes(8, "little") + header.ljust(HEADER - 8))
    return len(starts)


def main() -> None:
    """Build and write the film in one step."""
    parser = argparse.ArgumentParser(description="Build a film: see docs/film.md.")
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("-o", "--output", type=Path, default=Path("assets/film.safetensors"))
    parser.add_argument("--height", type=int, default=288, help="of 16:9 frames, divisible by 18")
    parser.add_argument("--source", default="", help="whom to credit, kept in the file")
    arguments = parser.parse_args()
    height = arguments.height
    try:
        check_detector()
        if height < 36 or height % 18:
            low = max(36, height // 18 * 18)
            raise MediaError(
                f"the height is a multiple of 18, at least 36: got {height}: try {low}"
            )
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(arguments.output) as temporary, temporary.open("wb") as file:
            shots = write(file, arguments.videos, height * 16 // 9, height, arguments.source)
    except (OvercrankError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"{arguments.output}: {shots} shots, {arguments.output.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    main()
