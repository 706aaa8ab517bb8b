"""The presets for the published 2B model: they resolve, and plan on the meta device."""

from pathlib import Path

import pytest
import torch

import overcrank
from overcrank.conditioning import Reference
from overcrank.errors import RequestError
from overcrank.train import build_objective, read_config, train
from overcrank.train.checks import with_files
from overcrank.train.config import RunConfig
from overcrank.train.lora import adapt
from overcrank.transformer import PRESETS, Transformer
from prepared_clips import write_clips
from test_train_loop import CPU
from tiny_checkpoints import write_tiny
from tiny_t5 import save_t5

WHOLE = 1_923_385_472
"""Parameters of the published 2B transformer, in 715 tensors."""
ENDS = "to_q, to_k, to_v, to_out.0, ff.net.0.proj, ff.net.2"


def planned(config: RunConfig) -> Transformer:
    with torch.device("meta"):
        network = Transformer(PRESETS[config.preset])
    if config.lora is not None:
        adapt(network, config.lora)
    return network


@pytest.mark.parametrize(
    ("name", "learnt"),
    [("ltxv-2b-lora", 58_720_256), ("ltxv-2b-full", WHOLE), ("ltxv-2b-pretrain", WHOLE)],
)
def test_a_preset_of_the_2b_model_has_its_size(name: str, learnt: int) -> None:
    config = read_config(name)
    assert config.recompute
    network = planned(config)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == learnt
    assert config.optim.fall <= config.steps
    assert network.config.causal_positions, "as those of 0.9.5 and later"


def test_an_ic_lora_is_the_lora_with_the_changes_that_its_file_names() -> None:
    config = read_config(
        "ltxv-2b-lora",
        ["lora.rank=128", "lora.alpha=128", f"lora.targets=[{ENDS}]", "conditions.reference=1"],
    )
    learnt = sum(p.numel() for p in planned(config).parameters() if p.requires_grad)
    assert learnt == 190_840_832


def test_batches_of_pretraining_have_the_same_number_of_tokens() -> None:
    config = read_config("ltxv-2b-pretrain")
    counts = {
        stage.batch * min(stage.tokens or 0, stage.clip.latent.tokens) for stage in config.stages
    }
    assert counts == {16 * 6144}
    assert {stage.frames for stage in config.stages} >= {1, 121, 249}
    assert config.start_from is None


@pytest.mark.parametrize("name", ["ltxv-2b-lora", "ltxv-2b-full", "ltxv-2b-pretrain"])
def test_a_preset_says_which_files_it_lacks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = read_config(name)
    with pytest.raises(RequestError) as refused:
        with_files(config)
    lacking = {"vae": config.vae, "text": "t5-xxl", "clips.folder": "clips"}
    lacking |= {} if config.start_from is None else {"start_from": config.start_from}
    said = str(refused.value)
    assert said.startswith(f"{len(lacking)} files are not there: got ")
    assert all(f"{key} {given}" in said and f"{key}: " in said for key, given in lacking.items())


def test_an_ic_lora_goes_from_videos_to_clips_that_follow_one(tmp_path: Path) -> None:
    """The preset on a tiny release with a tiny T5: prepared clips in, a LoRA out, used at once."""
    release = write_tiny(tmp_path / "ltxv.safetensors")
    text = save_t5(tmp_path / "t5", width=24)
    shape = "frames: 9, size: 64"
    config = read_config(
        "ltxv-2b-lora",
        [
            *(f"start_from={release}", f"vae={release}", f"text={text}", "preset=null"),
            f"clips.folder={write_clips(tmp_path)}",
            *("steps=2", "optim.fall=0", "precision=float32", "conditions.reference=1"),
            *(f"latents=[{{{shape}}}]", f"stages=[{{{shape}, batch: 2}}]"),
            *("lora.rank=4", "lora.alpha=4", f"lora.targets=[{ENDS}]"),
        ],
    )
    objective = build_objective(config, tmp_path / "run", lambda _event: None, CPU)
    assert objective.data()[0].reference_BCTHW.shape[1:] == (128, 2, 2, 2)
    train(config, objective, tmp_path / "run", lambda _event: None, CPU)

    clip = {"num_frames": 9, "height": 64, "width": 64, "num_inference_steps": 1, "guidance": 1.0}
    follow = [Reference(frames=torch.zeros(9, 64, 64, 3, dtype=torch.uint8))]
    pipe = overcrank.load(
        release,
        text_encoder=text,
        loras=[tmp_path / "run" / "lora.safetensors"],
        in_context=True,
        device="cpu",
        dtype="float32",
    )
    (report,) = pipe.model.fuser.reports
    assert (len(report.matched), report.unmatched) == (2 * 10, ())
    video = pipe("a red ball", conditions=follow, seed=1, **clip)
    assert video.frames.shape == (9, 64, 64, 3)
