"""overcrank doctor: what this machine can do, and what is missing."""

import json as json_format
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Annotated, Any

import typer
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

FOR = {
    "prepare": "cutting videos at scene changes",
    "ray": "preparing videos on several machines",
    "perceptual": "a perceptual loss, and the perceptual distance of a report",
    "eval": "a distance in features that nobody here trained",
    "t5": "the text encoder of published checkpoints",
    "gguf": "GGUF files",
    "tensorboard": "training that TensorBoard shows",
    "reference": "comparing with diffusers: overcrank verify",
}
"""Extra of the package -> what it is good for."""


def doctor_command(
    json: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Show how clips would be computed here, how fast that is, and what is not installed."""
    import torch

    from overcrank import __version__
    from overcrank.runtime import choose
    from overcrank.runtime.machine import convolutions, describe, multiplications

    hardware = choose(None, "auto")
    report: dict[str, Any] = {"overcrank": __version__, **describe(hardware)}
    report["gigaflops"] = {
        str(dtype).removeprefix("torch."): multiplications(replace(hardware, dtype=dtype)) / 1e9
        for dtype in {torch.float32, hardware.dtype}
    }
    if hardware.device.type == "cpu":
        report["convolutions"] = {
            name: speed / 1e9 for name, speed in convolutions(hardware).items()
        }
    report["model"] = _shipped()
    report["missing"] = dict(_missing())
    if json:
        print(json_format.dumps(report))
        return
    console, table = Console(), Table.grid(padding=(0, 2))
    for name, value in _lines(report):
        table.add_row(name, value)
    console.print(table)
    for extra, packages in report["missing"].items():
        console.print(
            f"not installed, for {FOR[extra]}: pip install {' '.join(packages)}", highlight=False
        )


def _lines(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((name, report[name]) for name in ("overcrank", "torch", "python", "system"))
    yield "device", " ".join(filter(None, [report["device"], report["processor"]]))
    yield "threads", str(report["threads"])
    if report["free_memory"] is not None:
        yield "free memory", f"{report['free_memory'] / 1e9:.1f} GB"
    speeds = [f"{name} {speed:,.0f} GFLOP/s" for name, speed in report["gigaflops"].items()]
    yield "matrices", ", ".join(sorted(speeds, reverse=True))
    if "convolutions" in report:
        two, three = (report["convolutions"][f"{count} axes"] for count in ("two", "three"))
        told = f"{two:,.0f} GFLOP/s as they are computed, {three:,.0f} with three axes"
        yield "flat convolutions", told
    yield "computes in", f"{report['dtype']}, the faster one here"
    yield "default model", report["model"]


def _shipped() -> str:
    """Whether the default model and its text encoder can be loaded."""
    import overcrank
    from overcrank.errors import ModelError

    try:
        model = overcrank.load().model
        encoder = model.text_encoder  # opened when it is asked for
    except ModelError as error:
        return f"cannot be used: {error}"
    return f"{model.name}, ready{', without text encoder' if encoder is None else ''}"


def _missing() -> Iterator[tuple[str, list[str]]]:
    """Extras of which something is not installed, and what."""
    needed = [Requirement(line) for line in requires("overcrank") or ()]
    for extra in FOR:
        packages = [
            f"'{each.name}{each.specifier}'"
            for each in needed
            if each.marker is not None
            and each.marker.evaluate({"extra": extra})
            and not _installed(each.name)
        ]
        if packages:
            yield extra, packages


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
