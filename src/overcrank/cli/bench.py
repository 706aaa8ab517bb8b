"""overcrank bench: how fast a model is here, and why."""

import json as json_format
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from overcrank.cli.progress import parts_shown
from overcrank.cli.values import number, whole

OWN = "By default the model's own."


def bench_command(
    model: Annotated[str, typer.Argument(help="A preset or a model.")] = "pocket",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A page of Markdown; its numbers and pictures.")
    ] = Path("speed.md"),
    rounds: Annotated[
        int, typer.Option(parser=whole, metavar="INT", help="Clips of each setting.")
    ] = 7,
    seconds: Annotated[
        float,
        typer.Option(
            parser=number, metavar="NUMBER", help="Stop after about so long; the same goes on."
        ),
    ] = float("inf"),
    height: Annotated[
        int | None, typer.Option(parser=whole, metavar="INT", help=f"In pixels. {OWN}")
    ] = None,
    width: Annotated[
        int | None, typer.Option(parser=whole, metavar="INT", help=f"In pixels. {OWN}")
    ] = None,
    num_frames: Annotated[
        int | None, typer.Option(parser=whole, metavar="INT", help=f"8n + 1. {OWN}")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(parser=whole, metavar="INT", help=f"Denoising steps. {OWN}")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(parser=number, metavar="NUMBER", help=f"1 is none. {OWN}")
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Time clips by steps, frames, size and threads, count their operations, and set the
    transformer beside that of diffusers."""
    from dataclasses import replace

    import overcrank
    from overcrank.bench import Record, Sweep, own, page, pictures
    from overcrank.errors import RequestError

    if rounds < 1:
        raise RequestError(f"rounds are at least 1, got {rounds}: try 7")
    _check_output(output)
    pipe = overcrank.load(model, dtype=dtype)
    wished = {"frames": num_frames, "height": height, "width": width, "steps": steps}
    base = replace(own(pipe, **wished), guidance=guidance)
    record = Record(output.with_suffix(".json"), _about(pipe, base))
    sweep, load = Sweep(pipe, base, rounds), os.getloadavg()[0]
    with parts_shown() as progress:

        def on_task(done: int, total: int) -> None:
            progress.show({"part": "measurements", "done": done, "total": total})

        whole_record = record.take(sweep.tasks(record), sweep.total, seconds, on_task)
    now = datetime.now(UTC).isoformat(sep=" ", timespec="minutes")
    record.session(date=now, load=[load, os.getloadavg()[0]])
    if whole_record is None:
        print(f"more is left: run the same again; so far {record.path}", file=sys.stderr)
        return
    _write(output, page(record.data, "pictures"), pictures(record.data))
    print(json_format.dumps(record.data) if json else output.read_text(encoding="utf-8"))


def _about(pipe: Any, base: Any) -> dict[str, Any]:
    """What is measured, and on what."""
    from dataclasses import asdict

    import overcrank
    from overcrank.runtime.machine import describe

    machine = {key: value for key, value in describe(pipe.hardware).items() if key != "free_memory"}
    hashes = pipe.model.hashes
    words = [
        f"--{name.replace('frames', 'num-frames')} {value:g}"
        for name, value in asdict(base).items()
        if isinstance(value, int | float) and value
    ]
    return {
        "command": " ".join(["overcrank", "bench", pipe.model.name, *words]),
        "overcrank": overcrank.__version__,
        "weights": ", ".join(
            f"{name} {value.removeprefix('sampled-')[:8]}" for name, value in hashes.items()
        ),
        "machine": machine,
        "base": asdict(base),
    }


def _write(output: Path, text: str, pictures: dict[str, str]) -> None:
    from overcrank.weights.files import write_atomically

    folder = output.parent / "pictures"
    folder.mkdir(exist_ok=True)
    for name, drawn in pictures.items():
        with write_atomically(folder / name) as temporary:
            temporary.write_text(drawn, encoding="utf-8")
    with write_atomically(output) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _check_output(path: Path) -> None:
    from overcrank.errors import MediaError

    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise MediaError(
            f"the page cannot be written, got {str(path)!r}: give a file in a folder that is there "
            "and that you may write to, such as speed.md"
        )
