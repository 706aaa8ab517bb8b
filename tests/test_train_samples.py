"""A run makes clips of its own network, and learns as if it had not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from overcrank.errors import ModelError, RequestError
from overcrank.media import read_frames
from overcrank.shapes import ClipSize
from overcrank.train import build_objective, train
from overcrank.train.config import RunConfig, Samples
from overcrank.train.samples import Sampled, Sampler
from overcrank.train.transformer import TransformerObjective
from overcrank.vae import PRESETS, VAE
from overcrank.weights import save_component
from test_train_joint import joint_objective, joint_run
from test_train_loop import CPU, vae_run
from test_train_transformer import LetterCounts, cache  # noqa: F401  a fixture

WISH = {"every": 2, "prompts": ["a red ball", "a blue cube"], "frames": 9, "size": 32, "steps": 2}


def flow_run(folder: Path, **changes: Any) -> RunConfig:
    torch.manual_seed(0)
    save_component(folder / "vae.safetensors", "vae", VAE(PRESETS["nano"]))
    values = {
        "kind": "transformer",
        "preset": "nano",
        "vae": str(folder / "vae.safetensors"),
        "steps": 4,
        "stages": [{"frames": 9, "size": 32, "batch": 2}],
        "latents": [{"clips": 128, "frames": 9, "size": 32}],
        "optim": {"lr": 1e-3, "warmup": 0},
        "precision": "float32",
        "log_every": 1,
        "save_every": 2,
    }
    return RunConfig.model_validate({**values, **changes})


def run(config: RunConfig, caches: Any, folder: Path) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    torch.manual_seed(config.seed)
    objective: Any = TransformerObjective(config, caches, "abc", CPU)
    if config.samples is not None:
        objective = Sampled(objective, Sampler(config, CPU, events.append, LetterCounts))
    train(config, objective, folder, events.append, CPU)
    return events


def test_a_run_with_samples_learns_what_one_without_does(
    cache: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    """The same weights, bit for bit; clips before the first step and where it is saved."""
    config = flow_run(tmp_path)
    caches = {config.latents[0].clip: cache[1]}
    run(config, caches, tmp_path / "plain")
    events = run(config.model_copy(update={"samples": Samples(**WISH)}), caches, tmp_path / "shown")
    plain, shown = (load_file(tmp_path / n / "transformer.safetensors") for n in ("plain", "shown"))
    assert all(torch.equal(plain[name], shown[name]) for name in plain)
    made = sorted(path.name for path in (tmp_path / "shown" / "samples").iterdir())
    steps = ("step-000000", "step-000002", "step-000004")
    assert made == [f"{step}{end}" for step in steps for end in ("-0.mp4", "-1.mp4", ".webp")]
    assert [event["step"] for event in events if "samples" in event] == [0, 2, 4]
    frames, rate = read_frames(tmp_path / "shown" / "samples" / "step-000004-1.mp4")
    assert (tuple(frames.shape), rate) == ((9, 32, 32, 3), 24.0)
    with Image.open(tmp_path / "shown" / "samples" / "step-000004.webp") as sheet:
        assert sheet.size == (8 * 32, 2 * 32)


def test_a_resumed_run_does_not_look_again_at_where_it_began(
    cache: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    config = flow_run(tmp_path, samples=WISH)
    caches = {config.latents[0].clip: cache[1]}
    run(config.model_copy(update={"steps": 2}), caches, tmp_path / "run")
    events = run(config, caches, tmp_path / "run")
    assert [event["step"] for event in events if "samples" in event] == [4]


def test_networks_that_learn_together_make_samples(tmp_path: Path) -> None:
    config = joint_run(samples=WISH)
    events: list[dict[str, Any]] = []
    sampler = Sampler(config, CPU, events.append, LetterCounts)
    sampler.make(joint_objective().module.eval(), tmp_path, 0)
    assert events[0] == {"step": 0, "samples": str(tmp_path / "samples" / "step-000000.webp")}
    assert all("artefact" in event for event in events[1:])


def test_what_is_wrong_with_a_sample_is_told(tmp_path: Path) -> None:
    """A decoder without weights shows its bias, whatever the latents: nothing moves."""
    events: list[dict[str, Any]] = []
    module = joint_objective().module.eval()
    with torch.no_grad():
        module.get_parameter("vae.decoder.conv_out.conv.weight").zero_()
        module.get_parameter("vae.decoder.conv_out.conv.bias").copy_(torch.linspace(-1, 1, 48))
    Sampler(joint_run(samples=WISH), CPU, events.append, LetterCounts).make(module, tmp_path, 2)
    told = [event["artefact"].split(":")[:2] for event in events[1:]]
    assert told == [[f"step-000002-{clip}.mp4", " nothing moves"] for clip in (0, 1)]


def test_a_clip_that_is_nothing_does_not_end_the_run(tmp_path: Path) -> None:
    config = joint_run(samples=WISH)
    events: list[dict[str, Any]] = []
    module = joint_objective().module.eval()
    with torch.no_grad():
        module.get_parameter("vae.decoder.conv_out.conv.bias").fill_(float("nan"))
    Sampler(config, CPU, events.append, LetterCounts).make(module, tmp_path, 2)
    assert [(event["step"], "must be finite" in event["no_samples"]) for event in events] == [
        (2, True)
    ]
    assert not list((tmp_path / "samples").iterdir())


def test_what_cannot_be_is_refused_at_the_start_and_only_told_later(tmp_path: Path) -> None:
    """Memory or a disk may be full for a while: that is no reason to end a run of days."""

    def none() -> LetterCounts:
        raise ModelError("there is no text encoder, got none: right is one")

    events: list[dict[str, Any]] = []
    sampler = Sampler(joint_run(samples=WISH), CPU, events.append, none)
    module = joint_objective().module.eval()
    with pytest.raises(ModelError, match="no text encoder"):
        sampler.make(module, tmp_path, 0)
    sampler.make(module, tmp_path, 2)
    assert [event["step"] for event in events if "no text encoder" in event["no_samples"]] == [2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 64}, "got 9 frames of 64 pixels: right is at most 9 frames of 32"),
        ({"frames": 17}, "got 17 frames of 32 pixels: right is at most 9 frames of 32"),
        ({"every": 3}, "got samples.every 3 and save_every 2: right is a multiple"),
    ],
)
def test_samples_that_the_run_does_not_learn_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        flow_run(tmp_path, samples={**WISH, **change})


def test_samples_are_as_large_as_what_is_learnt_at_the_end(tmp_path: Path) -> None:
    stages = [
        {"frames": 17, "size": 32, "batch": 2},
        {"start": 2, "frames": 9, "size": 32, "batch": 2},
    ]
    latents = [{"clips": 128, "frames": 17, "size": 32}]
    config = flow_run(tmp_path, stages=stages, latents=latents, samples={"prompts": ["a ball"]})
    assert config.sampled().clip == ClipSize(9, 32, 32)


def test_an_autoencoder_has_no_samples_but_its_round_trip() -> None:
    with pytest.raises(ValueError, match="samples does nothing in a run of kind vae"):
        vae_run(samples=WISH)


def test_a_picture_that_is_not_there_is_found_before_any_work(tmp_path: Path) -> None:
    config = flow_run(tmp_path, samples={**WISH, "image": str(tmp_path / "none.png")})
    with pytest.raises(RequestError, match="samples.image is not there: got .*none.png"):
        build_objective(config, tmp_path / "run", lambda _event: None, CPU)
    assert not (tmp_path / "run").exists()
