"""Which way a number of a report is better: said of each by its name, never guessed."""

from collections.abc import Mapping
from enum import Enum
from itertools import combinations

from overcrank.evaluate.adherence import ALL_OF, CALLED, PAIRED
from overcrank.evaluate.leaves import Leaf


class Direction(Enum):
    """Which of two values of a number is the better one."""

    MORE = "more is better"
    LESS = "less is better"
    NEAR_ONE = "near 1 is better"
    NONE = "neither is better"


NOT_ITS_OWN = frozenset({"true_clips", "round_trips", "random_weights", "chance"})
"""Groups that say nothing of what the model makes, whatever is in them."""
GROUPS: Mapping[str, Direction] = dict.fromkeys(
    ("artefacts", "seconds", "seams", "grid", "unsure"), Direction.LESS
)
"""Groups of numbers that are all alike, whatever their names."""
NAMES: Mapping[str, Direction] = {
    **dict.fromkeys(
        (
            *(
                *CALLED.values(),
                *ALL_OF.values(),
                *(f"{a} and {b}" for a, b in combinations(PAIRED, 2)),
            ),
            *("kept", "psnr", "psnr_actors", "ssim", "coverage", "realtime_factor"),
            *("frames_per_second", "pixels_per_second"),
        ),
        Direction.MORE,
    ),
    **dict.fromkeys(
        (
            *("distance", "times_floor", "perceptual", "flicker", "flicker_share"),
            *("below_round_trip", "peak_memory", "dead"),
        ),
        Direction.LESS,
    ),
    **dict.fromkeys(("seam", "change_ratio"), Direction.NEAR_ONE),
    **dict.fromkeys(
        (
            *("questions", "items", "clips", "n", "left_out", "features", "frames_given"),
            *("frames", "height", "width", "change", "true_change", "psnr_round_trip"),
            *("seam_vae", "seam_true", "noise_floor", "density", "true_density", "true_coverage"),
            *("first_delta", "last_delta", "values_to_one", "bytes_to_one", "bytes_to_one_h264"),
        ),
        Direction.NONE,
    ),
}
"""By the last name of a number that is in no group."""


def listed(path: tuple[str, ...]) -> Direction | None:
    """What is said of the number at `path` in a report; None if nobody has said it."""
    if NOT_ITS_OWN & set(path):
        return Direction.NONE
    group = next((GROUPS[name] for name in path if name in GROUPS), None)
    return group or NAMES.get(path[-1])


def direction(path: tuple[str, ...]) -> Direction:
    """The same; of what nobody has listed neither is better."""
    return listed(path) or Direction.NONE


def is_timed(path: tuple[str, ...]) -> bool:
    """Whether a number depends on the machine, and not on the model alone."""
    return "speed" in path or path[-1] == "realtime_factor"


def away_from_one(found: Leaf) -> tuple[float, float, float]:
    """How far a number is from 1, with the interval of that."""
    assert found.low is not None
    assert found.high is not None
    low, high = found.low - 1, found.high - 1
    ends = sorted((abs(low), abs(high)))
    return abs(found.value - 1), 0.0 if low <= 0 <= high else ends[0], ends[1]
