"""overcrank generate: flags, files, exit codes."""

import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from command_line import overcrank
from nano_model import save_nano
from overcrank import __version__
from overcrank.cli import with_dashes
from overcrank.cli.values import SETTABLE, WITH_FLAG, read_settings
from overcrank.flow import Guidance
from overcrank.media import read_frames, read_metadata
from overcrank.request import Request
from overcrank.shapes import nearest_frames

PROMPT = "a red ball bounces on a blue floor"


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_nano(tmp_path_factory.mktemp("models") / "nano")


@dataclass(frozen=True)
class Clip:
    path: Path
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def clip(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("clips")
    PIL.Image.new("RGB", (90, 70), "red").save(folder / "red.png")
    path = folder / "clip.mp4"
    done = overcrank(
        *("generate", PROMPT, "-o", path, "--model", nano, "--image", folder / "red.png"),
        *("--width", 64, "--height=32", "--seconds", 2, "--fps", 8, "--steps", 3, "--seed", 5),
        *("--guidance_scale", 2, "--set", "guidance.rescale=0.5", "--dtype", "float32", "--json"),
    )
    assert done.code == 0, done.err
    return Clip(path, json.loads(done.out.splitlines()[-1]))


def test_the_last_line_says_what_was_made(clip: Clip) -> None:
    expected = {
        "path": str(clip.path),
        "width": 64,
        "height": 32,
        "num_frames": 17,
        "frame_rate": 8.0,
        "seed": 5,
        "steps": 3,
        "guidance_scale": 2.0,
    }
    assert clip.summary.items() >= expected.items()
    assert list(clip.summary["seconds"]) == [
        *("prepare", "text", "denoise", "decode", "load", "write", "total")
    ]
    assert clip.summary["realtime_factor"] > 0


def test_every_second_belongs_to_a_stage(clip: Clip, nano: Path, tmp_path: Path) -> None:
    """Also the text encoder, and what is imported for the first clip."""
    stages = dict(clip.summary["seconds"])
    assert stages.pop("total") == pytest.approx(sum(stages.values()), abs=0.05)
    done = overcrank("generate", PROMPT, "-o", tmp_path / "clip.mp4", "--model", nano)
    *printed, total = map(float, re.findall(r"([\d.]+) s\b", done.out))
    assert len(printed) == len(stages)
    assert total == pytest.approx(sum(printed), abs=0.1)


def test_seconds_that_do_not_fit_are_rounded_aloud(clip: Clip) -> None:
    warning, *_ = clip.summary["warnings"]
    assert "2 s at 8 frames a second became 17 frames" in warning


def test_the_file_holds_the_clip(clip: Clip) -> None:
    frames, rate = read_frames(clip.path)
    assert frames.shape == (17, 32, 64, 3)
    assert rate == 8.0


def test_the_file_says_that_it_was_generated_and_how(clip: Clip, nano: Path) -> None:
    tags = read_metadata(clip.path)
    recipe = json.loads(tags["comment"])
    assert tags["overcrank"] == "generated"
    assert recipe["prompt"] == PROMPT
    assert recipe["overcrank"] == __version__
    assert recipe["guidance"]["rescale"] == 0.5
    fixed = {"kind": "image", "at": 0, "strength": 1.0, "crf": 0}
    assert recipe["conditions"] == [fixed]
    assert set(recipe["hashes"]) == {"vae", "transformer"}


def test_a_long_clip_is_announced(
    nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overcrank.cli.generate.LONG", 0.0)
    done = overcrank("generate", PROMPT, "-o", tmp_path / "clip.mp4", "--model", nano)
    assert done.code == 0
    assert done.err.startswith("this will take about 0.")
    assert done.err.count("\n") == 1


def test_the_prompt_can_be_left_out_of_the_file(nano: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    done = overcrank("generate", PROMPT, "-o", path, "--model", nano, "--no-metadata")
    assert done.code == 0
    assert PROMPT.encode() not in path.read_bytes()
    assert read_metadata(path)["overcrank"] == "generated"
    assert f"{path}: 9 frames of 64 x 32 at 8 frames a second" in done.out
    assert "denoise" in done.out
    assert "in all" in done.out


WRONG: list[tuple[list[object], str]] = [
    (["--width", 50], "try 32 or 64"),
    (["--width", 0], "width"),
    (["--height", -64], "height"),
    (["--width", 10**12], "width"),
    (["--num-frames", 120], "try 113 or 121"),
    (["--num_frames", -1], "num_frames"),
    (["--num-frames", 99_993, "--width", 2048, "--height", 2048], "make it smaller"),
    (["--num-frames", "many"], "many"),
    (["--fps", "quick"], "quick"),
    (["--seconds", 0], "seconds"),
    (["--seconds", -2], "seconds"),
    (["--seconds", "nan"], "seconds"),
    (["--seconds", 1e300], "seconds"),
    (["--seconds", 2, "--num-frames", 9], "give one"),
    (["--fps", 0], "frame_rate"),
    (["--fps", "inf"], "frame_rate"),
    (["--fps", "nan"], "frame_rate"),
    (["--steps", 0], "num_inference_steps"),
    (["--steps", 10**9], "num_inference_steps"),
    (["--guidance-scale", "nan"], "guidance"),
    (["--guidance-scale", -1], "guidance"),
    (["--seed", -1], "seed"),
    (["--seed", 10**30], "seed"),
    (["--dtype", "int3"], "dtype"),
    (["--image", "nowhere.png"], "nowhere.png"),
    (["--image", "."], "regular file"),
    (["--model", "no-such-model"], "no-such-model"),
    (["--set", "colour=red"], "KEY=VALUE"),
    (["--set", "guidance"], "try --guidance-scale VALUE"),
    (["--set", "sigmas"], "KEY=VALUE"),
    (["--set", "guidance.rescale=7"], "guidance.rescale"),
    (["--set", "guidance.rescale=[1"], "guidance.rescale"),
    (["--set", "decode_sigma=nothing"], "decode_sigma"),
    (["--set", "guidance.scale=nan"], "got --set guidance.scale=nan: try --guidance-scale nan"),
    (["--set", "num_frames=9"], "try --num-frames 9"),
    (["--set", "text_encoder=t5"], "try --text-encoder t5"),
    (["--passes", 3], "--passes is a whole number from 1 to 2, got 3"),
    (["--passes", 2], "got --passes=2"),
    (["--set", "sigmas=[1.0,0.5"], "try --set 'sigmas=[1.0, 0.75, 0.5, 0.25]'"),
    (["--set", "guidance.stg_layers=[1"], "try --set 'guidance.stg_layers=[1]'"),
    (["--set", "guidance.rescale=.nan"], "--set guidance.rescale is a number from 0 to 1"),
    (["--set", "sigmas=0.5"], "--set sigmas fall"),
    (["--set", "guidance.rescale=null"], "guidance.rescale"),
    (["--set", "guidance.project=maybe"], "guidance.project"),
    (["--set", "guidance.interval=[a, b]"], "guidance.interval"),
    (["--set", "guidance.stg_scale=1"], "try [1]"),
    (["--set", "sigmas=5"], "sigmas"),
    (["--set", "sigmas=[1, .5, a]"], "sigmas"),
    (["--set", "sigmas=[true]"], "sigmas"),
    (["--set", f"decode_sigma={'9' * 400}"], "decode_sigma"),
    (["--set", f"decode_sigma={'9' * 5000}"], "decode_sigma"),
    (["--set", f"decode_sigma={'[' * 5000}"], "decode_sigma"),
    (["--set", "decode_sigma=!!bool x"], "decode_sigma"),
    (["--set", "negative_prompt=\udc80"], "UTF-8"),
    (["--seconds", 99_999], "--seconds"),
    (["--fps", 0.0004], "--fps (frame_rate)"),
    (["--width", 0], "multiple of 32"),
    (["-o", ".mp4"], "clip.mp4"),
    (["-o", ""], "clip.mp4"),
    (["--flourish"], "--flourish"),
    (["-o", "clip.avi"], "mp4"),
    (["-o", "."], "mp4"),
    (["-o", "nope/x.mp4"], "make the folder first: mkdir -p nope"),
]


@pytest.mark.parametrize(("words", "match"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_request_ends_with_two_and_words(
    nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[object], match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = overcrank("generate", PROMPT, "-o", "clip.mp4", "--model", nano, *words)
    assert done.code == 2
    assert match in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_the_keys_of_guidance_are_those_it_has() -> None:
    refinements = {f"guidance.{field.name}" for field in fields(Guidance)} - {"guidance.scale"}
    assert refinements == {key for key in SETTABLE if key.startswith("guidance.")}


def test_a_key_of_set_has_no_flag_and_its_example_is_right() -> None:
    assert not SETTABLE.keys() & WITH_FLAG.keys()
    values = read_settings([f"{key}={value}" for key, value in SETTABLE.items()])
    refinements = {k.removeprefix("guidance."): v for k, v in values.items() if "." in k}
    rest = {key: value for key, value in values.items() if "." not in key}
    assert Request("a ball", guidance=Guidance(3.0, **refinements), **rest).sigmas[-1] == 0.25


def test_a_full_disk_under_the_results_ends_with_one() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from overcrank.cli import main; main(['--version'])"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("prompt", ["5", "yes", "a: b", "[a]"])
def test_a_negative_prompt_is_taken_as_it_is(prompt: str) -> None:
    assert read_settings([f"negative_prompt={prompt}"]) == {"negative_prompt": prompt}


@pytest.mark.parametrize("prompt", ["", "   ", "\n"])
def test_an_empty_prompt_ends_with_two(tmp_path: Path, prompt: str) -> None:
    done = overcrank("generate", prompt, "-o", tmp_path / "clip.mp4")
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert "must say something" in done.err


def test_an_output_that_cannot_be_written_ends_with_two(nano: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = overcrank("generate", PROMPT, "-o", tmp_path / "file" / "x.mp4", "--model", nano)
    assert done.code == 2
    assert "cannot be written" in done.err


def test_a_picture_that_is_none_ends_with_two(nano: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    words = ("-o", tmp_path / "clip.mp4", "--model", nano, "--image", tmp_path / "text.png")
    assert overcrank("generate", PROMPT, *words).code == 2
    assert not (tmp_path / "clip.mp4").exists()


def test_a_model_without_text_encoder_says_so(tmp_path: Path) -> None:
    model = save_nano(tmp_path / "mute", text_encoder=None)
    done = overcrank("generate", PROMPT, "-o", tmp_path / "clip.mp4", "--model", model)
    assert done.code == 2
    assert "no text encoder" in done.err


STOPPED = """
import os, signal, sys
from overcrank.cli import main
from overcrank.cli.progress import Progress
name, number = sys.argv[1], int(sys.argv[2])
report = getattr(Progress, name)
def stop_at_the_second(self, done, total):
    report(self, done, total)
    if done >= 2:
        os.kill(os.getpid(), number)
setattr(Progress, name, stop_at_the_second)
signal.signal(signal.SIGINT, signal.default_int_handler)
main(sys.argv[3:])
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", ["generate", "convert"])
def test_a_signal_leaves_no_file(
    command: str, number: signal.Signals, code: int, nano: Path, tmp_path: Path
) -> None:
    """It comes in the middle: while it denoises, after the first of so many steps; as it writes."""
    if command == "generate":
        name = "on_step"
        words = [PROMPT, "-o", str(tmp_path / "clip.mp4"), "--model", str(nano), "--steps", "500"]
    else:
        name = "on_part"
        words = ["--to", "overcrank", str(nano), str(tmp_path / "copy")]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, name, str(int(number)), command, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert done.stderr == "stopped\n"
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_a_command_is_imported_has_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("overcrank.cli.import_module", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    done = overcrank("generate", PROMPT, "-o", "clip.mp4")
    assert (done.code, done.err) == (130, "stopped\n")
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_flags_are_a_contract() -> None:
    done = overcrank("generate", "--help")
    flags = {word for word in done.out.split() if word.startswith("-") and len(word) > 1}
    named = {flag for flag in flags if flag.strip("-").replace("-", "").isalpha()}
    assert named == {
        "--output", "-o", "--image", "--model", "--width", "--height", "--num-frames",
        "--seconds", "--fps", "--steps", "--guidance-scale", "--seed", "--dtype", "--set",
        "--metadata", "--no-metadata", "--json", "--help", "-h",
        "--vae", "--text-encoder", "--allow-mismatch", "--upscaler", "--passes",
        "--lora", "--reference", "--enhance",
    }  # fmt: skip


def test_flags_may_be_written_with_underscores() -> None:
    words = ["generate", "a_b --c_d", "--num_frames=9", "--set", "decode_sigma=0.1", "-o", "a_b"]
    assert with_dashes(words)[2] == "--num-frames=9"
    assert [*with_dashes(words)[:2], *with_dashes(words)[3:]] == [*words[:2], *words[3:]]


@pytest.mark.parametrize(
    ("wanted", "frames"), [(0.1, 1), (1, 1), (6, 9), (9, 9), (13.1, 17), (120, 121), (48, 49)]
)
def test_a_length_becomes_the_nearest_possible_one(wanted: float, frames: int) -> None:
    assert nearest_frames(wanted) == frames


def test_the_version_is_printed_without_loading_a_model() -> None:
    done = overcrank("--version")
    assert (done.code, done.out) == (0, f"overcrank {__version__}\n")


def test_help_does_not_wait_for_torch() -> None:
    code = """
import sys
from overcrank.cli import main
try:
    main(["generate", "--help"])
except SystemExit:
    sys.exit(int("torch" in sys.modules))
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
