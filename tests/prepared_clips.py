"""A folder of clips as `overcrank prepare` writes it, made of videos that PyAV synthesised."""

from pathlib import Path

from PIL import Image

from overcrank.data.prepare import Settings, prepare
from test_data_prepare import pan, video

RATE = 10.0


def write_clips(folder: Path, *, count: int = 3, captions: bool = True) -> Path:
    """Wide and tall clips of 12 to 36 frames at two rates, and a picture; returns the shards."""
    source = folder / "source"
    for number in range(count):
        name = source / f"{number:02d}.mp4"
        size = (64, 96) if number % 2 == 0 else (96, 64)
        rate = RATE * (1 + number % 2)
        video(name, pan(number + 1, frames=12 * (1 + number % 3), size=size), rate=rate)
        if captions:
            name.with_suffix(".txt").write_text(f"squares of kind {number} move", encoding="utf-8")
    Image.fromarray(pan(99, frames=1, size=(128, 128))[0].numpy()).save(source / "picture.png")
    if captions:
        (source / "picture.txt").write_text("still squares", encoding="utf-8")
    prepare(source, folder / "shards", Settings(min_seconds=0.5, min_motion=1.0))
    return folder / "shards"
