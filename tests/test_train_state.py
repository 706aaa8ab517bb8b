"""The state of a run: exact, whole or not there, and refused when it is not what was written."""

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset

from overcrank.errors import ModelError, RequestError, RunError
from overcrank.runtime import choose
from overcrank.train import RunConfig, steps_done, train
from overcrank.train.config import Optim, Stage
from overcrank.train.record import Record
from overcrank.train.state import steps_in

CPU = choose("cpu", "float32")
PLAIN = {
    "kind": "vae",
    "preset": "nano",
    "steps": 6,
    "stages": [Stage(frames=9, size=32, batch=2)],
    "optim": Optim(lr=1e-2, warmup=0),
    "log_every": 1,
    "save_every": 2,
}
RUN = RunConfig(**PLAIN)


@dataclass(frozen=True)
class Numbers:
    x: Tensor


class Drawn(Dataset[Numbers]):
    def __len__(self) -> int:
        return 100

    def __getitem__(self, step: int) -> Numbers:
        return Numbers(torch.randn(4, 32, generator=torch.Generator().manual_seed(step)))


class Net(torch.nn.Module):
    """With a frozen part, a number without axes, a buffer, and a part that is not always used."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(32, width), torch.nn.Linear(width, 1)
        self.scale = torch.nn.Parameter(torch.tensor(1.0))
        self.rare = torch.nn.Parameter(torch.ones(3))
        self.register_buffer("seen", torch.zeros(width))
        self.last.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        self.seen.lerp_(h.detach().mean(0), 0.1)
        return self.last(h) * self.scale


class Small:
    """Learns to answer noise; raises before step `stop`."""

    def __init__(self, width: int = 32, stop: int = -1) -> None:
        torch.manual_seed(0)
        self.module, self.stop, self.steps = Net(width), stop, 0

    def data(self) -> Dataset[Any]:
        return Drawn()

    def loss(self, batch: Numbers, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        if self.steps == self.stop:
            raise KeyboardInterrupt
        self.steps += 1
        # One noise is drawn as the loop asks for, the other as a library might.
        noise = torch.randn(4, 1, generator=generator) + torch.rand(4, 1)
        loss = (self.module(batch.x) - noise).square().mean()
        if torch.rand(1, generator=generator).item() < 0.4:
            loss = loss + self.module.rare.square().sum()
        return loss, {}

    def evaluate(self, module: torch.nn.Module, _folder: Path, _step: int) -> dict[str, float]:
        torch.rand(7)  # what evaluation draws changes nothing
        return {"held_out": module.scale.item()}

    def export(self, module: torch.nn.Module, _folder: Path) -> None:
        with torch.no_grad():  # a copy: nothing that is done to it comes back
            for tensor in module.buffers():
                tensor.zero_()


def run(folder: Path, **objective: Any) -> None:
    train(RUN, Small(**objective), folder, lambda _event: None, CPU)


def state_of(folder: Path, step: int = 6) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in (folder / "state" / f"step-{step:06d}").glob("*.safetensors"):
        tensors |= load_file(path)
    return tensors


def log_of(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name != "seconds"} for line in lines]


def assert_same(one: Path, other: Path) -> None:
    left, right = state_of(one), state_of(other)
    assert left
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
    assert log_of(one) == log_of(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_an_interrupted_run_ends_bit_for_bit_like_one_that_was_not(
    whole: Path, tmp_path: Path, stop: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=stop)
    run(tmp_path)
    assert_same(whole, tmp_path)


def test_a_state_holds_what_moves(whole: Path) -> None:
    names = state_of(whole)
    assert {"module.scale", "average.seen", "optimiser.first.weight.exp_avg"} <= set(names)
    assert names["optimiser.scale.step"].item() == 6
    assert names["optimiser.rare.step"].item() < 6
    assert not any("last" in name for name in names), "frozen weights are not learnt"
    assert names["average.seen"].abs().sum() > 0


def test_only_the_newest_state_is_kept(whole: Path) -> None:
    assert [path.name for path in (whole / "state").iterdir()] == ["step-000006"]


def test_what_a_killed_run_left_is_not_a_state_and_goes_away(whole: Path, tmp_path: Path) -> None:
    """Killed while it saved, and once more while it removed what was older."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=3)
    state = tmp_path / "state"
    shutil.copytree(state / "step-000002", state / "step-000004.partial")
    shutil.copytree(state / "step-000002", state / "step-000001.removed")
    (state / "step-000001.removed" / "state.json").unlink()
    (tmp_path / ".config.yaml.1.tmp").touch()
    assert steps_in(tmp_path) == 2
    run(tmp_path)
    assert_same(whole, tmp_path)
    assert [path.name for path in state.iterdir()] == ["step-000006"]
    assert not list(tmp_path.glob(".*"))


def test_a_run_that_saved_nothing_begins_its_log_anew(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "held_out": 1}\n{"step": 1, "loss": 2}\n')
    run(tmp_path)
    assert log_of(tmp_path) == log_of(whole)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_state_with_damaged_tensors_is_refused(copy: Path, damage: Any) -> None:
    damage(next((copy / "state" / "step-000006").glob("*.safetensors")))
    longer = RunConfig(**{**PLAIN, "steps": 8})
    with pytest.raises(ModelError, match="damaged: got another shard.*: delete .*state to begin"):
        train(longer, Small(), copy, lambda _event: None, CPU)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"step": 1', '{"step": "x"}', "\0"])
def test_a_state_that_does_not_say_what_it_is_is_refused(copy: Path, content: str | None) -> None:
    about = copy / "state" / "step-000006" / "state.json"
    about.unlink()
    if content is not None:
        about.write_text(content)
    with pytest.raises(ModelError, match="damaged: got a state.json .*: delete .*state to begin"):
        steps_done(copy, RUN)


def test_states_of_other_versions_are_refused(copy: Path, tmp_path: Path) -> None:
    about = copy / "state" / "step-000006" / "state.json"
    about.write_text(about.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ModelError, match="got format 2, right is 1"):
        steps_done(copy, RUN)
    (tmp_path / "state.pt").touch()
    with pytest.raises(ModelError, match="got state.pt, right is a folder state"):
        run(tmp_path)


def test_a_state_of_another_network_is_refused(copy: Path) -> None:
    longer = RunConfig(**{**PLAIN, "steps": 8})
    before = (copy / "metrics.jsonl").read_text()
    with pytest.raises(ModelError, match=r"got \(32,\) under average.first.bias, right is \(16,\)"):
        train(longer, Small(width=16), copy, lambda _event: None, CPU)
    assert (copy / "metrics.jsonl").read_text() == before


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a full disk: the system refuses to write more."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_the_state_before(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=2)
    with (
        no_file_larger_than(4096),
        pytest.raises(RunError, match="step 4 cannot be saved .*File too large.*step-000002 is as"),
    ):
        run(tmp_path)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step-000002"]
    run(tmp_path)
    assert_same(whole, tmp_path)


def test_two_runs_are_not_in_one_folder(tmp_path: Path) -> None:
    """As long as one is at work there, another is refused, and changes nothing."""
    tmp_path.joinpath("metrics.jsonl").write_text("")
    record = Record(RUN, Small(), tmp_path, 0, lambda _event: None)
    with (
        record.of_run("cpu"),
        pytest.raises(RequestError, match="another run is at work in .*: got a second one: wait"),
    ):
        run(tmp_path)
    assert log_of(tmp_path) == []
    run(tmp_path)
    assert steps_in(tmp_path) == 6
