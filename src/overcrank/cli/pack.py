"""`overcrank pack`: what training left becomes a model."""

from pathlib import Path
from typing import Annotated

import typer


def pack_command(
    run: Annotated[Path, typer.Argument(help="Folder of a run that trained a transformer.")],
    folder: Annotated[Path, typer.Argument(help="The new model; its name is the last part.")],
    vae: Annotated[
        str | None,
        typer.Option(help="Another autoencoder than the run's, with the same encoder."),
    ] = None,
    upscaler: Annotated[
        Path | None,
        typer.Option(help="What examples/fit_upsampler.py made: clips in two passes."),
    ] = None,
    student: Annotated[
        Path | None,
        typer.Option(help="A run of kind distil: takes the first pass without guidance."),
    ] = None,
) -> None:
    """Join a trained transformer and its autoencoder into a model that makes clips."""
    from overcrank.train.pack import pack

    said = pack(run, folder, vae, upscaler, student).defaults
    print(
        f"{folder}: clips of {said.frames} frames, {said.width} x {said.height}, at "
        f"{said.frame_rate:g} frames a second"
    )
