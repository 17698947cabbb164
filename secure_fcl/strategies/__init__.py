"""Strategies: what a client contributes to a sum, and what the server makes of it."""

from secure_fcl.strategies.base import (
    Contribution,
    DeviceView,
    Examples,
    Phase,
    State,
    StepContext,
    Strategy,
    Stratum,
    one_by_one,
)
from secure_fcl.strategies.class_sums import ClassSums
from secure_fcl.strategies.contribution import Part, UploadSpec
from secure_fcl.strategies.gradient import Encoding, GradientStrategy, Rates
from secure_fcl.strategies.method import Method, Plain
from secure_fcl.strategies.networks import Networks

__all__ = [
    "ClassSums",
    "Contribution",
    "DeviceView",
    "Encoding",
    "Examples",
    "GradientStrategy",
    "Method",
    "Networks",
    "Part",
    "Phase",
    "Plain",
    "Rates",
    "State",
    "StepContext",
    "Strategy",
    "Stratum",
    "UploadSpec",
    "one_by_one",
]
