"""`overcrank train`: one YAML file, one command; the same command again resumes."""

import json
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from overcrank.cli.train_view import TrainView
from overcrank.cli.values import whole
from overcrank.errors import RequestError

if TYPE_CHECKING:
    from overcrank.runtime import Hardware
    from overcrank.train import RunConfig

CONFIG_HELP = (
    "YAML file, or pocket-vae, pocket-decoder, pocket-transformer, pocket-joint, pocket-distil, "
    "nano-vae, nano-transformer, ltxv-2b-lora, ltxv-2b-full, ltxv-2b-pretrain"
)


def _log(text: str) -> str:
    """Where numbers go besides the run's folder."""
    if text != "tensorboard":
        raise typer.BadParameter(
            f"there is no such log, got {text!r}: try tensorboard, or leave it out: "
            "metrics.jsonl in the run's folder has all of them"
        )
    return text


def _count(text: str) -> int:
    """Of threads or processes."""
    count = whole(text)
    if not 1 <= count <= 256:
        raise typer.BadParameter(f"got {text!r}: try 1 to 256")
    return count


def train_command(
    config: Annotated[str, typer.Argument(help=CONFIG_HELP)],
    folder: Annotated[
        Path | None, typer.Option("--folder", "-o", help="run folder; runs/<config> if not given")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="change a value: optim.lr=1e-4")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(parser=_count, metavar="INT", help="CPU threads; all if not given"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; an accelerator, if there is one")
    ] = None,
    processes: Annotated[
        int,
        typer.Option(parser=_count, metavar="INT", help="processes that render and load batches"),
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only say what would be run, and what it would cost")
    ] = False,
    log: Annotated[
        str | None,
        typer.Option(
            parser=_log, metavar="tensorboard", help="write numbers and clips for TensorBoard, too"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="of --dry-run: one JSON object")] = False,
) -> None:
    """Train a network. To resume, run the same command again."""
    import torch

    from overcrank.runtime import choose
    from overcrank.train import build_objective, join_workers, read_config, steps_done, train
    from overcrank.train.board import Board
    from overcrank.train.record import make_writable

    if as_json and not dry_run:
        raise RequestError("--json is for a plan: got it without --dry-run: add --dry-run")
    if threads is not None:
        torch.set_num_threads(threads)
    console = Console(stderr=True)
    run = read_config(config, change or [])
    hardware = choose(device, run.precision)
    if dry_run:
        print(_planned(run, hardware, as_json=as_json))
        return
    folder = folder or Path("runs") / Path(config).stem

    with join_workers() as workers, ExitStack() as stack:
        if workers.rank > 0:
            console.quiet = True
        done = steps_done(folder, run)
        if done >= run.steps:
            console.print(f"already done at step {done}: give more steps: --set steps={2 * done}")
            return
        shown = [stack.enter_context(closing(TrainView(run, console))).show]
        if log is not None and workers.rank == 0:
            make_writable(folder)
            shown.append(stack.enter_context(closing(Board(folder, done))).show)

        def show(event: dict[str, Any]) -> None:
            for take in shown:
                take(event)

        objective = build_objective(run, folder, show, hardware, workers, processes)
        done = train(run, objective, folder, show, hardware, workers, processes)
    if done < run.steps:
        console.print(f"stopped at step {done}: the same command goes on")
        raise typer.Exit(143)
    console.print(f"done: {folder}")


def _planned(run: "RunConfig", hardware: "Hardware", *, as_json: bool) -> str:
    """What the run would cost, for people or as JSON."""
    from overcrank.cli.train_plan import lines
    from overcrank.train.plan import plan_run

    plan = plan_run(run, hardware)
    return json.dumps(plan.to_dict()) if as_json else "\n".join(lines(plan))
