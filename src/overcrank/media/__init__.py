"""Pixels in and out: pictures through Pillow, video through PyAV (imported when first used)."""

from overcrank.media.files import check_output, published
from overcrank.media.fragments import codec_of, fragments, head_and_rest
from overcrank.media.images import fit_image, read_image
from overcrank.media.video import open_frames, read_frames, read_metadata, write_mp4

__all__ = [
    "check_output",
    "codec_of",
    "fit_image",
    "fragments",
    "head_and_rest",
    "open_frames",
    "published",
    "read_frames",
    "read_image",
    "read_metadata",
    "write_mp4",
]
