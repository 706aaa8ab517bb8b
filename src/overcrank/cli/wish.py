"""What a clip may be asked for on the command line, and the request that it comes to."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from overcrank.cli.values import SETTABLE, number, read_settings, whole
from overcrank.errors import RequestError
from overcrank.shapes import nearest_frames

if TYPE_CHECKING:
    from overcrank.flow import Guidance, GuidanceByLevel
    from overcrank.request import Request
    from overcrank.weights.advice import Advice

_OWN = "By default the model's own."


def _whole(words: str) -> object:
    return typer.Option(parser=whole, metavar="INT", help=words)


def _number(words: str) -> object:
    return typer.Option(parser=number, metavar="NUMBER", help=words)


Prompt = Annotated[str, typer.Argument(help="What the clip shows.")]
Picture = Annotated[Path | None, typer.Option(help="A picture to begin with.")]
Source = Annotated[str, typer.Option(help="A preset, a folder or file of any format, or a hub id.")]
Width = Annotated[int | None, _whole(f"In pixels, a multiple of 32. {_OWN}")]
Height = Annotated[int | None, _whole(f"In pixels, a multiple of 32. {_OWN}")]
NumFrames = Annotated[int | None, _whole(f"8n + 1. {_OWN}")]
Seconds = Annotated[float | None, _number("Instead of --num-frames: the nearest possible length.")]
Fps = Annotated[float | None, _number(f"Frames a second. {_OWN}")]
Steps = Annotated[int | None, _whole(f"Denoising steps. {_OWN}")]
GuidanceScale = Annotated[
    float | None,
    _number(f"How closely the text is followed; 1 is off, 0 ignores it. {_OWN}"),
]
Seed = Annotated[int, _whole("The same seed gives the same clip.")]
DType = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help=f"guidance.rescale=0.7 and the like. Keys: {', '.join(SETTABLE)}.",
    ),
]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the words of a command come to."""

    request: dict[str, Any]
    refinements: dict[str, Any]
    """Fields of guidance besides its scale."""
    seconds: float | None
    image: Path | None
    reference: Path | None = None

    @classmethod
    def of(
        cls,
        request: dict[str, Any],
        settings: list[str] | None,
        seconds: float | None,
        image: Path | None,
        reference: Path | None = None,
    ) -> Self:
        """`settings` are those of `--set`: fields of the request, or of its guidance."""
        plain = read_settings(settings or [])
        refinements = {
            key.removeprefix("guidance."): plain.pop(key)
            for key in list(plain)
            if key.startswith("guidance.")
        }
        return cls({**request, **plain}, refinements, seconds, image, reference)


def request_of(wish: Wish, advice: "Advice") -> tuple["Request", list[str]]:
    """The request, with what a model advises where a flag leaves it open, and remarks."""
    from overcrank.conditioning import Reference
    from overcrank.flow import Guidance
    from overcrank.media import read_image
    from overcrank.request import Request, check_number, check_size
    from overcrank.shapes import MAX_FRAMES

    request, remarks = Request(**wish.request), []
    if wish.refinements:
        replace(request, guidance=Guidance(1.0, **wish.refinements))
        scale = wish.request["guidance"]
        advised = advice.guided or advice.walk  # refinements are of guidance, which a student lacks
        own = advised.guidance if scale is None else Guidance(scale)
        request = replace(request, guidance=refined(own, wish.refinements))
    if wish.seconds is not None:
        if request.num_frames is not None:
            raise RequestError(
                f"--seconds and --num-frames say the same, got {wish.seconds:g} and "
                f"{request.num_frames}: give one"
            )
        rate = request.frame_rate or advice.frame_rate
        check_number("--seconds", wish.seconds, 0.001, MAX_FRAMES // rate)
        frames = nearest_frames(wish.seconds * rate)
        request = replace(request, num_frames=frames)
        if frames != wish.seconds * rate:
            remarks.append(
                f"{wish.seconds:g} s at {rate:g} frames a second became {counted(frames)} "
                f"({frames / rate:.3g} s): a clip has 8n + 1"
            )
    check_size(
        request.num_frames or advice.size.frames,
        request.height or advice.size.height,
        request.width or advice.size.width,
    )
    if wish.image is not None:
        request = replace(request, image=read_image(wish.image))
    if wish.reference is not None:
        request = replace(request, conditions=[Reference(frames=wish.reference)])
    return request, remarks


def refined(
    guidance: "Guidance | GuidanceByLevel", fields: dict[str, Any]
) -> "Guidance | GuidanceByLevel":
    """With some fields changed, in every entry of a list."""
    from overcrank.flow import Guidance

    if isinstance(guidance, Guidance):
        return replace(guidance, **fields)
    entries = tuple(replace(entry, **fields) for entry in guidance.entries)
    return replace(guidance, entries=entries)


def counted(frames: int) -> str:
    """In words."""
    return "1 frame" if frames == 1 else f"{frames} frames"
