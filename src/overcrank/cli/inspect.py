"""`overcrank inspect`: what is in a model."""

import json as json_format
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from overcrank.weights.inspect import describe


def inspect_command(
    source: Annotated[
        str,
        typer.Argument(help="A preset, a model folder or weight file of any format, or a hub id."),
    ],
    statistics: Annotated[
        bool, typer.Option("--statistics/--no-statistics", help="Read all weights for them.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the architecture, the weights and the recommendations of a model."""
    description = describe(source, statistics=statistics, progress=sys.stderr.isatty())
    if json:
        print(json_format.dumps(description))
        return
    console = Console()
    console.print(_settings(description))
    for name, component in description["components"].items():
        console.print(_weights(name, component))
    refusal = description.get("mismatch")
    for word, sentences in (
        ("missing", description["missing"]),
        ("goes with", description.get("goes_with", [])),
        ("note", description["remarks"]),
        ("mismatch", [refusal] if refusal else []),
    ):
        for sentence in sentences:
            console.print(f"{word}: {sentence}", style="yellow", markup=False, highlight=False)


def _settings(description: dict[str, Any]) -> Table:
    table = Table("setting", "value", title=description.get("name", description["source"]))
    table.add_row("architecture", description["architecture"])
    table.add_row("format", description["format"])
    if "release" in description:
        trained = description["trained_range"]
        slow, fast = trained["frame_rates"]
        table.add_row("run as", " or ".join([description["release"], *description["alternatives"]]))
        table.add_row(
            "made for",
            f"up to {trained['pixels']:,} pixels a frame, {trained['frames']} frames, "
            f"{slow:g} to {fast:g} frames a second",
        )
    if "defaults" in description:
        table.add_row("text encoder", description["text_encoder"] or "none: takes embeddings")
        for name, value in description["defaults"].items():
            table.add_row(name.replace("_", " "), "none" if value is None else str(value))
    return table


def _weights(name: str, component: dict[str, Any]) -> Table:
    dtypes = ", ".join(component["dtypes"])
    table = Table(
        title=f"{name}: {component['parameters']:,} numbers in {dtypes}, "
        f"{component['bytes'] / 2**20:.1f} MiB",
        caption=", ".join(f"{key} {value}" for key, value in component["config"].items())
        if name == "transformer"
        else None,
    )
    measures = ("min", "max", "std")
    for heading in ("group", "numbers", *measures):
        table.add_column(heading, justify="left" if heading == "group" else "right")
    for group, found in component["groups"].items():
        table.add_row(
            group,
            f"{found['parameters']:,}",
            *(f"{found[key]:.4g}" for key in measures if key in found),
        )
    return table
