"""From a folder of videos to a model that makes clips, by the commands of docs/train.md."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from nano_model import save_nano
from overcrank.cli import main
from overcrank.errors import RequestError
from overcrank.media import read_frames
from overcrank.train import read_config
from overcrank.train.lora import adapt
from overcrank.train.pack import pack
from overcrank.transformer import PRESETS, Transformer
from overcrank.weights import Card
from test_data_prepare import pan, video

PAGE = Path(__file__).resolve().parent.parent / "docs" / "train.md"
BOTH = ["save_every=30", "optim.warmup=1", "optim.fall=30", "optim.ema=0.9", "optim.lr=0.01"]
SMALL = {
    "nano-vae": [*BOTH, "steps=60", "stages=[{frames: 9, size: 64, batch: 2}]"],
    "nano-transformer": [*BOTH, "steps=150", "stages=[{frames: 17, size: 64, batch: 16}]"],
}
"""Just enough to see that something is learnt."""


def sequence() -> list[list[str]]:
    """The first block of commands of the page's section, without the name of the program."""
    section = PAGE.read_text().split("## From a folder of videos to a model")[1]
    block = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[0]
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("overcrank")]


def log(run: str) -> list[dict[str, float]]:
    lines = (Path("runs") / run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def written(text: str, folder: Path) -> Path:
    (folder / "run.yaml").write_text(text)
    return folder / "run.yaml"


def changes_of(block: str) -> list[str]:
    """What `--set` would say."""
    return [f"{key}={json.dumps(value)}" for key, value in yaml.safe_load(block).items()]


def test_the_examples_of_the_page_are_valid(tmp_path: Path) -> None:
    section = PAGE.read_text().split("## From a folder of videos")[1].split("\n## ")[0]
    blocks = re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    whole, *blocks, two_passes = blocks
    assert read_config(written(whole, tmp_path)).preset == "nano"
    two = read_config("nano-transformer", changes_of(two_passes))
    assert [(stage.near_noise, stage.below) for stage in two.stages] == [(0.5, 1.0), (0.0, 0.8)]
    changes = [change for block in blocks for change in changes_of(block)]
    assert [change.partition("=")[0] for change in changes] == ["clips", "latents", "stages"]
    config = read_config("nano-transformer", changes)
    costs = {stage.batch * (stage.tokens or stage.clip.latent.tokens) for stage in config.stages}
    assert costs == {5120}


def test_the_loras_of_the_page_are_valid(tmp_path: Path) -> None:
    section = PAGE.read_text().split("## LoRA and IC-LoRA")[1].split("\n## ")[0]
    blocks = re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    [pocket] = [block for block in blocks if "start_from: pocket" in block]
    config = read_config(written(pocket, tmp_path))
    with torch.device("meta"):
        network = Transformer(PRESETS["pocket"])
    assert config.lora is not None
    adapt(network, config.lora)
    learnt = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert f"Rank {config.lora.rank} is {learnt:,} numbers" in section


@pytest.fixture
def do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[list[str]], int]:
    monkeypatch.chdir(tmp_path)

    def call(words: list[str]) -> int:
        with pytest.raises(SystemExit) as ended:
            main(words)
        return int(ended.value.code or 0)

    return call


@pytest.mark.slow
def test_videos_become_a_model_by_the_commands_of_the_page(
    do: Callable[[list[str]], int], tmp_path: Path
) -> None:
    for number in range(12):
        file = tmp_path / "videos" / f"{number}.mp4"
        video(file, pan(number, frames=20 + 16 * (number % 2), size=(96, 128)), rate=12.0)
        file.with_suffix(".txt").write_text(f"coloured squares of kind {number % 3}")
    commands = sequence()
    assert [words[0] for words in commands] == ["prepare", "train", "train", "pack", "generate"]
    for words in commands:
        changes = SMALL[words[1]] if words[0] == "train" else []
        assert do([*words, *(f"--set={change}" for change in changes)]) == 0, words
    held_out = [line["held_out_psnr"] for line in log("nano-vae") if "held_out_psnr" in line]
    assert held_out[-1] > held_out[0] + 0.1, held_out
    lost = [
        line["held_out_64_0.9"] for line in log("nano-transformer") if "held_out_64_0.9" in line
    ]
    assert lost[-1] < lost[0] - 0.05, lost
    model = tmp_path / commands[3][2]
    card = Card.read(model)
    assert (card.text_encoder, card.defaults.frames, card.defaults.frame_rate) == (
        "overcrank-small",
        17,
        12.0,
    )
    clip = tmp_path / commands[4][commands[4].index("-o") + 1]
    frames, rate = read_frames(clip)
    assert (tuple(frames.shape), rate) == ((17, 64, 64, 3), 12.0)
    assert frames.float().std() > 5
    assert do(["pack", "runs/nano-transformer", str(model)]) == 2
    assert do(["pack", "runs/nano-transformer", "new", "--vae", "pocket"]) == 2


LORA = """
kind: transformer
start_from: {base}
vae: {vae}
lora: {{rank: 4}}
steps: 1
latents: [{{clips: 128, frames: 9, size: 32}}]
stages: [{{frames: 9, size: 32, batch: 1}}]
optim: {{lr: 0.001}}
"""


@pytest.mark.parametrize(
    ("base", "vae", "use"),
    [
        ("pocket", "pocket", "--model pocket --lora RUN/lora.safetensors"),
        ("ltxv.safetensors", "vae.gguf", "--model ltxv.safetensors --vae vae.gguf --lora RUN/"),
        (
            "runs/a/transformer.safetensors",
            "runs/v/vae.safetensors",
            "overcrank pack runs/a MODEL, then overcrank generate PROMPT -o clip.mp4 --model MODEL",
        ),
    ],
)
def test_a_lora_is_not_packed_but_used(tmp_path: Path, base: str, vae: str, use: str) -> None:
    (tmp_path / "config.yaml").write_text(LORA.format(base=base, vae=vae))
    (tmp_path / "lora.safetensors").write_bytes(b"")
    with pytest.raises(RequestError, match="a LoRA is no model of its own: got") as refused:
        pack(tmp_path, tmp_path / "model")
    assert use.replace("RUN", str(tmp_path)) in str(refused.value)


def test_a_model_is_not_packed_again(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="which is a model already: overcrank generate"):
        pack(save_nano(tmp_path / "nano"), tmp_path / "model")


def test_what_is_no_run_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no run of a transformer: got .*lost, without"):
        pack(tmp_path / "lost", tmp_path / "model")
    assert not list(tmp_path.iterdir())
