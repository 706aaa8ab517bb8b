"""Read a picture, fit it to the size of a clip, and make it look like a frame of video."""

import io
import warnings
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from overcrank.errors import MediaError
from overcrank.media.files import readable_file

MAX_PIXELS = 64_000_000
"""Larger pictures are refused: a small file may unfold to more memory than there is."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened. Pillow knows more, among them formats that start another program."""


def read_image(path: str | PathLike[str]) -> Image.Image:
    """A picture in mode RGB, turned upright as its EXIF says, transparent parts over white."""
    file = readable_file(path, "a picture")
    try:
        # Pillow warns of, or refuses, a very large picture; both become our own refusal.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                _check_size(image.size, file)
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except MediaError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _too_large(file) from error
    except Exception as error:  # a damaged file makes a decoder raise anything
        raise MediaError(
            f"a picture cannot be read: {file} is damaged or not a picture; "
            f"give a file of one of these kinds: {', '.join(FORMATS)}"
        ) from error


def fit_image(image: Image.Image, height: int, width: int) -> Tensor:
    """The middle of a picture in the shape of a clip: (3, height, width) float in [-1, 1].

    What the aspect ratio leaves over is cut off on both sides alike; the rest is resized with an
    antialiasing Lanczos filter.
    """
    fitted = ImageOps.fit(_to_rgb(image), (width, height), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(fitted))
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def as_video_frame(pixels: Tensor, crf: int = 29) -> Tensor:
    """A picture (3, height, width) in [-1, 1], even sides, blurred and through H.264 once.

    Models were trained on frames of compressed video and take a flawless picture for a still.
    `crf` is x264's quality, 0 best. Source: Lightricks LTX-Video, `load_image_to_tensor`.
    """
    frame = ((_blurred(pixels) / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8)
    compressed = _through_h264(frame.permute(1, 2, 0).cpu().contiguous(), crf)
    return compressed.permute(2, 0, 1).to(pixels) / 127.5 - 1


def _blurred(pixels: Tensor) -> Tensor:
    """A Gaussian of standard deviation 1, cut to 3 x 3, the edges mirrored."""
    row = torch.exp(-0.5 * torch.tensor([-1.0, 0.0, 1.0]).square())
    kernel = torch.outer(row, row) / row.sum() ** 2
    padded = F.pad(pixels[:, None].float(), (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, kernel[None, None].to(pixels.device))[:, 0]


def _through_h264(frame: Tensor, crf: int) -> Tensor:
    """One frame, uint8 (height, width, 3), written and read again in memory."""
    import av

    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv420p"
        stream.codec_context.options = {"crf": str(crf), "preset": "veryfast"}
        stream.codec_context.thread_count = 1  # the same picture on every machine
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.numpy(), format="rgb24")))
        container.mux(stream.encode(None))
    memory.seek(0)
    with av.open(memory, "r") as written:
        decoded = next(written.decode(video=0))
        return torch.from_numpy(decoded.to_ndarray(format="rgb24"))


def _check_size(size: tuple[int, int], file: Path) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(file)
    if width * height == 0:
        raise MediaError(
            f"a picture needs at least one pixel, got {width} x {height} in {file}: "
            "give a picture with something on it"
        )


def _too_large(file: Path) -> MediaError:
    return MediaError(
        f"a picture is too large, got more than {MAX_PIXELS // 1_000_000} megapixels in {file}: "
        "scale it down first"
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise MediaError(
            "a picture has 8 or 16 bits a channel, got floating point numbers, whose range "
            "nobody knows: convert it to PNG first"
        )
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip instead of scale
        image = Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
