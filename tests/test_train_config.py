"""Run files are read strictly and explain themselves."""

import json
from pathlib import Path

import pytest

from overcrank.errors import RequestError
from overcrank.shapes import ClipSize
from overcrank.train import read_config


@pytest.mark.parametrize(
    "name",
    [
        "pocket-vae",
        "pocket-decoder",
        "pocket-transformer",
        "pocket-distil",
        "pocket-joint",
        "nano-vae",
        "nano-transformer",
    ],
)
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
        ("optim.warmpu=1", "did you mean optim.warmup"),
        ("lr=1", "did you mean optim.lr"),
        ("optim.zzz=1", "known are lr, betas"),
        ("optim={}", "the key optim.lr is missing, got nothing: add lr: 1"),
        ("optim.lr=.inf", "finite"),
        ("loss.kl=.nan", "finite"),
        ("optim.betas=[0.9, 1.0]", "optim.betas.1.*got 1.0"),
        ("seed=2147483648", "seed.*less than"),
        ("stages=[{frames: 10, size: 64, batch: 1}]", "8n . 1 frames, got 10"),
        ("stages=[{frames: 9, size: 40, batch: 1}]", "multiple of 32, got 40"),
        ("stages=[{start: 3, frames: 9, size: 64, batch: 1}]", "right is 0 first"),
        ("preset=pokcet", "no such preset of a vae: got pokcet: right is one of .*pocket"),
        ("vae=pocket", "vae does nothing in a run of kind vae"),
        ("latents=[{clips: 128, frames: 17, size: 64}]", "latents does nothing"),
        ("kind=transformer", "got no vae"),
        ("steps=[", "is YAML, got --set steps=.: try a number, or a list"),
        ("start_from=2020-13-45", "is YAML, got --set start_from"),
        ("guidance.scale=nan", "with --set guidance.scale=nan cannot .* mean distil.guidance"),
        ("optim={lr: -1}", "with --set optim=.*optim.lr.*got -1"),
        ("steps=0", "steps.*got 0"),
        ("accumulate=0", "accumulate.*got 0"),
        ("steps=99999999999999999999", "steps: .* too large, got 99999.*: right is 1000000000 or"),
        (
            "stages=[{frames: 9, size: 64, batch: 65537}]",
            "stages.0.batch: .*got 65537: right is 65536 or",
        ),
        ("stages=[{frames: 9, size: 8224, batch: 1}]", "stages.0.size: .*8192, got 8224"),
        ("stages=[{frames: 9, size: 64x, batch: 1}]", "stages.0.size: .*64x: try 128 or 768x512"),
        ("stages=[{frames: 9, size: 64x40, batch: 1}]", "multiple of 32, got 40"),
        ("stages=[{frames: 9, size: 64, batch: 1, below: 0.8}]", "below does nothing in a run of"),
        ("stages=[{frames: 9, size: 64, batch: 1, tokens: 8}]", "tokens does nothing in a run of"),
        ("freeze=[encodre]", "freeze.0: .* got 'encodre': right is 'encoder' or 'decoder'"),
        ("freeze=[encoder, decoder]", "freeze: the list is too long, got .*: right is at most 1$"),
        ("scenes={stories: 1.5}", "scenes.stories: .*too large, got 1.5"),
        ("optim.lr=-1", "optim.lr.*got -1"),
        ("optim", "name=value"),
        (
            "optim.lr.x=1",
            "optim.lr is a value, .* got --set optim.lr.x=1: try --set optim.lr=VALUE",
        ),
        (
            "stages.batches=1",
            "stages is a list of 4, .* as in --set stages.0.frames=VALUE, or give",
        ),
        ("stages.batch=1", "stages is a list of 4, .* as in --set stages.0.batch=VALUE, or give"),
        ("stages.7.batch=1", "stages is a list of 4"),
        ("optim.betas.x=1", "optim.betas"),
        (
            "stages=[{frames: 9, size: 64, batches: 1}]",
            "stages.0.batches: did you mean stages.0.batch",
        ),
        ("stages.0.lr=1", "unknown key stages.0.lr: did you mean optim.lr"),
        ("batch=4", "did you mean stages.0.batch"),
        ("stages=[]", "stages: the list is too short, got .*: right is at least 1$"),
        ("stages=8", "stages: a list is asked for, got 8: put it in brackets"),
        ("stages=[8]", "stages.0: a group of keys is asked for, got 8: try {key: value}$"),
        ("steps=many", "steps: a whole number is asked for, got 'many': try 100"),
        ("steps=1.5", "steps: a whole number is asked for, got 1.5: try 100"),
        ("steps=null", "steps: a whole number is asked for, got null: try 100"),
        ("optim.lr=fast", "optim.lr: a number is asked for, got 'fast': try 0.1"),
        ("optim.lr=0", "optim.lr: the number is too small, got 0: right is more than 0"),
        ("optim.betas=[0.9]", "optim.betas: the list is too short, got .0.9.: add to it"),
        ("recompute=7", "recompute: yes or no is asked for, got 7: right is true or false"),
        ("start_from=7", "start_from: a text is asked for, got 7: put it in quotes"),
        ("loss={l1: 1, l1: 2}", "--set gives the key l1 twice, got --set loss=.*: leave one out"),
        ("steps.a=1", "is a value.*got --set steps.a=1: try --set steps=VALUE"),
    ],
)
def test_a_wrong_change_is_explained(change: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_config("pocket-vae", [change])


def test_an_entry_of_a_list_is_changed_by_its_number() -> None:
    stages = read_config(
        "pocket-vae", ["stages.1.batch=3", "optim.betas=[0.9, 0.99]", "optim.betas.0=0.5"]
    )
    assert [stage.batch for stage in stages.stages] == [48, 3, 12, 16]
    assert stages.optim.betas == (0.5, 0.99)


def test_a_group_that_is_off_is_switched_on_by_a_key_of_it(tmp_path: Path) -> None:
    run = {"kind": "transformer", "vae": "pocket", "start_from": "pocket", "lora": None, "steps": 1}
    run |= {"latents": [{"clips": 9}], "stages": [{"frames": 9, "size": 128, "batch": 1}]}
    (tmp_path / "run.yaml").write_text(json.dumps({**run, "optim": {"lr": 1e-3}}))
    config = read_config(tmp_path / "run.yaml", ["lora.rank=4"])
    assert config.lora is not None
    assert config.lora.rank == 4


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("kind: vae\nsteps: 1\noptim:\n  lr: 1\nsteps: 2\n")
    with pytest.raises(RequestError, match=r"run.yaml gives .*: got steps in lines 2 and 5: leave"):
        read_config(path)
    path.write_text("kind: vae\noptim:\n  lr: 1\n  lr: 2\n")
    with pytest.raises(RequestError, match="got lr in lines 3 and 4"):
        read_config(path)


def test_a_key_that_is_no_name_is_refused(tmp_path: Path) -> None:
    """To YAML 1.1, `on` is true."""
    path = tmp_path / "run.yaml"
    path.write_text("7: 2\non: 3\nkind: vae\n")
    with pytest.raises(RequestError, match="7: a key is a name, got 7: put it in quotes") as said:
        read_config(path)
    assert "the key steps is missing, got 7, True, kind: add" in str(said.value)


def test_all_that_is_missing_is_named_with_an_example(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("kind: vae\nstages: [{frames: 9}]\nfilm: {share: 0.1}\n")
    with pytest.raises(RequestError) as refused:
        read_config(path)
    said = str(refused.value)
    for line in (
        "the key steps is missing, got kind, stages, film: add steps: 1000",
        "the key stages.0.size is missing, got frames: add size: 128",
        "the key film.file is missing, got share: add file: film.safetensors",
        "the key optim is missing",
    ):
        assert line in said


def test_only_the_change_that_is_wrong_is_named() -> None:
    with pytest.raises(RequestError, match="^pocket-vae with --set steps=0 cannot be run: steps:"):
        read_config("pocket-vae", ["optim.lr=1", "steps=0", "seed=1"])


def test_an_unknown_preset_names_those_that_exist() -> None:
    with pytest.raises(
        RequestError,
        match="pocket-decoder, pocket-distil, pocket-joint, pocket-transformer, pocket-vae",
    ):
        read_config("pocket-vea")


def test_parts_of_an_autoencoder_are_not_frozen_in_a_transformer() -> None:
    with pytest.raises(RequestError, match="freeze does nothing in a run of kind transformer"):
        read_config("pocket-transformer", ["freeze=[encoder]"])


@pytest.mark.parametrize("latents", ["[{clips: 128, frames: 49}]", "[{clips: 128, size: 64}]"])
def test_a_stage_that_the_latents_do_not_hold_is_refused(latents: str) -> None:
    with pytest.raises(RequestError, match="the latents do not hold a stage of"):
        read_config("pocket-transformer", [f"latents={latents}"])


def test_a_file_needs_no_suffix(tmp_path: Path) -> None:
    config = read_config("pocket-vae")
    (tmp_path / "run").write_text(json.dumps(config.model_dump()))
    assert read_config(tmp_path / "run") == config


@pytest.mark.parametrize(
    "text", [b"- 1\n", b"a: [\n", b"a: \xff\n", b"a: 2020-13-45\n", b"[" * 5000]
)
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(text)
    with pytest.raises(RequestError):
        read_config(path)


def test_the_stage_of_a_step_is_the_last_one_begun() -> None:
    config = read_config("pocket-transformer")
    second = config.stages[1]
    assert config.stage(second.start - 1) == config.stages[0]
    assert config.stage(second.start) == second


def test_stages_that_begin_together_take_turns() -> None:
    shapes = "{frames: 9, size: 64, batch: 8}, {frames: 17, size: 128, batch: 2}"
    later = "{start: 4, frames: 25, size: 64, batch: 2}"
    config = read_config("pocket-vae", [f"stages=[{shapes}, {later}]"])
    assert [config.stage(step).frames for step in range(6)] == [9, 17, 9, 17, 25, 25]


@pytest.mark.parametrize("size", ["96x64", " 96 X 64", "'96x64'"])
def test_a_size_is_width_x_height(size: str, tmp_path: Path) -> None:
    config = read_config("pocket-vae", [f"stages=[{{frames: 9, size: {size}, batch: 1}}]"])
    assert config.stages[0].clip == ClipSize(9, 64, 96)
    assert config.stages[0].pixels == 9 * 64 * 96
    (tmp_path / "run").write_text(json.dumps(config.model_dump()))
    assert read_config(tmp_path / "run") == config
    square = read_config("pocket-vae", ["stages=[{frames: 9, size: 64x64, batch: 1}]"])
    assert square.stages[0].size == 64


def test_a_stage_takes_the_shortest_latents_that_hold_it() -> None:
    held = "{clips: 128, frames: 9, size: 96x64}, {clips: 128, frames: 33, size: 96x64}"
    stages = "{frames: 9, size: 96x64, batch: 1}, {frames: 17, size: 96x64, batch: 1}"
    config = read_config("pocket-transformer", [f"latents=[{held}]", f"stages=[{stages}]"])
    assert [config.latents_of(stage).frames for stage in config.stages] == [9, 33]
    with pytest.raises(RequestError, match="of 64x96 pixels: right is at most 9 frames of 96x64"):
        read_config(
            "pocket-transformer",
            [f"latents=[{held}]", "stages=[{frames: 9, size: 64x96, batch: 1}]"],
        )


def test_few_tokens_are_dropped() -> None:
    """A clip of 121 frames of 768 x 512 has 16 x 16 x 24 = 6144."""
    held = "latents=[{clips: 128, frames: 121, size: 768x512}]"
    stage = "stages=[{{frames: 121, size: 768x512, batch: 1, tokens: {}}}]"
    for tokens in (4916, 6144, 9999):
        run = read_config("pocket-transformer", [held, stage.format(tokens)])
        assert run.stages[0].tokens == tokens
    with pytest.raises(RequestError, match="121 frames of 768x512 .* 6144 tokens.*20%.*is 4916 or"):
        read_config("pocket-transformer", [held, stage.format(4915)])


def test_a_size_has_one_entry_of_latents() -> None:
    twice = "{clips: 128, frames: 17, size: 128}, {clips: 256, frames: 17, size: 128}"
    with pytest.raises(RequestError, match="one entry for each size"):
        read_config("pocket-transformer", [f"latents=[{twice}]"])


def test_a_student_needs_a_teacher() -> None:
    with pytest.raises(RequestError, match="got no start_from"):
        read_config("pocket-distil", ["start_from=null"])


@pytest.mark.parametrize("levels", ["[0.5, 0.9]", "[1.0, 1.0]"])
def test_the_levels_of_a_student_fall(levels: str) -> None:
    with pytest.raises(RequestError, match="distil: the levels of a student fall, got"):
        read_config("pocket-distil", [f"distil.levels={levels}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('import os\nprint("x"\n', "holds no run: got str"),
        ("import os\ndef run():\n    return\n", "is not YAML: .* in line 2: right is"),
        ("a: \x07", "is not YAML: .*special characters are not allowed: right is"),
    ],
)
def test_another_file_is_refused_in_one_paragraph(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.py"
    path.write_text(text)
    with pytest.raises(RequestError, match=message) as refused:
        read_config(path)
    assert "\n" not in str(refused.value)
    assert "<unicode string>" not in str(refused.value)


def test_nothing_is_no_name_of_a_run() -> None:
    with pytest.raises(RequestError, match="no such training preset or file: got ''"):
        read_config("")


def test_what_cannot_be_spread_says_so() -> None:
    assert read_config("pocket-vae", ["shard=true"]).shard
    with pytest.raises(
        RequestError, match="a student or a critic .* got kind vae and loss.gan 0.1"
    ):
        read_config("pocket-vae", ["shard=true", "loss.gan=0.1", "loss.gan_from=10"])
    with pytest.raises(RequestError, match="got kind distil"):
        read_config("pocket-distil", ["shard=true"])


def test_a_batch_is_not_divided_into_more_parts_than_samples() -> None:
    with pytest.raises(RequestError, match="got accumulate 49, right is at most .* 12"):
        read_config("pocket-vae", ["accumulate=49"])


def test_yes_is_no_number() -> None:
    with pytest.raises(RequestError, match="steps: a whole number is asked for, got true"):
        read_config("pocket-vae", ["steps=true"])
