"""overcrank generate: a clip from text, and a picture if there is one."""

import json as json_format
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overcrank.cli.progress import Progress
from overcrank.cli.values import SETTABLE, naming_flags, number, read_settings, weighted, whole
from overcrank.errors import RequestError
from overcrank.shapes import FRAMES_PER_CELL, LatentSize

if TYPE_CHECKING:
    from overcrank.estimate import Estimate
    from overcrank.flow import Guidance, GuidanceByLevel
    from overcrank.request import Request
    from overcrank.video import Video
    from overcrank.weights import Extras
    from overcrank.weights.advice import Advice

LONG = 30.0
"""Seconds from which on a clip is announced."""

OWN = "By default the model's own."


def generate_command(
    prompt: Annotated[str, typer.Argument(help="What the clip shows.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The mp4 to write.")],
    image: Annotated[Path | None, typer.Option(help="A picture to begin with.")] = None,
    model: Annotated[
        str, typer.Option(help="A preset, a folder or file of any format, or a hub id.")
    ] = "pocket",
    vae: Annotated[
        str | None, typer.Option(help="Another autoencoder than the model's own: file, folder, id.")
    ] = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="T5 for a published model: folder, file or hub id.")
    ] = None,
    upscaler: Annotated[
        str | None,
        typer.Option(help="Latent upscaler, a file or OWNER/NAME/FILE: two passes."),
    ] = None,
    passes: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="INT", help="1 or 2; by default 2 with an upscaler."),
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH[:WEIGHT]", help="A LoRA file; may be repeated."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="A video to follow; needs an IC-LoRA made for such.")
    ] = None,
    enhance: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A language model that makes a short prompt long."),
    ] = None,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Run files that do not belong together.")
    ] = False,
    width: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="INT", help=f"In pixels, a multiple of 32. {OWN}"),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="INT", help=f"In pixels, a multiple of 32. {OWN}"),
    ] = None,
    num_frames: Annotated[
        int | None, typer.Option(parser=whole, metavar="INT", help=f"8n + 1. {OWN}")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            parser=number,
            metavar="NUMBER",
            help="Instead of --num-frames: the nearest possible length.",
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(parser=number, metavar="NUMBER", help=f"Frames a second. {OWN}")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(parser=whole, metavar="INT", help=f"Denoising steps. {OWN}")
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(
            parser=number,
            metavar="NUMBER",
            help=f"How closely the text is followed; 1 is off, 0 ignores it. {OWN}",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(parser=whole, metavar="INT", help="The same seed gives the same clip.")
    ] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help=f"guidance.rescale=0.7 and the like. Keys: {', '.join(SETTABLE)}.",
        ),
    ] = None,
    metadata: Annotated[
        bool, typer.Option("--metadata/--no-metadata", help="Write the prompt into the file.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Make a clip from text."""
    with naming_flags():
        start = perf_counter()
        settings = read_settings(set_ or [])
        refinements = {
            key.removeprefix("guidance."): settings.pop(key)
            for key in list(settings)
            if key.startswith("guidance.")
        }
        request = {
            "prompt": prompt,
            "width": width,
            "height": height,
            "num_frames": num_frames,
            "frame_rate": fps,
            "num_inference_steps": steps,
            "guidance": guidance_scale,
            "seed": seed,
            "passes": passes,
            "enhance": enhance,
            **settings,
        }
        wish = Wish(request, refinements, seconds, image, reference)
        extras: Extras = {
            "vae": vae,
            "text_encoder": text_encoder,
            "upscaler": upscaler,
            "loras": [weighted(each) for each in lora or []],
            "in_context": reference is not None,
            "allow_mismatch": allow_mismatch,
            "progress": sys.stderr.isatty(),
        }
        video, spent, remarks = _make(start, wish, output, (model, extras), dtype, metadata)
    summary = _summary(video, output, spent, remarks)
    print(json_format.dumps(summary) if json else _in_words(summary))


@dataclass(frozen=True, slots=True)
class Wish:
    """What the words of a command come to."""

    request: dict[str, Any]
    refinements: dict[str, Any]
    """Fields of guidance besides its scale."""
    seconds: float | None
    image: Path | None
    reference: Path | None


def _make(
    start: float, wish: Wish, output: str, model: tuple[str, "Extras"], dtype: str, metadata: bool
) -> tuple["Video", dict[str, float], list[str]]:
    """The clip, the seconds besides its own stages and since `start` in all, and remarks."""
    from overcrank.media import check_output
    from overcrank.pipeline import Pipeline
    from overcrank.weights import ModelFiles

    # Whatever can be refused without the networks is refused before they are loaded.
    check_output(output)
    source, extras = model
    files = ModelFiles.find(source, **extras)
    files.check_prompt()
    request, remarks = _request(wish, files.advice)
    with closing(Progress()) as progress:
        progress.stage("load")
        pipe = Pipeline.of_files(files, dtype=dtype)
        pipe.reads_once = True
        loaded = perf_counter()
        progress.stage("text")
        if request.enhance is not None:
            pipe.enhancer(request.enhance)  # what is wrong with it is said before all the rest
        _announce(pipe.estimate(request))
        begun = perf_counter()
        video = pipe.generate(replace(request, on_step=progress.on_step))
        progress.stage("write")
        made = perf_counter()
        video.save(output, metadata=metadata)
        end = perf_counter()
    prepared = begun - loaded + video.report.seconds["prepare"]
    spent = {
        "prepare": prepared,
        "load": loaded - start,
        "write": end - made,
        "total": end - start,
    }
    return video, spent, remarks


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _announce(estimate: "Estimate") -> None:
    """Say beforehand what takes long."""
    seconds = estimate.seconds
    if seconds > LONG:
        unit, name = (3600, "h") if seconds > 3600 else (60, "min") if seconds > 60 else (1, "s")
        about = f"{seconds / unit:.{1 if seconds / unit < 10 else 0}f} {name}"
        print(
            f"this will take about {about} and at least {_bytes(estimate.memory)} of memory",
            file=sys.stderr,
        )


def _request(wish: Wish, advice: "Advice") -> tuple["Request", list[str]]:
    from overcrank.conditioning import Reference
    from overcrank.flow import Guidance
    from overcrank.media import read_image
    from overcrank.request import Request, check_number, check_size
    from overcrank.shapes import MAX_FRAMES

    request, remarks = Request(**wish.request), []
    if wish.refinements:
        replace(request, guidance=Guidance(1.0, **wish.refinements))
        scale = wish.request["guidance"]
        own = advice.walk.guidance if scale is None else Guidance(scale)
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
                f"{wish.seconds:g} s at {rate:g} frames a second became {_count(frames)} "
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


def nearest_frames(frames: float) -> int:
    """The nearest possible number of frames, at least 1."""
    cells = round((frames - 1) / FRAMES_PER_CELL)
    return LatentSize(max(0, cells) + 1, 1, 1).clip.frames


def _summary(
    video: "Video", path: str, spent: dict[str, float], remarks: list[str]
) -> dict[str, Any]:
    recipe, report = video.recipe, video.report
    guidance = recipe["guidance"]
    assert isinstance(guidance, dict)
    return {
        "path": path,
        "width": recipe["width"],
        "height": recipe["height"],
        "num_frames": recipe["num_frames"],
        "frame_rate": recipe["frame_rate"],
        "seed": recipe["seed"],
        "steps": recipe["num_inference_steps"],
        "guidance_scale": guidance.get("scale"),
        "seconds": {**report.seconds, **spent},
        "realtime_factor": report.realtime_factor,
        "peak_memory": report.peak_memory,
        "warnings": [*remarks, *report.warnings],
    }


def _in_words(summary: dict[str, Any]) -> str:
    spent = {name: f"{name} {seconds:.2f} s" for name, seconds in summary["seconds"].items()}
    stages = ", ".join(spent[name] for name in ("text", "denoise", "decode"))
    besides = ", ".join(spent[name] for name in ("load", "prepare", "write"))
    size = f"{_count(summary['num_frames'])} of {summary['width']} x {summary['height']}"
    lines = [
        f"{summary['path']}: {size} at {summary['frame_rate']:g} frames a second",
        f"{summary['realtime_factor']:.2f} times as fast as it plays ({stages})",
        f"besides: {besides}; in all {summary['seconds']['total']:.2f} s",
        *(f"note: {warning}" for warning in summary["warnings"]),
    ]
    return "\n".join(lines)


def _count(frames: int) -> str:
    return "1 frame" if frames == 1 else f"{frames} frames"
