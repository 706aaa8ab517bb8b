"""LoRA training: what is learnt, what stays, and files that others read."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from loud_weights import randomise
from nano_model import save_nano
from overcrank.errors import RequestError
from overcrank.evaluate.twins import Diffusers, Inputs
from overcrank.runtime import Hardware
from overcrank.train import read_config, train
from overcrank.train.config import Lora, Optim, RunConfig, Stage
from overcrank.train.learnt import Learnt
from overcrank.train.lora import adapt, additions, save_lora
from overcrank.train.transformer import TransformerObjective
from overcrank.transformer import PRESETS, Transformer, TransformerConfig
from overcrank.weights import load_network, save_component
from overcrank.weights.lora import Fuser, read_lora
from overcrank.weights.synthetic import reduced_release
from test_train_killed import RUN
from test_train_loop import CPU
from test_train_shard import log_of
from test_train_shard import train as run_command
from test_train_transformer import SPEC, cache, fit_one_batch  # noqa: F401  a fixture
from tiny_checkpoints import write_tiny

CONFIG = PRESETS["nano"]
LORA = Lora(rank=4, alpha=2.0)
EVERY = [*LORA.targets, "ff.net.0.proj", "ff.net.2"]


def base(dtype: torch.dtype = torch.float32) -> Transformer:
    network = Transformer(CONFIG).eval()
    randomise(network)
    return network.to(dtype)


def adapted(lora: Lora = LORA, dtype: torch.dtype = torch.float32) -> Transformer:
    network = base(dtype)
    adapt(network, lora)
    return network


def heard(network: Transformer) -> Transformer:
    """With additions that matter."""
    dice = torch.Generator().manual_seed(5)
    for _, addition in additions(network):
        addition.up.data.normal_(std=0.5, generator=dice)
    return network


def inputs(config: TransformerConfig = CONFIG) -> tuple[Tensor, ...]:
    dice = torch.Generator().manual_seed(1)
    tokens = torch.randn(2, 6, config.latent_channels, generator=dice)
    positions = torch.rand(1, 6, 3, generator=dice)
    text = torch.randn(2, 5, config.text_width, generator=dice)
    return tokens, torch.tensor([0.3, 0.8]), positions, text


def test_training_begins_with_the_network_as_it_is() -> None:
    assert torch.equal(adapted()(*inputs()), base()(*inputs()))


@pytest.mark.parametrize("targets", [LORA.targets, EVERY])
def test_a_fused_file_is_the_network_that_was_trained(tmp_path: Path, targets: list[str]) -> None:
    network = heard(adapted(Lora(rank=4, alpha=2.0, targets=targets)))
    save_lora(tmp_path / "lora.safetensors", network, {})
    lora, fused = read_lora(tmp_path / "lora.safetensors"), base()
    report = Fuser(fused).fuse((lora, 1.0))[0]
    assert (lora.ranks, report.unmatched) == ((4,), ())
    assert len(report.matched) == CONFIG.layers * (8 if targets == LORA.targets else 10)
    plain, wanted, got = (each(*inputs()) for each in (base(), network, fused))
    assert (wanted - plain).std() > 0.05, "the additions are heard"
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_only_additions_are_learnt_and_stored() -> None:
    network = adapted()
    names = {name for name, p in network.named_parameters() if p.requires_grad}
    assert names == {f"{n}.{half}" for n, _ in additions(network) for half in ("down", "up")}
    assert len(names) == CONFIG.layers * 8 * 2
    network(*inputs()).square().mean().backward()
    assert names == {name for name, p in network.named_parameters() if p.grad is not None}
    learnt = Learnt.begin(network, Optim(lr=1e-3))
    learnt.optimiser.step()
    kinds = {"module": 1, "average": 1, "optimiser": 3}
    counted = Counter(name.partition(".")[0] for name in learnt.tensors())
    assert counted == {kind: count * len(names) for kind, count in kinds.items()}


def test_a_frozen_network_in_bfloat16_has_additions_in_float32() -> None:
    network = adapted(dtype=torch.bfloat16)
    kinds = {(p.dtype, p.requires_grad) for p in network.parameters()}
    assert kinds == {(torch.bfloat16, False), (torch.float32, True)}
    out = network(*inputs())
    assert out.dtype == torch.bfloat16
    out.float().square().mean().backward()


def test_a_target_that_names_no_layer_is_refused() -> None:
    with pytest.raises(RequestError, match=r"got 'to_w': there are attn1.to_q, .*ff.net.2"):
        adapted(Lora(targets=["to_q", "to_w"]))


@pytest.mark.parametrize(
    ("lora", "count"),
    [(Lora(), 58_720_256), (Lora(rank=128, alpha=128, targets=EVERY), 190_840_832)],
)
def test_additions_to_a_published_network_have_their_size(lora: Lora, count: int) -> None:
    """28 blocks, 8 layers of 2048 to 2048 each, and two to and from 8192; no memory is needed."""
    with torch.device("meta"):
        network = Transformer(PRESETS["ltxv-2b-0.9.5"])
    adapt(network, lora)
    assert sum(p.numel() for p in network.parameters() if not p.requires_grad) == 1_923_385_472
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count


def lora_run(start_from: Path, **changes: Any) -> RunConfig:
    plain = {
        "kind": "transformer",
        "preset": "nano",
        "steps": 2,
        "stages": [Stage(frames=9, size=32, batch=4)],
        "optim": Optim(lr=3e-3, warmup=0),
        "vae": "nano",
        "start_from": str(start_from),
        "latents": [{"clips": 128, "frames": 9, "size": 32}],
        "lora": {"rank": 4, "alpha": 4.0},
        "precision": "float32",
    }
    return RunConfig(**{**plain, **changes})


@pytest.fixture
def start(tmp_path: Path) -> Path:
    save_component(tmp_path / "base.safetensors", "transformer", base(), dtype=torch.float32)
    return tmp_path / "base.safetensors"


def test_a_run_learns_and_leaves_a_lora(cache: Any, start: Path, tmp_path: Path) -> None:  # noqa: F811
    config = lora_run(start)
    objective = TransformerObjective(config, {SPEC.size: cache[1]}, SPEC.latent_hash, CPU)
    losses = fit_one_batch(objective, 3e-2)
    assert losses[-1] < 0.95 * losses[0]
    train(config, objective, tmp_path / "run", lambda _event: None, CPU)
    assert not (tmp_path / "run" / "transformer.safetensors").exists()
    with safe_open(tmp_path / "run" / "lora.safetensors", "pt") as file:
        assert file.metadata()["latent_hash"] == SPEC.latent_hash
    assert Fuser(load_network(start, "transformer")).fuse(
        (read_lora(tmp_path / "run" / "lora.safetensors"), 1.0)
    )


def test_our_own_network_is_frozen_in_the_precision_of_the_run(cache: Any, start: Path) -> None:  # noqa: F811
    """Its content hash is that of the numbers that are stored, not of those they are rounded to."""
    hardware = Hardware(torch.device("cpu"), torch.bfloat16)
    objective = TransformerObjective(lora_run(start), {SPEC.size: cache[1]}, "abc", hardware)
    frozen = {p.dtype for p in objective.module.parameters() if not p.requires_grad}
    assert frozen == {torch.bfloat16}


def test_a_run_that_was_stopped_goes_on(cache: Any, start: Path, tmp_path: Path) -> None:  # noqa: F811
    """Two steps and one more against three: the same additions, bit for bit."""
    files = []
    for folder, parts in (("whole", [3]), ("parts", [2, 3])):
        for steps in parts:
            config = lora_run(start, steps=steps)
            objective = TransformerObjective(config, {SPEC.size: cache[1]}, "abc", CPU)
            train(config, objective, tmp_path / folder, lambda _event: None, CPU)
        files.append(load_file(tmp_path / folder / "lora.safetensors"))
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])


@pytest.mark.slow
def test_a_lora_learns_the_same_when_all_is_spread_over_two_processes(tmp_path: Path) -> None:
    """Frozen weights, in bfloat16 where that is fast, are spread beside additions in float32."""
    model = save_nano(tmp_path / "model")
    (tmp_path / "run.yaml").write_text(RUN.format(model=model, cache=tmp_path / "cache"))
    changes = ("lora={rank: 4, alpha: 4}", "precision=auto", "steps=3")
    run_command(tmp_path / "one", 1, *changes)
    run_command(tmp_path / "two", 2, *changes, "shard=true", "recompute=true")
    assert log_of(tmp_path / "one") == log_of(tmp_path / "two")
    one, two = (load_file(tmp_path / name / "lora.safetensors") for name in ("one", "two"))
    assert all(one[name].abs().max() > 1e-3 for name in one)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layout", ["0.9.0", "13b"])
def test_a_published_network_is_what_is_added_to(
    cache: Any,  # noqa: F811
    tmp_path: Path,
    layout: str,
) -> None:
    """In the precision that is computed in, with its own flag for positions."""
    file = write_tiny(tmp_path / "ltxv.safetensors", layout)
    hardware = Hardware(torch.device("cpu"), torch.bfloat16)
    objective = TransformerObjective(
        lora_run(file), {SPEC.size: cache[1]}, SPEC.latent_hash, hardware
    )
    assert objective.module.config.causal_positions == (layout == "13b")
    frozen = {p.dtype for p in objective.module.parameters() if not p.requires_grad}
    assert frozen == {torch.bfloat16}


def test_a_lora_needs_a_network(start: Path) -> None:
    with pytest.raises(RequestError, match="got lora and no start_from"):
        read_config("pocket-transformer", ["lora={rank: 4}"])
    with pytest.raises(RequestError, match="lora does nothing in a run of kind vae"):
        read_config("pocket-vae", [f"start_from={start}", "lora={rank: 4}"])


@pytest.mark.reference
def test_diffusers_reads_the_file(tmp_path: Path) -> None:
    """Its transformer with the file in PEFT's layers is the network that was trained."""
    pytest.importorskip("peft")
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    plain = reduced_release("ltxv-2b-0.9.5").build_transformer().requires_grad_(False)
    twin = Diffusers(plain, None)
    network = copy.deepcopy(plain)
    adapt(network, Lora(rank=4, alpha=2.0, targets=EVERY))
    heard(network)
    save_lora(tmp_path / "lora.safetensors", network, {})
    pipeline = diffusers.LTXPipeline
    state, metadata = pipeline.lora_state_dict(
        tmp_path, weight_name="lora.safetensors", return_lora_metadata=True
    )
    pipeline.load_lora_into_transformer(state, twin.transformer, metadata=metadata)
    tokens, sigma, positions, text = inputs(plain.config)
    asked = Inputs(
        tokens, sigma[:, None].expand(2, 6), positions.expand(2, -1, -1), text, text[..., 0] < 9
    )
    with torch.no_grad():
        wanted = network(tokens, sigma, positions, text)
        torch.testing.assert_close(twin.velocity(asked), wanted, rtol=1e-4, atol=1e-4)
        assert (wanted - plain(tokens, sigma, positions, text)).std() > 0.05
