"""overcrank stream: files, pipes, players, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import overcrank
from nano_model import save_nano
from overcrank.cli.stream import where
from overcrank.errors import OvercrankError, RequestError
from overcrank.media import read_frames, read_metadata

PROMPT = "a red ball bounces on a blue floor"


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_nano(tmp_path_factory.mktemp("models") / "nano")


def test_a_file_has_the_frames_of_generate_and_its_recipe(nano: Path, tmp_path: Path) -> None:
    words = (PROMPT, "--model", nano, "--num-frames", 17, "--seed", 5)
    streamed, made = tmp_path / "streamed.mp4", tmp_path / "made.mp4"
    done = overcrank("stream", *words, "-o", streamed)
    assert done.code == 0, done.err
    assert "first frames after" in done.err
    assert done.out == ""
    assert overcrank("generate", *words, "-o", made).code == 0
    frames, rate = read_frames(streamed)
    others, same = read_frames(made)
    assert rate == same
    assert (frames.float() - others.float()).abs().mean() < 2  # compressed in two ways
    recipe, other = (json.loads(read_metadata(each)["comment"]) for each in (streamed, made))
    assert recipe == other
    assert {file.name for file in tmp_path.iterdir()} == {"streamed.mp4", "made.mp4"}


def test_a_pipe_gets_the_clip_and_nothing_else(nano: Path, tmp_path: Path) -> None:
    program = "from overcrank.cli import main; main()"
    command = [sys.executable, "-c", program, "stream", PROMPT, "--model", str(nano)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "piped.mp4"
    file.write_bytes(done.stdout)
    assert len(read_frames(file)[0]) == 9


def test_a_reader_who_leaves_a_pipe_is_no_error(nano: Path) -> None:
    program = f"{sys.executable} -c 'from overcrank.cli import main; main()'"
    words = f"stream '{PROMPT}' --model {nano} --num-frames 65"
    script = f"set -o pipefail; {program} {words} | head -c 10 > /dev/null"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


def test_a_player_reads_it_from_its_standard_input(nano: Path, tmp_path: Path) -> None:
    played = tmp_path / "played.mp4"
    done = overcrank("stream", PROMPT, "--model", nano, "--player", f"dd of={played}")
    assert done.code == 0, done.err
    assert len(read_frames(played)[0]) == 9


def test_a_viewer_who_leaves_ends_the_clip(nano: Path) -> None:
    done = overcrank("stream", PROMPT, "--model", nano, "--num-frames", 65, "--player", "true")
    assert done.code == 0, done.err
    assert "nobody watched" in done.err or "the viewer left" in done.err


def test_where_a_clip_goes(tmp_path: Path) -> None:
    assert where(str(tmp_path / "a.mp4"), None, to_terminal=True) == tmp_path / "a.mp4"
    assert where(None, None, to_terminal=False) is None
    assert where("-", None, to_terminal=False) is None
    assert where(None, "cat -", to_terminal=True) == ["cat", "-"]


@pytest.mark.parametrize(
    ("output", "player", "said"),
    [
        ("a.mp4", "cat", "give one"),
        ("-", None, "fill the terminal"),
        (None, "no-such-player -", "try --player 'mpv -'"),
        (None, "cat '", "cannot be read"),
        ("a.avi", None, "written as mp4"),
    ],
)
def test_what_cannot_be_reached_is_refused(
    output: str | None, player: str | None, said: str
) -> None:
    with pytest.raises(OvercrankError, match=said):
        where(output, player, to_terminal=True)


def test_a_machine_without_players_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RequestError, match="-o clip.mp4"):
        where(None, None, to_terminal=True)
