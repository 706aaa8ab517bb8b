"""A plan counts what a run then holds and does, writes nothing, and takes seconds for 2B."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from overcrank.cli import main
from overcrank.cli.train_plan import duration, lines
from overcrank.runtime import choose
from overcrank.train.config import Latents, Lora, Optim, RunConfig, Stage
from overcrank.train.plan import plan_run
from overcrank.train.rehearse import Architecture, rehearse
from overcrank.train.tally import cost
from overcrank.transformer import PRESETS, Transformer
from overcrank.vae import PRESETS as VAES
from overcrank.vae import VAE
from test_train_loop import CPU, vae_run

STAGE = Stage(frames=9, size=64, batch=2)


def flow_run(preset: str = "nano", stage: Stage = STAGE, **changes: object) -> RunConfig:
    values = {
        "kind": "transformer",
        "preset": preset,
        "vae": "pocket",
        "steps": 10,
        "stages": [stage],
        "latents": [Latents(clips=128, frames=stage.frames, size=stage.size)],
        "optim": Optim(lr=1e-3),
    }
    return RunConfig.model_validate({**values, **changes})


@pytest.mark.parametrize("config", [vae_run(freeze=["encoder"]), flow_run()])
def test_a_plan_counts_the_parameters_that_a_run_has(config: RunConfig) -> None:
    plan = plan_run(config, CPU)
    network = VAE(VAES["nano"]) if config.kind == "vae" else Transformer(PRESETS["nano"])
    weights = list(network.parameters())
    assert sum(p.trained + p.frozen for p in plan.parts) == sum(w.numel() for w in weights)
    assert plan.memory.weights == sum(t.numel() * 4 for t in network.state_dict().values())
    assert plan.memory.optimiser == 2 * plan.memory.gradients
    frozen = {part.name: part.frozen for part in plan.parts}
    if config.kind == "vae":
        encoder = sum(p.numel() for p in network.get_submodule("encoder").parameters())
        assert frozen["vae.encoder"] == encoder


def saved_by_autograd(loss_of: Stage, config: RunConfig) -> int:
    """Bytes that a real step of the same networks keeps for its backward pass."""
    rehearsal = rehearse(config, Architecture.of(config), CPU)
    rehearsal.fill(torch.device("cpu"))
    own = {t.untyped_storage()._cdata for n in rehearsal.networks for t in n.state_dict().values()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = rehearsal.steps[0][1](loss_of)
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("config", [vae_run(), flow_run()])
def test_activations_are_those_of_a_real_step(config: RunConfig) -> None:
    """Counted without numbers: what autograd keeps, and what is in work."""
    stage = config.stages[0]
    kept = saved_by_autograd(stage, config)
    _, counted = cost(config, Architecture.of(config), stage, CPU)
    assert kept <= counted <= 2 * kept


@pytest.mark.parametrize(
    ("change", "most", "operations"),
    [({"recompute": True}, 0.45, 4 / 3), ({"accumulate": 4}, 0.3, 1)],
)
def test_a_plan_knows_how_memory_is_saved(
    change: dict[str, object], most: float, operations: float
) -> None:
    """Recomputing eight blocks is a third more work; four parts hold a quarter at once."""
    stage = STAGE.model_copy(update={"batch": 8, "size": 128})
    plain, saving = (
        cost(config, Architecture.of(config), stage, CPU)
        for config in (flow_run("pocket", stage), flow_run("pocket", stage, **change))
    )
    assert saving[1] < most * plain[1]
    assert saving[0] == pytest.approx(operations * plain[0], rel=0.1)


def test_operations_grow_with_the_batch() -> None:
    config = flow_run()
    architecture = Architecture.of(config)
    one, four = (
        cost(config, architecture, STAGE.model_copy(update={"batch": n}), CPU) for n in (1, 4)
    )
    assert four[0] == pytest.approx(4 * one[0], rel=0.05)
    assert four[1] == pytest.approx(4 * one[1], rel=0.2)


def test_attention_counts_as_the_square_of_the_tokens() -> None:
    """Of N tokens 12 N^2 D a layer, forward and backward, and half of it once more."""
    config = flow_run()
    architecture = Architecture.of(config)
    ops = {
        size: cost(config, architecture, STAGE.model_copy(update={"size": size, "batch": 1}), CPU)[
            0
        ]
        for size in (512, 1024)
    }
    width, layers = PRESETS["nano"].width, PRESETS["nano"].layers
    squares = 2048**2 - 4 * 512**2  # what is linear in the tokens falls out
    assert ops[1024] - 4 * ops[512] == pytest.approx(14 * squares * width * layers, rel=0.05)


def test_more_layers_cost_what_they_would_if_all_were_counted() -> None:
    config = flow_run("pocket")
    few = Architecture.of(config)
    by_two = cost(config, few, STAGE, CPU)
    network: nn.Module = Transformer(PRESETS["pocket"])
    matrices = sum(p.numel() for p in network.parameters() if p.ndim == 2)
    tokens = STAGE.batch * STAGE.clip.latent.tokens
    # 6 operations a weight and token; texts are longer or shorter than clips.
    assert 3 * matrices * tokens < by_two[0] < 12 * matrices * tokens


def test_a_plan_of_the_2b_model_needs_no_weights(tmp_path: Path) -> None:
    stage = Stage(frames=121, size="768x512", batch=1)
    config = flow_run("ltxv-2b-0.9.5", stage, start_from="hf://nobody/nothing", lora=Lora())
    plan = plan_run(config, choose("cpu", "bfloat16"))
    assert plan.stages[0].tokens == 6144
    assert 1.9e9 < sum(part.frozen for part in plan.parts) < 2e9
    assert plan.memory.weights < 4.2e9  # what is frozen in bfloat16
    assert plan.memory.optimiser == 2 * 4 * sum(part.trained for part in plan.parts)
    assert "products of matrices" in plan.timed_by
    assert any("hf://nobody/nothing was not looked at" in remark for remark in plan.remarks)


def test_stages_that_take_turns_share_the_steps() -> None:
    stages = [
        Stage(frames=9, size=32, batch=2),
        Stage(start=4, frames=9, size=32, batch=1),
        Stage(start=4, frames=9, size=64, batch=1),
        Stage(start=99, frames=9, size=64, batch=1),
    ]
    plan = plan_run(vae_run(steps=10, stages=stages), CPU)
    assert [(stage.first, stage.steps) for stage in plan.stages] == [(0, 4), (4, 3), (4, 3)]
    assert plan.seconds == pytest.approx(sum(s.steps * s.seconds for s in plan.stages))
    assert all(stage.samples_per_second > 0 for stage in plan.stages)


def test_a_run_that_cannot_fit_is_told() -> None:
    huge = Stage(frames=121, size=2048, batch=65536)
    plan = plan_run(flow_run(stage=huge), CPU)
    assert any("does not fit into memory" in remark for remark in plan.remarks)


def test_the_dry_run_prints_one_object_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "pocket-vae", "--set", "preset=nano", "--set", "steps=8", "--dry-run"]
    words += ["--set", "stages=[{frames: 9, size: 32, batch: 2}]", "--device", "cpu"]
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--json"])
    plan = json.loads(capsys.readouterr().out)
    assert plan["config"]["preset"] == "nano"
    assert plan["memory"]["total"] > plan["memory"]["activations"] > 0
    assert plan["parameters"]["trained"] == 97529
    assert list(tmp_path.iterdir()) == []


def test_people_read_the_same_plan_in_words() -> None:
    text = "\n".join(lines(plan_run(vae_run(), CPU)))
    assert text.startswith("kind: vae")
    assert "vae.decoder" in text
    assert "for 4 steps on cpu in float32, from steps of" in text


def test_a_critic_counts() -> None:
    alone, judged = (plan_run(vae_run(loss={"gan": gan, "gan_from": 1}), CPU) for gan in (0.0, 1.0))
    assert any(part.name.startswith("critic.") for part in judged.parts)
    assert judged.stages[0].operations > 1.2 * alone.stages[0].operations


def test_a_joint_run_trains_both_networks() -> None:
    joint = RunConfig.model_validate(
        {**vae_run().model_dump(exclude={"kind", "freeze"}), "kind": "joint"}
    )
    plan = plan_run(joint, CPU)
    assert {part.name.split(".")[0] for part in plan.parts} == {"vae", "transformer"}
    assert plan.stages[0].operations > plan_run(vae_run(), CPU).stages[0].operations


def test_json_is_for_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "pocket-vae", "--json"])
    assert "got it without --dry-run: add --dry-run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (61, "1 min 1 s"), (7205, "2 h 5 s"), (90061, "1 d 1 h")]
)
def test_a_duration_is_said_in_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
