"""overcrank generate: a clip from text, and a picture if there is one."""

import json as json_format
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overcrank.cli import wish
from overcrank.cli.progress import Progress
from overcrank.cli.values import naming_flags, weighted, whole

if TYPE_CHECKING:
    from overcrank.estimate import Estimate
    from overcrank.video import Video
    from overcrank.weights import Extras

LONG = 30.0
"""Seconds from which on a clip is announced."""


def generate_command(
    prompt: wish.Prompt,
    output: Annotated[str, typer.Option("--output", "-o", help="The mp4 to write.")],
    image: wish.Picture = None,
    model: wish.Source = "pocket",
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
    width: wish.Width = None,
    height: wish.Height = None,
    num_frames: wish.NumFrames = None,
    seconds: wish.Seconds = None,
    fps: wish.Fps = None,
    steps: wish.Steps = None,
    guidance_scale: wish.GuidanceScale = None,
    seed: wish.Seed = 0,
    dtype: wish.DType = "auto",
    set_: wish.Settings = None,
    metadata: Annotated[
        bool, typer.Option("--metadata/--no-metadata", help="Write the prompt into the file.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Make a clip from text."""
    with naming_flags():
        start = perf_counter()
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
        }
        wanted = wish.Wish.of(request, set_, seconds, image, reference)
        extras: Extras = {
            "vae": vae,
            "text_encoder": text_encoder,
            "upscaler": upscaler,
            "loras": [weighted(each) for each in lora or []],
            "in_context": reference is not None,
            "allow_mismatch": allow_mismatch,
            "progress": sys.stderr.isatty(),
        }
        video, spent, remarks = _make(start, wanted, output, (model, extras), dtype, metadata)
    summary = _summary(video, output, spent, remarks)
    print(json_format.dumps(summary) if json else _in_words(summary))


def _make(
    start: float,
    wanted: wish.Wish,
    output: str,
    model: tuple[str, "Extras"],
    dtype: str,
    metadata: bool,
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
    request, remarks = wish.request_of(wanted, files.advice)
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
    size = f"{wish.counted(summary['num_frames'])} of {summary['width']} x {summary['height']}"
    lines = [
        f"{summary['path']}: {size} at {summary['frame_rate']:g} frames a second",
        f"{summary['realtime_factor']:.2f} times as fast as it plays ({stages})",
        f"besides: {besides}; in all {summary['seconds']['total']:.2f} s",
        *(f"note: {warning}" for warning in summary["warnings"]),
    ]
    return "\n".join(lines)
