"""The settings in the plot of quality and speed: each once."""

from dataclasses import replace

import pytest

from nano_model import DEFAULTS, nano_model
from overcrank.evaluate.speed import settings_of
from overcrank.evaluate.suites import Setting, Studio
from overcrank.pipeline import Pipeline
from overcrank.weights import Defaults


@pytest.mark.parametrize(
    ("defaults", "own", "expected"),
    [
        (
            replace(DEFAULTS, steps=20, guidance=3.0),
            (None, None),
            [(None, None), (2, None), (2, 1), (4, None), (4, 1), (8, None), (8, 1)],
        ),
        (DEFAULTS, (None, None), [(None, None), (4, None), (8, None)]),  # two steps, guidance 1
        (DEFAULTS, (8, 3.0), [(8, 3), (2, 3), (2, 1), (4, 3), (4, 1), (8, 1)]),
        (
            replace(DEFAULTS, steps=4, levels=(1.0, 0.9, 0.7, 0.4)),
            (None, None),
            [(None, None), (2, None), (8, None)],
        ),
    ],
)
def test_no_setting_is_measured_twice(
    defaults: Defaults,
    own: tuple[int | None, float | None],
    expected: list[tuple[int | None, float | None]],
) -> None:
    model = replace(nano_model(), defaults=defaults)
    setting = Setting(model="nano", steps=own[0], guidance=own[1])
    studio = Studio(Pipeline(model, device="cpu", dtype="float32"), setting)
    assert [(each.steps, each.guidance) for each in settings_of(studio)] == expected
