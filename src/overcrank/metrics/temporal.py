"""What an autoencoder does to time: errors that flicker, first and last frames that are worse.

Axes: B batch, C colours, F frames, H W height and width.
"""

from torch import Tensor

from overcrank.errors import SizeError
from overcrank.metrics.pixels import psnr


def flicker(video_BCFHW: Tensor, reference_BCFHW: Tensor) -> tuple[Tensor, Tensor]:
    """How restless the error e = video - reference is, (B,) twice.

    The root mean square of e[t + 1] - e[t] in 255ths of the range of a pixel; and its square by
    twice the mean square of e: 0 if the error stands still, 1 if each frame has one of its own, 2
    if it changes sign with every frame. Pixels in [-1, 1]; at least two frames.
    """
    if video_BCFHW.shape[2] < 2:
        raise SizeError(f"flicker is a change, got {video_BCFHW.shape[2]} frame: give two or more")
    error = (video_BCFHW.float().clamp(-1, 1) - reference_BCFHW.float()) * 127.5
    change = error.diff(dim=2).square().flatten(1).mean(1)
    energy = error.square().flatten(1).mean(1)
    return change.sqrt(), change / (2 * energy).clamp(min=1e-10)


def ends(video_BCFHW: Tensor, reference_BCFHW: Tensor) -> tuple[Tensor, Tensor]:
    """PSNR of the first frame, and of the last, less that of the middle half: dB, (B,) each.

    Pixels in [-1, 1]; at least 9 frames.
    """
    count = video_BCFHW.shape[2]
    if count < 9:
        raise SizeError(f"ends have a middle between them, got {count} frames: give 9 or more")
    middle = slice(count // 4, count - count // 4)
    first, inner, last = (
        psnr(video_BCFHW[:, :, part], reference_BCFHW[:, :, part])
        for part in (slice(0, 1), middle, slice(count - 1, None))
    )
    return first - inner, last - inner
