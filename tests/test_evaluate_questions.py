"""The questions of the suites."""

from collections import Counter

import pytest

from overcrank.errors import RequestError
from overcrank.evaluate.shown import questions
from overcrank.toybox.bench import bench


def test_the_quick_suite_asks_for_one_actor_and_two_in_every_wording() -> None:
    asked = questions(256)
    kinds = Counter((q.wording, len(q.item.scene.actors)) for q in asked)
    assert kinds == {
        **dict.fromkeys([("seen", 1), ("seen", 2)], 64),
        **dict.fromkeys([("paraphrase", 1), ("paraphrase", 2)], 32),
        **dict.fromkeys([("unseen words", 1), ("unseen words", 2)], 32),
    }
    assert len({q.item.index for q in asked}) == 256
    assert sum(bool(q.item.scene.held_out) for q in asked) >= 40


def test_the_full_suite_asks_for_every_item_in_every_wording() -> None:
    asked = questions(2048)
    assert Counter(q.wording for q in asked) == {
        "seen": 1024,
        "paraphrase": 512,
        "unseen words": 512,
    }
    assert set(Counter((q.item.index, q.wording) for q in asked).values()) == {1, 2}
    assert len({q.seed for q in asked}) == 2048
    assert asked[:256] == questions(256)
    own = {q.caption for q in asked if q.wording == "seen"}
    assert {item.caption for item in bench()} <= own


@pytest.mark.parametrize("count", [0, 2049])
def test_a_number_of_questions_that_there_is_not_is_refused(count: int) -> None:
    with pytest.raises(RequestError, match="from 1 to 2048"):
        questions(count)
