"""The frozen benchmark."""

import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

from overcrank.errors import RequestError
from overcrank.toybox.bench import BENCH_FILE, bench, digest, write

PINNED = "56be14fc60953f2506d873077f5f8309686396932b385cbdfd3079f3bef9531e"


def test_the_benchmark_is_frozen() -> None:
    """A changed file is another benchmark: give it another name."""
    data = files("overcrank.toybox").joinpath(BENCH_FILE).read_bytes()
    assert hashlib.sha256(data).hexdigest() == PINNED
    assert len(data) < 1 << 20


def test_the_benchmark_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / BENCH_FILE
    path.write_text("kept")
    with pytest.raises(RequestError, match="frozen"):
        write(path)
    assert path.read_text() == "kept"


@pytest.mark.parametrize("index", [0, 60, 128, 255, 256, 300, 400, 511])
def test_the_world_still_moves_as_the_benchmark_says(index: int) -> None:
    item = bench()[index]
    assert digest(item.scene) == item.digest


def test_half_the_items_show_one_actor_and_half_show_two() -> None:
    assert [len(item.scene.actors) for item in bench()] == [1] * 256 + [2] * 256
    assert [item.index for item in bench()] == list(range(512))


def test_a_fifth_of_the_items_was_held_out() -> None:
    for half in (bench()[:256], bench()[256:]):
        assert sum(bool(item.scene.held_out) for item in half) == 51


def test_no_attribute_dominates() -> None:
    for name, most in (("colour", 1 / 7), ("shape", 1 / 5), ("motion", 1 / 9)):
        values = [getattr(actor, name) for item in bench() for actor in item.scene.actors]
        assert max(values.count(value) for value in set(values)) < most * len(values)
