"""Reads a picture from standard input and writes it as PNG: a program of its own, see `uploads`.

It imports nothing of overcrank, so that it starts at once and has little to lose.
"""

import io
import resource
import sys

MEMORY = 1 << 30
SECONDS = 10
MOST_PIXELS = 64_000_000
LONGEST = 2048
"""Pixels of a side; a larger picture is made smaller."""
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def main() -> int:
    """The exit code: 0 done, 3 too large, 4 no picture."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # asked below, before anything is unpacked
    try:
        with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=FORMATS) as given:
            if given.width * given.height > MOST_PIXELS:
                return 3
            given.draft("RGB", (LONGEST, LONGEST))
            picture = ImageOps.exif_transpose(given).convert("RGBA")
        picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        white = Image.new("RGBA", picture.size, "white")
        flat = Image.alpha_composite(white, picture).convert("RGB")
        flat.save(sys.stdout.buffer, "PNG", compress_level=1)
    except Exception as error:  # a damaged file makes a decoder raise anything
        raise SystemExit(4) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
