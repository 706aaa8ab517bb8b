"""overcrank eval: how good a model is, on the frozen benchmark."""

import json as json_format
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from overcrank.cli.progress import parts_shown
from overcrank.cli.values import whole

if TYPE_CHECKING:
    from overcrank.evaluate.compare import Change

MODEL_HELP = "A preset or a model; MODEL:STEPS:GUIDANCE sets how it is run."


def eval_command(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)] = "pocket",
    suite: Annotated[
        str, typer.Option(help="quick: 256 questions, minutes; full: 2048, hours.")
    ] = "quick",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for index.html and report.json.")
    ] = Path("report"),
    part: Annotated[
        list[str] | None,
        typer.Option(help="text, image, vae or speed; may be repeated. All if not given."),
    ] = None,
    items: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="INT", help="Fewer questions and clips, for a look."),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two models or settings, or folders of finished reports, side by side."),
    ] = None,
    video: Annotated[
        list[Path] | None,
        typer.Option(help="A video, or a folder of them, for the VAE as well; may be repeated."),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(help="A Python file that defines features(video), for one more distance."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Measure a model: text obeyed, pictures kept, what its VAE loses, what a clip costs."""
    from overcrank.evaluate.compare import write_comparison
    from overcrank.evaluate.leaves import PARTS
    from overcrank.evaluate.parts import Given
    from overcrank.evaluate.suites import chosen

    wish: dict[str, Any] = {
        "suite": chosen(suite, items),
        "parts": part or list(PARTS),
        "given": Given(video or [], features or []),
    }
    if compare is None:
        report = _measure(model, output, dtype, wish)
        lines = _numbers(report)
    else:
        first, second = (
            _measured(name, output / place, dtype, wish)
            for name, place in zip(compare, ("first", "second"), strict=True)
        )
        report, changes = write_comparison(output, compare, (first, second))
        lines = _changes(changes)
    if json:
        print(json_format.dumps(report))
    else:
        table = Table(show_header=False)
        for words in lines:
            table.add_row(*words)
        Console().print(table, f"{output}: index.html and report.json")


def _measured(name: str, folder: Path, dtype: str, wish: dict[str, Any]) -> Path:
    """Where the report of a model is: what is one already is not measured again."""
    if (Path(name) / "report.json").exists():
        return Path(name)
    _measure(name, folder, dtype, wish)
    return folder


def _measure(name: str, folder: Path, dtype: str, wish: dict[str, Any]) -> dict[str, Any]:
    import overcrank
    from overcrank.evaluate import Setting, evaluate
    from overcrank.evaluate.report import check_wish

    setting = Setting.read(name)
    check_wish(wish["parts"], folder)
    pipe = overcrank.load(setting.model, dtype=dtype)
    with parts_shown() as progress:
        return evaluate(pipe, folder, setting=setting, on_event=progress.show, **wish)


def _numbers(report: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The model's own, with intervals; the page has the others beside them, and what is right."""
    from overcrank.evaluate.leaves import PARTS, leaves, shown, span, words

    beside = {"wordings", "scenes", "pairs", "true_clips", "round_trips", "random_weights"}
    for part in PARTS:
        for found in leaves(report.get(part, {}), (part,)):
            fine = "artefacts" in found.path and found.value == 0
            if found.low is not None and not fine and beside.isdisjoint(found.path):
                yield ", ".join(words(word) for word in found.path), shown(found), span(found)


def _changes(changes: "list[Change]") -> Iterator[tuple[str, ...]]:
    """Those that chance does not explain."""
    from overcrank.evaluate.leaves import shown, words

    for change in changes:
        if change.verdict:
            name = ", ".join(words(word) for word in change.first.path)
            yield name, shown(change.first), shown(change.second), change.span, change.verdict
