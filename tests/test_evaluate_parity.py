"""Our numbers are those of independent implementations, and `overcrank verify` says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from command_line import overcrank as command
from overcrank.errors import ModelError
from overcrank.evaluate.golden import golden_rows
from overcrank.evaluate.parity import LIMIT, Row, clips, compare, golden, relative
from overcrank.evaluate.twins import TWINS, Diffusers, installed
from overcrank.evaluate.verify import DECISIONS, LAYOUTS, page, verify
from overcrank.weights.checkpoint import Checkpoint
from overcrank.weights.synthetic import reduced_release
from tiny_checkpoints import write_tiny

ROOT = Path(__file__).resolve().parent.parent


def test_golden_numbers_hold() -> None:
    rows = golden()
    assert len(rows) == 7
    assert all(row.holds for row in rows), rows


def test_golden_numbers_would_notice() -> None:
    for stage, got, right in golden_rows():
        assert relative(got + 1e-3 * right.abs().max(), right) > LIMIT, stage


def twins() -> list[str]:
    return installed() or ["diffusers"]


@pytest.mark.reference
@pytest.mark.parametrize("twin", twins())
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_stage_of_every_layout_is_as_elsewhere(layout: str, twin: str) -> None:
    rows = compare(layout, reduced_release(layout), twin)
    assert len(rows) >= 18
    assert all(row.holds for row in rows), [row for row in rows if not row.holds]
    rounded = [row.bfloat16 for row in rows if row.bfloat16 is not None]
    assert 1e-4 < max(rounded) < 0.03


@pytest.mark.reference
@pytest.mark.parametrize("twin", twins())
def test_whole_clips_are_as_elsewhere(twin: str) -> None:
    """Given noise and text, guidance and skip guidance, pictures at the first and a later frame."""
    rows = list(clips(twin))
    assert {row.layout for row in rows} >= {"ltxv-2b-0.9", "ltxv-2b-0.9.5"}
    assert all(row.holds for row in rows), [row for row in rows if not row.holds]


class Wrong(Diffusers):
    """Another implementation that forgets a bias."""

    def __init__(self, transformer: torch.nn.Module, vae: torch.nn.Module) -> None:
        super().__init__(transformer, vae)  # type: ignore[arg-type]
        layer = self.transformer.transformer_blocks[0].ff.net[2]
        layer.bias = torch.nn.Parameter(torch.zeros_like(layer.bias))


@pytest.mark.reference
def test_a_small_mistake_is_found_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TWINS, "wrong", Wrong)
    rows = compare("ltxv-2b-0.9.5", reduced_release("ltxv-2b-0.9.5"), "wrong")
    failing = {row.stage for row in rows if not row.holds}
    assert {"feed-forward", "transformer block", "velocity"} <= failing
    assert not failing & {"rotary embedding", "modulation", "decoder: pixels"}


def test_quiet_numbers_prove_nothing() -> None:
    row = Row(stage="a", layout="b", against="c", float32=0.0, spread=0.01)
    assert not row.holds
    assert replace(row, spread=0.2).holds


@pytest.mark.reference
@pytest.mark.parametrize("target", [".", "gone/page.md", "/proc/page.md"])
def test_a_page_that_cannot_be_written_is_refused_before_anything_is_compared(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overcrank.cli.verify.verify", None)
    done = command("verify", "--write", tmp_path / target)
    assert done.code == 2
    assert "the page cannot be written, got" in done.err
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_writes_and_compares_a_file(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "a.safetensors")
    words = ["verify", path, "--against", "diffusers", "--write", tmp_path / "page.md", "--json"]
    done = command(*words)
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    assert {row["layout"] for row in rows} == {"any", "a"}
    assert all(row["holds"] for row in rows)
    text = (tmp_path / "page.md").read_text()
    assert "| velocity | " in text
    assert text.endswith(DECISIONS)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    assert "not there: got comfy" in command("verify", "--against", "comfy").err
    done = command("verify", "pocket", "--against", "comfy")
    assert done.code == 2
    with pytest.raises(ModelError, match="model of our small family"):
        verify(Checkpoint(path=tmp_path, format="overcrank"), [])


def test_the_page_in_the_documents_is_of_this_version_of_the_text() -> None:
    text = (ROOT / "docs" / "parity.md").read_text()
    assert text.endswith(DECISIONS)
    assert all(f"## {layout}\n" in text for layout in LAYOUTS)
    assert page(golden()).startswith(text.partition("with overcrank")[0])
