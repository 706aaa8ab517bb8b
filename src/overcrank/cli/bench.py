"""overcrank bench: how fast a model is here, and why."""

import json as json_format
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from overcrank.cli.progress import parts_shown
from overcrank.cli.values import whole


def bench_command(
    model: Annotated[str, typer.Argument(help="A preset or a model.")] = "pocket",
    output: Annotated[Path, typer.Option("--output", "-o", help="A page of Markdown.")] = Path(
        "speed.md"
    ),
    rounds: Annotated[
        int, typer.Option(parser=whole, metavar="INT", help="Clips of each setting.")
    ] = 5,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Time clips by steps, frames, size and threads, count their operations, and set the
    transformer beside that of diffusers."""
    import overcrank
    from overcrank.bench import beside_diffusers, page, shares, sweep
    from overcrank.errors import RequestError
    from overcrank.runtime.machine import describe
    from overcrank.weights.files import write_atomically

    if rounds < 1:
        raise RequestError(f"rounds are at least 1, got {rounds}: try 5")
    _check_output(output)
    pipe = overcrank.load(model, dtype=dtype)
    load = [os.getloadavg()[0]]
    report: dict[str, Any] = {
        "model": pipe.model.name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe(pipe.hardware),
    }
    with parts_shown() as progress:

        def on_clip(done: int, total: int) -> None:
            progress.show({"part": "clips", "done": done, "total": total})

        report["clips"] = sweep(pipe, rounds, on_clip)
        report["work"] = shares(pipe, rounds)
        try:
            report["beside"] = beside_diffusers(pipe, 4 * rounds)
        except RequestError as error:
            report["beside"], report["left_out"] = {}, str(error)
    report["load"] = [*load, os.getloadavg()[0]]
    with write_atomically(output) as temporary:
        temporary.write_text(page(report), encoding="utf-8")
    print(json_format.dumps(report) if json else page(report))


def _check_output(path: Path) -> None:
    from overcrank.errors import MediaError

    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise MediaError(
            f"the page cannot be written, got {str(path)!r}: give a file in a folder that is there "
            "and that you may write to, such as speed.md"
        )
