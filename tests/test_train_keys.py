"""The pages that say what can be set and what is logged have all of it."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from overcrank.train import train
from overcrank.train.config.run import GROUPS
from overcrank.train.vae import VAEObjective
from test_train_distil import batch, generator, objective, teacher  # noqa: F401  a fixture
from test_train_joint import joint_objective
from test_train_loop import CPU, vae_run
from test_train_transformer import cache, transformer_objective  # noqa: F401  a fixture

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))
from train_keys import page  # noqa: E402


def test_the_page_of_the_keys_is_what_the_code_says() -> None:
    assert page() == (ROOT / "docs" / "train-keys.md").read_text(), (
        "python examples/train_keys.py > docs/train-keys.md"
    )


def test_every_key_has_its_words_and_its_row() -> None:
    written = (ROOT / "docs" / "train-keys.md").read_text()
    for name, model in GROUPS.items():
        section = written.split(f"## {f'`{name}`' if name else 'At the top'}\n")[1].split("\n## ")[
            0
        ]
        for key, field in model.model_fields.items():
            assert field.description, f"{name}.{key}"
            assert f"| `{key}` |" in section or (not name and key in GROUPS)


def columns() -> set[str]:
    """The names in the first cells of the table in train.md."""
    table = (ROOT / "docs" / "train.md").read_text().split("| name | of | what it is |")[1]
    rows = table.split("\n\n")[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def logged(folder: Path) -> set[str]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    names = {name for line in lines for name in json.loads(line)}
    level = r"held_out_(?:\w+_)?[01]\.\d+"
    return {"held_out_SIZE_LEVEL" if re.fullmatch(level, name) else name for name in names}


def test_every_number_that_is_logged_is_in_the_table(
    tmp_path: Path,
    cache: Any,  # noqa: F811
    teacher: Path,  # noqa: F811
) -> None:
    critic = vae_run(loss={"gan": 0.1, "gan_from": 1})
    train(critic, VAEObjective(critic, CPU), tmp_path / "vae", lambda _event: None, CPU)
    joint = joint_objective()
    train(joint.config, joint, tmp_path / "joint", lambda _event: None, CPU)
    flow = transformer_objective(cache[1], save_every=30)
    train(flow.config, flow, tmp_path / "flow", lambda _event: None, CPU)
    names = set().union(*(logged(tmp_path / kind) for kind in ("vae", "joint", "flow")))
    names |= set(objective(teacher).loss(batch(), generator())[1])
    assert names | {"perceptual"} == columns()
