"""overcrank eval: how good a model is, on the frozen benchmark."""

import json as json_format
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from overcrank.cli.progress import parts_shown
from overcrank.cli.values import whole
from overcrank.errors import RequestError

if TYPE_CHECKING:
    from overcrank.evaluate.compare import Change

MODEL_HELP = "A preset or a model; MODEL:STEPS:GUIDANCE sets how it is run."


def eval_command(
    model: Annotated[
        str | None, typer.Argument(help=f"{MODEL_HELP} pocket if not given.", show_default=False)
    ] = None,
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
    from overcrank.evaluate.leaves import PARTS
    from overcrank.evaluate.parts import Given
    from overcrank.evaluate.suites import chosen

    wish: dict[str, Any] = {
        "suite": chosen(suite, items),
        "parts": part or list(PARTS),
        "given": Given(video or [], features or []),
    }
    if compare is None:
        report = _measure(model or "pocket", output, dtype, wish)
        lines = _numbers(report)
    else:
        if model is not None:
            raise RequestError(
                f"a comparison is of the two that follow --compare, got {model} as well: "
                "leave it out"
            )
        report, changes = _compared(compare, output, dtype, wish)
        lines = _changes(changes)
    if json:
        print(json_format.dumps(report))
    else:
        table = Table(show_header=False)
        for words in lines:
            table.add_row(*words)
        Console().print(table, f"{output}: index.html and report.json")


def _compared(
    names: tuple[str, str], output: Path, dtype: str, wish: dict[str, Any]
) -> "tuple[dict[str, Any], list[Change]]":
    """Measure what is no finished report, once all that can be checked before is right."""
    from overcrank.evaluate.compare import write_comparison
    from overcrank.evaluate.report import check_wish

    check_wish(wish["parts"], output, wish["given"])
    first, second = (
        Path(name) if _is_report(name) else output / place
        for name, place in zip(names, ("first", "second"), strict=True)
    )
    _check_compared(names, (first, second), output, wish)
    for name, folder in zip(names, (first, second), strict=True):
        if not _is_report(name):
            _measure(name, folder, dtype, wish, told=f"{name}: ")
    return write_comparison(output, names, (first, second))


def _is_report(name: str) -> bool:
    return (Path(name) / "report.json").exists()


def _check_compared(
    names: tuple[str, str], folders: tuple[Path, Path], output: Path, wish: dict[str, Any]
) -> None:
    """Refuse models that are not there, reports of other suites, and folders with other reports."""
    from overcrank.evaluate.compare import (
        check_folder,
        check_recognisers,
        check_suites,
        read_report,
    )
    from overcrank.evaluate.report import recogniser_hash
    from overcrank.evaluate.suites import Setting
    from overcrank.weights import ModelFiles

    finished = [folder for name, folder in zip(names, folders, strict=True) if _is_report(name)]
    check_folder(output, finished)
    suites = [read_report(folder)["suite"] for folder in finished]
    for name, folder in zip(names, folders, strict=True):
        if _is_report(name):
            continue
        setting = Setting.read(name)
        setting.check()
        ModelFiles.find(setting.model).check_prompt()
        suites.append(asdict(wish["suite"]))
        for other in finished:
            check_recognisers(read_report(other)["recogniser"], recogniser_hash())
        held = (folder / "report.json").exists() and not (output / "report.json").exists()
        if held or folder.resolve() in [each.resolve() for each in finished]:
            raise RequestError(
                f"{name} would be measured over another report, got {str(folder)!r}: compare "
                "with that report, or name another folder with -o"
            )
    check_suites(*suites)


def _measure(
    name: str, folder: Path, dtype: str, wish: dict[str, Any], told: str = ""
) -> dict[str, Any]:
    """One report; `told` stands before the names of parts in what is shown of its progress."""
    import overcrank
    from overcrank.evaluate import Setting, evaluate
    from overcrank.evaluate.report import check_wish

    setting = Setting.read(name)
    check_wish(wish["parts"], folder, wish["given"])
    with parts_shown() as progress:
        progress.show({"part": f"{told}loading", "done": 0, "total": 1})
        pipe = overcrank.load(setting.model, dtype=dtype)
        progress.show({"part": f"{told}loading", "done": 1, "total": 1})

        def show(event: dict[str, Any]) -> None:
            progress.show({**event, "part": told + event["part"]})

        return evaluate(pipe, folder, setting=setting, on_event=show, **wish)


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
    """Those that chance does not explain, if there are any."""
    from overcrank.evaluate.leaves import shown, words

    judged = [change for change in changes if change.verdict]
    for change in judged:
        name = ", ".join(words(word) for word in change.first.path)
        yield name, shown(change.first), shown(change.second), change.span, change.verdict
    if not judged:
        yield ("nothing differs by more than chance",)
