"""`overcrank inspect`: what is in a model."""

import json as json_format
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from overcrank.weights.inspect import describe


def inspect_command(
    source: Annotated[str, typer.Argument(help="A preset, a model folder or a weight file.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the architecture, the weights and the recommendations of a model."""
    description = describe(source)
    if json:
        print(json_format.dumps(description))
        return
    console = Console()
    if "name" in description:
        console.print(_settings(description))
    for name, component in description["components"].items():
        console.print(_weights(name, component))
    for missing in description["missing"]:
        console.print(f"missing: {missing}", style="yellow", markup=False)


def _settings(description: dict[str, Any]) -> Table:
    table = Table("setting", "value", title=description["name"])
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
    for heading in ("group", "numbers", "min", "max", "std"):
        table.add_column(heading, justify="left" if heading == "group" else "right")
    for group, statistics in component["groups"].items():
        table.add_row(
            group,
            f"{statistics['parameters']:,}",
            *(f"{statistics[key]:.4g}" for key in ("min", "max", "std")),
        )
    return table
