"""How fast it is, and why: clips timed from outside, counted operations, a peer beside us."""

from overcrank.bench.beside import beside_diffusers
from overcrank.bench.clips import AXES, Setting, sweep
from overcrank.bench.page import page
from overcrank.bench.work import shares

__all__ = ["AXES", "Setting", "beside_diffusers", "page", "shares", "sweep"]
