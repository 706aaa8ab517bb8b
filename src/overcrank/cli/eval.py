"""overcrank eval: how good a model is, on the frozen benchmark."""

import json as json_format
import sys
from pathlib import Path
from typing import Annotated, Any

import rich.progress as bars
import typer
from rich.console import Console
from rich.table import Table

from overcrank.cli.values import whole

COLUMNS = {
    "clips": "from text",
    "true_clips": "true clips",
    "round_trips": "through the VAE",
    "random_weights": "random weights",
}


def eval_command(
    model: Annotated[str, typer.Argument(help="A preset or a model folder.")] = "pocket",
    items: Annotated[
        int, typer.Option(parser=whole, metavar="INT", help="Captions of bench-v1, up to 256.")
    ] = 256,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for report.json and contact sheets.")
    ] = Path("report"),
    part: Annotated[
        list[str] | None,
        typer.Option(help="text, image or vae; may be repeated. All if not given."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Measure a model: text obeyed, picture kept, what its VAE loses."""
    import overcrank
    from overcrank.evaluate import PARTS, evaluate
    from overcrank.evaluate.report import check_wish

    parts = part or list(PARTS)
    check_wish(items, parts, output)
    pipe = overcrank.load(model, dtype=dtype)
    progress = bars.Progress(
        *("{task.description:14}", bars.BarColumn(), bars.MofNCompleteColumn()),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    tasks: dict[str, bars.TaskID] = {}

    def show(event: dict[str, Any]) -> None:
        name = event["part"]
        if name not in tasks:
            tasks[name] = progress.add_task(name, total=event["total"])
        progress.update(tasks[name], completed=event["done"])

    with progress:
        report = evaluate(pipe, output, items=items, parts=parts, on_event=show)
    if json:
        print(json_format.dumps(report))
    else:
        _print(report, output)


def _print(report: dict[str, Any], folder: Path) -> None:
    console = Console()
    rates = {**report.get("vae", {}), **report.get("text", {})}
    shown = [name for name in COLUMNS if rates.get(name)]
    if shown:
        table = Table(title=f"{report['model']} on {report['bench']}: found, of what was asked")
        for heading in ("", *(COLUMNS[name] for name in shown)):
            table.add_column(heading, justify="right" if heading else "left")
        for asked in rates[shown[0]]:
            table.add_row(asked, *(_rate(rates[name][asked]) for name in shown))
        console.print(table)
    if "image" in report:
        image = report["image"]
        first, alone = (f"{image[name]:.1f} dB" for name in ("psnr", "psnr_round_trip"))
        console.print(f"first frame: {first}, through the VAE alone {alone}")
        console.print(f"movement: {image['change_ratio']:.2f} times that of the true clips")
    if "vae" in report:
        vae = report["vae"]
        console.print(f"VAE: {vae['psnr']:.1f} dB, on the actors {vae['psnr_actors']:.1f} dB")
    console.print(f"{folder}: report.json and contact sheets")


def _rate(rate: dict[str, float]) -> str:
    return f"{rate['rate']:.0%}  {rate['low']:.0%} to {rate['high']:.0%}"
