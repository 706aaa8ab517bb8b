"""`overcrank verify`: our numbers beside independent ones."""

import json as json_format
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from overcrank.errors import MediaError, RunError
from overcrank.evaluate.parity import Row
from overcrank.evaluate.twins import TWINS, installed
from overcrank.evaluate.verify import page, verify
from overcrank.weights import open_checkpoint


def verify_command(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A published checkpoint, to compare its own weights; by default random weights of "
            "every layout, and whole clips."
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help=f"{' or '.join(TWINS)}; may be repeated. Those installed if not given."),
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Write the page to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare every stage with golden numbers and with other implementations."""
    if write is not None:
        _check_target(write)  # before minutes of comparing
    console = Console(stderr=True)
    found = None if model is None else open_checkpoint(model, progress=sys.stderr.isatty())
    # diffusers logs warnings of its own schedulers.
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    with console.status("verify", refresh_per_second=4):
        rows = verify(found, against)
    if write is not None:
        try:
            write.write_text(page(rows), encoding="utf-8")
        except OSError as error:
            raise _unwritable(write, error) from error
    if json:
        print(json_format.dumps({"rows": [{**asdict(row), "holds": row.holds} for row in rows]}))
    else:
        Console().print(_table(rows))
        missing = [name for name in TWINS if name not in installed()]
        if missing and against is None:
            print(f"note: not compared with {' and '.join(missing)}: not installed")
    wrong = [row for row in rows if not row.holds]
    if wrong:
        raise RunError(
            f"{len(wrong)} of {len(rows)} stages must be as elsewhere, got {wrong[0].float32:.1e} "
            f"for {wrong[0].stage} of {wrong[0].layout} against {wrong[0].against}: at most "
            f"{wrong[0].limit:.0e} is right, on numbers that are not too small"
        )


def _check_target(write: Path) -> None:
    """Refuse a page that cannot be written; what is there stays as it is."""
    new = not write.exists()
    try:
        with write.open("ab"):
            pass
        if new:
            write.unlink()
    except OSError as error:
        raise _unwritable(write, error) from error


def _unwritable(write: Path, error: OSError) -> MediaError:
    return MediaError(
        f"the page cannot be written, got {str(write)!r} ({error.strerror}): name a file in a "
        "folder that you may write to"
    )


def _table(rows: Sequence[Row]) -> Table:
    """The largest relative error of each stage."""
    table = Table("stage", "against", title="largest relative error")
    for heading in ("float32", "allowed", "bfloat16", "layouts"):
        table.add_column(heading, justify="right")
    for stage, against in dict.fromkeys((row.stage, row.against) for row in rows):
        found = [row for row in rows if (row.stage, row.against) == (stage, against)]
        rounded = [row.bfloat16 for row in found if row.bfloat16 is not None]
        table.add_row(
            stage,
            against,
            f"{max(row.float32 for row in found):.1e}",
            f"{max(row.limit for row in found):.1e}",
            f"{max(rounded):.1e}" if rounded else "",
            str(len(found)),
            style=None if all(row.holds for row in found) else "red",
        )
    return table
