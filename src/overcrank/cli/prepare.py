"""`overcrank prepare`: real videos and pictures become clips in shards; see docs/prepare.md."""

import json as json_format
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import rich.progress as bars
import typer
from rich.console import Console

from overcrank.cli.progress import PartLines
from overcrank.cli.values import number, whole
from overcrank.data.prepare import CAPTION_PROMPT, Captioner, Scorer, Settings, prepare, sharpness
from overcrank.errors import RequestError
from overcrank.runtime import choose

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
    captioner: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Describes what has no caption: a folder or hub id OWNER/NAME."
        ),
    ] = None,
    caption_prompt: Annotated[
        str, typer.Option(metavar="TEXT", help="What it is asked.", show_default=False)
    ] = CAPTION_PROMPT,
    caption_batch: Annotated[
        int, typer.Option(parser=whole, metavar="N", help="Clips it describes at once.")
    ] = 4,
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
    hardware = choose(None, "auto")
    describer = None
    if captioner is not None:
        describer = Captioner(
            captioner,
            prompt=caption_prompt,
            batch=caption_batch,
            device=hardware.device,
            dtype=hardware.dtype,
        )
    with _Bar() as bar:
        done = prepare(
            source,
            out,
            settings,
            scorer=sharpness if scorer is None else _scorer(scorer),
            captioner=describer,
            engine=engine,
            processes=processes,
            on_file=bar.on_file,
            on_clip=bar.on_clip,
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
    """What is done, how much a second and the time that is left, on stderr; where that is no
    terminal, a line every few seconds."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._lines = None if console.is_terminal else PartLines(console)
        self._bars = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TextColumn("{task.fields[rate]}"),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=self._lines is not None,
        )
        self._files = self._bars.add_task("files", total=None, rate="")
        self._clips = self._bars.add_task("captions", total=None, rate="", visible=False)

    def __enter__(self) -> "_Bar":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def on_file(self, files: int, of_files: int, size: int, of_size: int) -> None:
        """So much is done."""
        if self._lines is not None:
            self._lines.show({"part": "files", "done": files, "total": of_files})
        self._show(self._files, f"files {files} of {of_files}", size, of_size, (1e6, "MB/s"))

    def on_clip(self, clips: int, of_clips: int) -> None:
        """So many have a caption."""
        if self._lines is not None:
            self._lines.show({"part": "captions", "done": clips, "total": of_clips})
        self._show(self._clips, f"captions {clips} of {of_clips}", clips, of_clips, (1, "a second"))

    def _show(
        self, task: bars.TaskID, words: str, done: int, total: int, unit: tuple[float, str]
    ) -> None:
        speed = next(each.speed for each in self._bars.tasks if each.id == task) or 0.0
        rate = f"{speed / unit[0]:.2f} {unit[1]}"
        self._bars.update(
            task, description=words, completed=done, total=total, rate=rate, visible=True
        )
