"""Run files are read strictly and explain themselves."""

from pathlib import Path

import pytest

from overcrank.errors import RequestError
from overcrank.train import read_config


@pytest.mark.parametrize("name", ["pocket-vae", "pocket-decoder", "pocket-transformer"])
def test_the_shipped_presets_are_valid(name: str) -> None:
    config = read_config(name)
    assert config.stages[0].start == 0
    assert config.optim.fall <= config.steps


def test_a_value_is_changed_by_its_dotted_name() -> None:
    config = read_config("pocket-vae", ["optim.lr=1e-4", "loss.kl=0.5", "steps=7"])
    assert (config.optim.lr, config.loss.kl, config.steps) == (1e-4, 0.5, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optim.learning_rate=1", "unknown key optim.learning_rate"),
        ("optim.warmpu=1", "did you mean warmup"),
        ("steps=0", "steps.*got 0"),
        ("optim.lr=-1", "optim.lr.*got -1"),
        ("optim", "name=value"),
        ("steps.a=1", "is a value"),
    ],
)
def test_a_wrong_change_is_explained(change: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_config("pocket-vae", [change])


def test_an_unknown_preset_names_those_that_exist() -> None:
    with pytest.raises(RequestError, match="pocket-decoder, pocket-transformer, pocket-vae"):
        read_config("pocket-vea")


@pytest.mark.parametrize("text", ["- 1\n", "a: [\n"])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(RequestError):
        read_config(path)


def test_the_stage_of_a_step_is_the_last_one_begun() -> None:
    config = read_config("pocket-transformer")
    later = config.stages[-1]
    assert config.stage(0) == config.stages[0]
    assert config.stage(later.start) == later
