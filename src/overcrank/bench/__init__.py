"""How fast it is, and why: clips timed from outside, counted operations, a peer beside us."""

from overcrank.bench.clips import AXES, Setting, own
from overcrank.bench.page import page, pictures
from overcrank.bench.record import Record
from overcrank.bench.sweep import Sweep

__all__ = ["AXES", "Record", "Setting", "Sweep", "own", "page", "pictures"]
