"""Pictures from strangers: decoded in a process of its own, with little memory and time."""

import subprocess
import sys
from pathlib import Path

from overcrank.serve import picture_process
from overcrank.serve.refusals import Refused


def as_png(content: bytes, field: str = "input_reference") -> bytes:
    """The same picture, upright and over white, as PNG; refused in words if it is none.

    `field` is where a client finds it.
    """
    program = str(Path(picture_process.__file__))
    try:
        done = subprocess.run(
            [sys.executable, "-I", program],
            input=content,
            capture_output=True,
            check=False,
            timeout=2 * picture_process.SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise _refused("takes too long to read", len(content), field) from None
    if done.returncode == 3:
        raise _refused(
            f"has more than {picture_process.MOST_PIXELS // 10**6} megapixels", len(content), field
        )
    if done.returncode != 0 or not done.stdout:
        raise _refused("is damaged or none", len(content), field)
    return done.stdout


def _refused(what: str, length: int, field: str) -> Refused:
    kinds = ", ".join(picture_process.FORMATS)
    return Refused(
        400,
        "invalid_picture",
        f"the picture {what}, got {length} bytes: send one of these kinds: {kinds}",
        param=field,
    )
