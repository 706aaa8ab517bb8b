"""What is wrong with a clip, whatever it was to show: seen from its pixels alone.

Each detector has a score and a limit between true clips of the toybox and the same clips spoilt.
Limits were chosen on 400 scenes of the training split; docs/evaluation.md has the rates on others.

Axes: F frames, H W height and width of pixels or of the small pictures made of them, C colours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from overcrank.shapes import PIXELS_PER_CELL

SIDE = 64
"""Every few pixels are enough: about so many of the shorter side."""
BORDERS = PIXELS_PER_CELL
"""Tiles of a decoder end at multiples of a latent cell."""
ONE_COLOUR = 1.5
"""Standard deviation of the pixels of a frame of one colour, in 255ths, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """`score` has passed `limit`; `message` says what is seen and where, in words."""

    name: str
    score: float
    limit: float
    message: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the detectors look at: `frames` uint8 (F, H, W, 3), and small ones, float from 0 to
    255, whose shorter side has some 32 pixels. `seconds` is the time of one frame."""

    frames: Tensor
    small_FHWC: Tensor
    seconds: float

    @classmethod
    def of(cls, frames: Tensor, frame_rate: float) -> "Seen":
        """Every few pixels, then means of 2 x 2 of them."""
        _, height, width, _ = frames.shape
        step = max(1, min(height, width) // SIDE)
        picked = frames[:, ::step, ::step]
        picked = picked[:, : picked.shape[1] // 2 * 2, : picked.shape[2] // 2 * 2].float()
        small = picked[:, ::2, ::2] + picked[:, 1::2, ::2]
        small = small + picked[:, ::2, 1::2] + picked[:, 1::2, 1::2]
        return cls(frames, small / 4, 1 / frame_rate)

    def at(self, frame: int) -> str:
        """A time in words."""
        return f"at {frame * self.seconds:.2f} s"


def find_artefacts(frames: Tensor, frame_rate: float, *, still: bool = False) -> list[Artefact]:
    """What is wrong with a clip, uint8 (F, H, W, 3).

    That nothing moves is a fault unless the clip is to show something that stands still: `still`.
    A clip of one colour is told once, not as all that it is besides. Strobing and drift are looked
    for in 9 frames and more, an end flash in 17.
    """
    seen = Seen.of(frames, frame_rate)
    moving = tuple(each for each in MOVING if not (still and each.measure is _frozen))
    return list(_found(BLANK, seen)) or list(_found(moving, seen))


def not_finite(video: Tensor, name: str = "the video") -> Artefact | None:
    """Numbers that are none or infinite, in pixels before they are rounded; any shape."""
    wrong = int((~video.isfinite()).sum())
    if not wrong:
        return None
    message = f"{wrong} of the {video.numel()} numbers of {name} are none or infinite"
    return Artefact(name="not a number", score=wrong, limit=0, message=message)


Measured = tuple[float, str]
"""A score, and what to say of it if it passes the limit."""


@dataclass(frozen=True, slots=True)
class Detector:
    """Finds what has a score above the limit, or below it."""

    name: str
    limit: float
    above: bool
    measure: Callable[[Seen], Measured]


def _found(detectors: tuple[Detector, ...], seen: Seen) -> Iterator[Artefact]:
    for each in detectors:
        score, message = each.measure(seen)
        if score > each.limit if each.above else score < each.limit:
            yield Artefact(name=each.name, score=score, limit=each.limit, message=message)


def _spread(seen: Seen) -> Tensor:
    """How much the pixels of each frame differ, in the colour that differs most: (F,)."""
    return seen.small_FHWC.flatten(1, 2).std(1).amax(1)


def _black(seen: Seen) -> Measured:
    brightest = float(_ranked(seen.small_FHWC[:: _every(seen)].amax(3).flatten(), 0.99))
    return brightest, f"the clip is black: nearly all is below {brightest:.0f} of 255"


def _green(seen: Seen) -> Measured:
    red, green, blue = seen.small_FHWC[:: _every(seen)].unbind(3)
    share = float((green - torch.maximum(red, blue) > 50).float().mean())
    return share, f"the clip is green: {share:.0%} of it, as where a decoder had no colours"


def _constant(seen: Seen) -> Measured:
    most = float(_spread(seen).max())
    return most, f"the clip is of one colour: pixels of a frame differ by {most:.1f} of 255"


def _blank(seen: Seen) -> Measured:
    blank = (_spread(seen) < ONE_COLOUR).nonzero().flatten().tolist()
    where = seen.at(blank[0]) if blank else "nowhere"
    return len(blank), f"frames of one colour: {len(blank)}, the first {where}"


def _frozen(seen: Seen) -> Measured:
    """The most that any part differs from the first frame: one part in two hundred."""
    if len(seen.small_FHWC) < 2:
        return float("inf"), ""
    grey_FHW = seen.small_FHWC[:: _every(seen)].mean(3)
    change_FN = (grey_FHW[1:] - grey_FHW[0]).abs().flatten(1)
    most = float(_ranked(change_FN, 0.995).max())
    return most, (
        f"nothing moves: from the first frame to the last no part changes by more than {most:.1f} "
        "of 255; right only if that was asked for"
    )


def _strobing(seen: Seen) -> Measured:
    """Of an alternation by +-a, a: the root mean square of second differences, by 4. Four of them
    do not count: they may be a cut or a single flash."""
    grey_F = seen.small_FHWC.mean((1, 2, 3))
    if len(grey_F) < 9:
        return 0.0, ""
    bend = (grey_F[2:] - 2 * grey_F[1:-1] + grey_F[:-2]).abs() / 4
    kept = bend.sort().values[: -min(4, len(bend) // 4)]
    score, where = float(kept.square().mean().sqrt()), seen.at(int(bend.argmax()) + 1)
    return score, f"the brightness flickers by {score:.1f} of 255 from frame to frame, most {where}"


def _seam(seen: Seen) -> Measured:
    """By how much pixels jump across a border, the same way along most of it, above the largest
    jump of four neighbours. A straight edge of the picture that lies just there is one, too."""
    frames = seen.frames[:: max(1, len(seen.frames) // 8)]
    best, where = 0.0, "nowhere"
    for name, turned in (("row", frames), ("column", frames.transpose(1, 2))):
        along = max(1, turned.shape[2] // SIDE)
        for border in range(BORDERS, turned.shape[1] - 2, BORDERS):
            jump = turned[:, border - 3 : border + 3, ::along].float().mean(3).diff(dim=1)
            beside = jump[:, [0, 1, 3, 4]].abs().amax(1)
            excess = max(
                float(_ranked((way * jump[:, 2] - beside).flatten(), 0.3)) for way in (1, -1)
            )
            if excess > best:
                best, where = excess, f"{name} {border}"
    return best, f"a seam along {where}: pixels jump by {best:.1f} of 255 more than beside it"


def _drift(seen: Seen) -> Measured:
    """How far three quarters of the pixels change the same way from the first eighth of a clip to
    the last, step by step: half of it at once is no drift but something that happens."""
    if len(seen.small_FHWC) < 9:
        return 0.0, ""
    eighths = torch.stack([part.median(0).values for part in seen.small_FHWC.tensor_split(8)])
    chroma = eighths.amax(3, keepdim=True) - eighths.amin(3, keepdim=True)
    shift_8NC = torch.cat([eighths, chroma], 3).flatten(1, 2)
    shift_8NC = shift_8NC - shift_8NC[:1].clone()
    curve_8C = shift_8NC.median(1).values
    gradual = curve_8C.diff(dim=0).abs().amax(0) <= curve_8C[-1].abs() / 2
    last_CN = shift_8NC[-1].T
    far = torch.maximum(_ranked(last_CN, 0.25), _ranked(-last_CN, 0.25)) * gradual
    which, score = int(far.argmax()), float(far.max())
    name, total = ("red", "green", "blue", "saturation")[which], float(curve_8C[-1, which])
    return score, f"the colours drift: {name} by {total:+.0f} of 255 over the clip"


def _end_flash(seen: Seen) -> Measured:
    """The largest jump in brightness of a median pixel in the last 8 frames, in times of the
    largest before, and of 1."""
    grey_FN = seen.small_FHWC.mean(3).flatten(1)
    if len(grey_FN) < 17:
        return 0.0, ""
    jump = grey_FN.diff(dim=0).median(1).values
    before, last = jump[:-8].abs(), jump[-8:]
    frame = int(last.abs().argmax())
    score = float(last.abs().max() / before.max().clamp(min=1))
    when = seen.at(len(before) + frame + 1)
    return score, (
        f"a flash near the end, {when}: brightness jumps by {float(last[frame]):+.0f} of 255, "
        f"{score:.1f} times any jump before"
    )


def _every(seen: Seen) -> int:
    return max(1, len(seen.small_FHWC) // 16)


def _ranked(values: Tensor, part: float) -> Tensor:
    """The value of that rank along the last axis; torch.quantile has a limit."""
    count = values.shape[-1]
    return values.kthvalue(min(count, int(part * count) + 1)).values


BLANK = (
    Detector("black", 24.0, False, _black),
    Detector("green", 0.9, True, _green),
    Detector("constant", ONE_COLOUR, False, _constant),
)
MOVING = (
    Detector("blank frames", 0.0, True, _blank),
    Detector("frozen", 16.0, False, _frozen),
    Detector("strobing", 1.0, True, _strobing),
    Detector("seam", 2.0, True, _seam),
    Detector("colour drift", 8.0, True, _drift),
    Detector("end flash", 3.0, True, _end_flash),
)
ARTEFACTS = tuple(each.name for each in (*BLANK, *MOVING))
"""The names of what `find_artefacts` finds."""
