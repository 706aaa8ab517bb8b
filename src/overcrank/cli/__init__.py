"""The command line: `overcrank COMMAND`. One file for each command.

Exit codes: 0 done, 1 the run failed, 2 the request is wrong, 130 stopped with Ctrl-C,
143 with SIGTERM; a training saves its state first.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from importlib import import_module
from typing import Annotated, ParamSpec

import typer

from overcrank import __version__
from overcrank.errors import OvercrankError, RunError

Arguments = ParamSpec("Arguments")

COMMANDS = {
    "bench": "Time a model, and say where the time goes.",
    "convert": "Write a model in another format.",
    "doctor": "Show what this machine can do, and what is missing.",
    "eval": "Measure a model on the frozen benchmark.",
    "generate": "Make a clip from text.",
    "inspect": "Show what is in a model.",
    "pack": "Make a model of what was trained.",
    "prepare": "Cut real videos into clips to train on.",
    "serve": "Serve clips over HTTP.",
    "stream": "Play a clip while it is made.",
    "train": "Train a model.",
    "verify": "Compare our numbers with independent ones.",
}
"""Command `name` is the function `name_command` of the module `overcrank.cli.name`."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: everything is cleaned up as after Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; always ends with SystemExit, as a program does."""
    words = with_dashes(sys.argv[1:] if argv is None else argv)
    try:
        try:
            with _stopping():
                _app(words)(words, prog_name="overcrank")
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt as stop:  # while the command's own imports ran
        raise SystemExit(_stopped(stop)) from None
    except OSError as error:
        print(
            f"error: the results cannot be shown or kept, got {error.strerror or error}: "
            "make room on the disk, or look at where they go",
            file=sys.stderr,
        )
        with suppress(OSError, ValueError):  # or Python would try once more as it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


@contextmanager
def _stopping() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, unless the command handles it by itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one would cut the cleaning up short
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stopped(stop: KeyboardInterrupt) -> int:
    """Say so; the exit code, 128 and the number of the signal."""
    print("stopped", file=sys.stderr)
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


def with_dashes(argv: Sequence[str]) -> list[str]:
    """The same arguments with `--num_frames` and the like written `--num-frames`."""
    return [_with_dashes(word) for word in argv]


def _with_dashes(word: str) -> str:
    name, equals, value = word.partition("=")
    if not name.startswith("--") or " " in name:
        return word
    return name.replace("_", "-") + equals + value


def _app(words: Sequence[str]) -> typer.Typer:
    app = typer.Typer(
        help="Make video faster than it plays.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, summary in COMMANDS.items():
        # A command's own imports may take seconds: only the one that was asked for is imported.
        command = _only_listed
        if name in words[:1]:
            module = import_module(f"overcrank.cli.{name}")
            command = _with_exit_codes(getattr(module, f"{name}_command"))
        app.command(name, help=summary)(command)
    return app


def _only_listed() -> None:
    pass


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"overcrank {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def _with_exit_codes(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    @wraps(command)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except OvercrankError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1 if isinstance(error, RunError) else 2) from None
        except MemoryError:
            print(
                "error: this does not fit into memory, got no more from the system: "
                "make it smaller",
                file=sys.stderr,
            )
            raise typer.Exit(1) from None
        except KeyboardInterrupt as stop:
            raise typer.Exit(_stopped(stop)) from None

    return run
