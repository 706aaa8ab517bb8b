"""`overcrank prepare`: real videos and pictures become clips in shards; see docs/prepare.md."""

import json as json_format
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import rich.progress as bars
import typer
from rich.console import Console

from overcrank.cli.values import number, whole
from overcrank.data.prepare import Scorer, Settings, prepare, sharpness
from overcrank.errors import RequestError

DEFAULT = Settings()


def prepare_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="A folder, or a list with media_path and caption (CSV, JSON, JSONL).",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or one to go on with.")],
    min_seconds: Annotated[
        float, typer.Option(parser=number, metavar="S", help="Shorter shots are dropped.")
    ] = DEFAULT.min_seconds,
    max_seconds: Annotated[
        float, typer.Option(parser=number, metavar="S", help="Longer shots become several clips.")
    ] = DEFAULT.max_seconds,
    min_side: Annotated[
        int, typer.Option(parser=whole, metavar="N", help="Of the shorter side: less is dropped.")
    ] = DEFAULT.min_side,
    max_side: Annotated[
        int, typer.Option(parser=whole, metavar="N", help="More is scaled down to it.")
    ] = DEFAULT.max_side,
    min_fps: Annotated[
        float, typer.Option(parser=number, metavar="R", help="Slower videos are dropped.")
    ] = DEFAULT.min_fps,
    max_fps: Annotated[
        float, typer.Option(parser=number, metavar="R", help="Faster ones lose every n-th frame.")
    ] = DEFAULT.max_fps,
    min_motion: Annotated[
        float, typer.Option(parser=number, metavar="M", help="0 to 255; 0 keeps still clips.")
    ] = DEFAULT.min_motion,
    scorer: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION", help="Frames, uint8 (n, H, W, 3), to a number; sharpness."
        ),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(parser=number, metavar="X", help="Lower scores are dropped.")
    ] = None,
    require_captions: Annotated[
        bool, typer.Option("--require-captions", help="Drop what has no caption.")
    ] = False,
    shard_mib: Annotated[
        int, typer.Option(parser=whole, metavar="N", help="Shards are no larger.")
    ] = DEFAULT.shard_mib,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="processes, or ray for several machines.")
    ] = "processes",
    processes: Annotated[
        int, typer.Option(parser=whole, metavar="N", help="Files that are worked on at once.")
    ] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Cut real videos into clips. To go on after a stop, run the same command again."""
    settings = Settings(
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        min_side=min_side,
        max_side=max_side,
        min_fps=min_fps,
        max_fps=max_fps,
        min_motion=min_motion,
        min_score=min_score,
        require_captions=require_captions,
        shard_mib=shard_mib,
    )
    with _Bar() as bar:
        done = prepare(
            source,
            out,
            settings,
            scorer=sharpness if scorer is None else _scorer(scorer),
            engine=engine,
            processes=processes,
            on_file=bar.on_file,
        )
    if json:
        print(json_format.dumps({"path": str(out), **done}))
        return
    print(f"{out}: {done['kept']} clips, {done['seconds']:.1f} seconds, from {done['files']} files")
    for reason, count in done["dropped"].items():
        print(f"dropped: {count} {reason}")
    if done["without_caption"]:
        print(f"note: {done['without_caption']} clips have no caption")


def _scorer(name: str) -> Scorer:
    module, _, function = name.partition(":")
    try:
        found: Any = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(
            f"the scorer cannot be found, got {name!r} ({error}): "
            "give MODULE:FUNCTION, as Python would import it"
        ) from error
    if not callable(found):
        raise RequestError(f"a scorer is a function, got {name!r}: name one of that module")
    return found


class _Bar:
    """Files done, bytes a second and the time that is left, on stderr if it is a terminal."""

    def __init__(self) -> None:
        self._bars = bars.Progress(
            bars.TextColumn("files {task.fields[files]}"),
            bars.BarColumn(),
            bars.TransferSpeedColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bars.add_task("", total=None, files="")

    def __enter__(self) -> "_Bar":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def on_file(self, files: int, of_files: int, size: int, of_size: int) -> None:
        """So much is done."""
        self._bars.update(self._task, completed=size, total=of_size, files=f"{files} of {of_files}")
