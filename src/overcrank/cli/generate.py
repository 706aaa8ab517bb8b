"""overcrank generate: a clip from text, and a picture if there is one."""

import json as json_format
from dataclasses import fields, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overcrank.cli.progress import Progress
from overcrank.cli.values import number, whole
from overcrank.errors import RequestError
from overcrank.shapes import FRAMES_PER_CELL, LatentSize

if TYPE_CHECKING:
    from overcrank.video import Video

SETTABLE = ("decode_noise", "decode_sigma", "negative_prompt", "sigmas")
"""Fields of a request without a flag of their own; the fields of guidance come on top."""


def generate_command(
    prompt: Annotated[str, typer.Argument(help="What the clip shows.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The mp4 to write.")],
    image: Annotated[Path | None, typer.Option(help="A picture to begin with.")] = None,
    model: Annotated[str, typer.Option(help="A preset or a model folder.")] = "pocket",
    width: Annotated[
        int | None, typer.Option(parser=whole, metavar="INT", help="In pixels, a multiple of 32.")
    ] = None,
    height: Annotated[
        int | None, typer.Option(parser=whole, metavar="INT", help="In pixels, a multiple of 32.")
    ] = None,
    num_frames: Annotated[
        int | None, typer.Option(parser=whole, metavar="INT", help="8n + 1.")
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
        float | None, typer.Option(parser=number, metavar="NUMBER", help="Frames a second.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(parser=whole, metavar="INT", help="Denoising steps.")
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(
            parser=number, metavar="NUMBER", help="How closely the text is followed; 1 is off."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(parser=whole, metavar="INT", help="The same seed gives the same clip.")
    ] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="guidance.rescale=0.7 and the like."),
    ] = None,
    metadata: Annotated[
        bool, typer.Option("--metadata/--no-metadata", help="Write the prompt into the file.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Make a clip from text."""
    import overcrank
    from overcrank.flow import Guidance
    from overcrank.media import check_output, read_image
    from overcrank.request import MAX_FRAMES, Request, check_number

    settings = _settings(set_ or [])
    refinements = {
        key.removeprefix("guidance."): settings.pop(key)
        for key in list(settings)
        if key.startswith("guidance.")
    }
    wishes: dict[str, Any] = {
        "prompt": prompt,
        "width": width,
        "height": height,
        "num_frames": num_frames,
        "frame_rate": fps,
        "num_inference_steps": steps,
        "guidance": guidance_scale,
        "seed": seed,
        **settings,
    }
    # Whatever can be refused without the model is refused before it is loaded.
    request = Request(**wishes)
    replace(request, guidance=Guidance(1.0, **refinements))
    check_output(output)
    check_number("seconds", seconds, MAX_FRAMES, above=True)
    if seconds is not None and num_frames is not None:
        raise RequestError(
            f"--seconds and --num-frames say the same, got {seconds:g} and {num_frames}: give one"
        )
    if image is not None:
        request = replace(request, image=read_image(image))

    remarks: list[str] = []
    with Progress() as progress:
        progress.stage("load")
        pipe = overcrank.load(model, dtype=dtype)
        defaults = pipe.model.defaults
        if refinements:
            scale = defaults.guidance if guidance_scale is None else guidance_scale
            request = replace(request, guidance=Guidance(scale, **refinements))
        if seconds is not None:
            rate = fps or defaults.frame_rate
            frames = nearest_frames(seconds * rate)
            request = replace(request, num_frames=frames)
            if frames != seconds * rate:
                remarks.append(
                    f"{seconds:g} s at {rate:g} frames a second became {frames} frames "
                    f"({frames / rate:.3g} s): a clip has 8n + 1"
                )
        progress.stage("text")
        video = pipe.generate(replace(request, on_step=progress.on_step))
        progress.stage("write")
        start = perf_counter()
        video.save(output, metadata=metadata)
        written = perf_counter() - start
    summary = _summary(video, output, written, remarks)
    print(json_format.dumps(summary) if json else _in_words(summary))


def nearest_frames(frames: float) -> int:
    """The nearest possible number of frames, at least 1."""
    cells = round((frames - 1) / FRAMES_PER_CELL)
    return LatentSize(max(0, cells) + 1, 1, 1).clip.frames


def _settings(settings: list[str]) -> dict[str, Any]:
    """`--set` as fields of a request; the values are YAML."""
    import yaml

    from overcrank.flow import Guidance

    known = [*SETTABLE, *(f"guidance.{field.name}" for field in fields(Guidance))]
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or key not in known:
            raise RequestError(
                f"--set takes KEY=VALUE, got {setting!r}: the keys are {', '.join(known)}"
            )
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RequestError(
                f"the value of --set {key} cannot be read, got {text!r}: try a number"
            ) from error
    return values


def _summary(video: "Video", path: Path, written: float, remarks: list[str]) -> dict[str, Any]:
    recipe, report = video.recipe, video.report
    guidance = recipe["guidance"]
    assert isinstance(guidance, dict)
    return {
        "path": str(path),
        "width": recipe["width"],
        "height": recipe["height"],
        "num_frames": recipe["num_frames"],
        "frame_rate": recipe["frame_rate"],
        "seed": recipe["seed"],
        "steps": recipe["num_inference_steps"],
        "guidance_scale": guidance["scale"],
        "seconds": {**report.seconds, "write": written},
        "realtime_factor": report.realtime_factor,
        "peak_memory": report.peak_memory,
        "warnings": [*remarks, *report.warnings],
    }


def _in_words(summary: dict[str, Any]) -> str:
    spent = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in summary["seconds"].items())
    size = f"{summary['num_frames']} frames of {summary['width']} x {summary['height']}"
    lines = [
        f"{summary['path']}: {size} at {summary['frame_rate']:g} frames a second",
        f"{summary['realtime_factor']:.2f} times as fast as it plays ({spent})",
        *(f"note: {warning}" for warning in summary["warnings"]),
    ]
    return "\n".join(lines)
