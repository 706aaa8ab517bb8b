"""overcrank stream: a clip that plays while it is made, to a player, a pipe or a file."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from overcrank.cli import wish
from overcrank.cli.progress import Progress
from overcrank.cli.values import naming_flags
from overcrank.errors import RequestError

if TYPE_CHECKING:
    from overcrank.pipeline import Pipeline
    from overcrank.request import Request

PLAYERS = ("mpv -", "ffplay -loglevel error -", "vlc -", "mplayer -")
"""The first of them that is installed is taken; each reads a clip from its standard input."""


def stream_command(
    prompt: wish.Prompt,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="The mp4 to write, or - for standard output."),
    ] = None,
    player: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="What plays the clip from its standard input."),
    ] = None,
    image: wish.Picture = None,
    model: wish.Source = "pocket",
    width: wish.Width = None,
    height: wish.Height = None,
    num_frames: wish.NumFrames = None,
    seconds: wish.Seconds = None,
    fps: wish.Fps = None,
    steps: wish.Steps = None,
    guidance_scale: wish.GuidanceScale = None,
    seed: wish.Seed = 0,
    dtype: wish.DType = "auto",
    set_: wish.Settings = None,
) -> None:
    """Play a clip while it is made."""
    from overcrank.pipeline import Pipeline
    from overcrank.weights import ModelFiles

    with naming_flags():
        request = {
            "prompt": prompt,
            "width": width,
            "height": height,
            "num_frames": num_frames,
            "frame_rate": fps,
            "num_inference_steps": steps,
            "guidance": guidance_scale,
            "seed": seed,
        }
        wanted = wish.Wish.of(request, set_, seconds, image)
        target = where(output, player, to_terminal=sys.stdout.isatty())
        files = ModelFiles.find(model)
        files.check_prompt()
        asked, remarks = wish.request_of(wanted, files.advice)
        with closing(Progress()) as progress:
            progress.stage("load")
            pipe = Pipeline.of_files(files, dtype=dtype)
            pipe.reads_once = True
            progress.stage("text")
            sent = _play(pipe, replace(asked, on_step=progress.on_step), target)
    for remark in remarks:
        print(f"note: {remark}", file=sys.stderr)
    print(sent, file=sys.stderr)


def where(output: str | None, player: str | None, *, to_terminal: bool) -> list[str] | Path | None:
    """The words of a player, a file, or None for standard output."""
    from overcrank.media import check_output

    if output is not None and player is not None:
        raise RequestError(
            f"a clip goes to one place, got --output {output} and --player {player}: give one"
        )
    if output is not None and output != "-":
        return check_output(output)
    if player is None and (output == "-" or not to_terminal):
        if to_terminal:
            raise RequestError(
                "a clip would fill the terminal with signs, got --output - and no pipe: "
                "add | and a player, or > clip.mp4"
            )
        return None
    given = (player,) if player is not None else PLAYERS
    found = [words for words in map(_words, given) if words and shutil.which(words[0])]
    if not found:
        raise RequestError(
            f"no player is installed: got none of {', '.join(w.split()[0] for w in PLAYERS)}: "
            "give --player COMMAND or -o clip.mp4"
            if player is None
            else f"--player is a command that is installed, got {player!r}: try --player 'mpv -'"
        )
    return found[0]


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise RequestError(
            f"--player cannot be read, got {command!r} ({error}): try --player 'mpv -'"
        ) from None


@dataclass(slots=True)
class Sent:
    """How far a clip has gone."""

    bytes: int = 0
    first: float | None = None
    """Seconds until the first frames were sent."""
    last: float = 0.0
    left: bool = False
    """Whether whoever watched has gone before the end."""

    def __str__(self) -> str:
        if self.first is None:
            return "nobody watched: nothing was sent"
        ended = "the viewer left" if self.left else "the last"
        return (
            f"first frames after {self.first:.2f} s, {ended} after {self.last:.2f} s, "
            f"{self.bytes / 1e6:.2f} MB"
        )


def _play(pipe: "Pipeline", request: "Request", target: list[str] | Path | None) -> Sent:
    """Send the fragments as they are made; the clock starts at the prompt."""
    from overcrank.media import fragments
    from overcrank.video import tagged

    sent, start = Sent(), perf_counter()
    recipe, frames = pipe.recipe(request), pipe.run(request)
    rate = recipe["frame_rate"]
    assert isinstance(rate, float)
    with closing(frames), _opened(target) as sink:
        for part in fragments(frames, rate, metadata=tagged(recipe)):
            try:
                _write(sink, part)
            except BrokenPipeError:
                sent.left = True
                break
            sent.last = perf_counter() - start
            sent.first = sent.first or sent.last
            sent.bytes += len(part)
    return sent


@contextmanager
def _opened(target: list[str] | Path | None) -> Iterator[FileIO]:
    from overcrank.media import published

    if isinstance(target, Path):
        with published(target) as temporary, temporary.open("wb", 0) as file:
            yield file
    elif target is None:
        with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as file:
            yield file
    else:
        with subprocess.Popen(target, stdin=subprocess.PIPE, bufsize=0) as player:
            assert isinstance(player.stdin, FileIO)
            yield player.stdin  # and then wait for the end of what is shown


def _write(sink: FileIO, part: bytes) -> None:
    """At once: nothing is held in between, which would be tried again when the reader has gone."""
    left = memoryview(part)
    while left:
        left = left[sink.write(left) or 0 :]
