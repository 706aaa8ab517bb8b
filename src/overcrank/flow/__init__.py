"""Rectified flow: the path, schedules, samplers, guidance and training-time noise levels."""

from overcrank.flow.guidance import Guidance, GuidanceByLevel, SkipMode, guided
from overcrank.flow.levels import shifted_logit_normal
from overcrank.flow.path import data_from, mix, velocity
from overcrank.flow.samplers import VelocityFn, euler
from overcrank.flow.schedules import (
    Schedule,
    ScheduleKind,
    linear_quadratic,
    shift,
    shifted,
    uniform,
    with_end,
)

__all__ = [
    "Guidance",
    "GuidanceByLevel",
    "Schedule",
    "ScheduleKind",
    "SkipMode",
    "VelocityFn",
    "data_from",
    "euler",
    "guided",
    "linear_quadratic",
    "mix",
    "shift",
    "shifted",
    "shifted_logit_normal",
    "uniform",
    "velocity",
    "with_end",
]
