"""Strategies: what a client contributes to a sum, and what the server makes of it."""

from __future__ import annotations

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
from secure_fcl.strategies.closed_form.calm import Calm
from secure_fcl.strategies.closed_form.class_sums import ClassSums
from secure_fcl.strategies.closed_form.classifiers import Ridge, StreamingLda
from secure_fcl.strategies.closed_form.moments import Classifier, Moments, MomentSums
from secure_fcl.strategies.closed_form.summed_once import SummedOnce
from secure_fcl.strategies.contribution import Part, UploadSpec
from secure_fcl.strategies.entry import GradientEntry, SumsEntry, SumsNumbers
from secure_fcl.strategies.gradient.method import Method, Plain
from secure_fcl.strategies.gradient.networks import Networks
from secure_fcl.strategies.gradient.numbers import Encoding, Rates
from secure_fcl.strategies.gradient.strategy import GradientStrategy
from secure_fcl.strategies.section import GradientSection, SumsSection

__all__ = [
    "Calm",
    "ClassSums",
    "Classifier",
    "Contribution",
    "DeviceView",
    "Encoding",
    "Examples",
    "GradientEntry",
    "GradientSection",
    "GradientStrategy",
    "Method",
    "MomentSums",
    "Moments",
    "Networks",
    "Part",
    "Phase",
    "Plain",
    "Rates",
    "Ridge",
    "State",
    "StepContext",
    "Strategy",
    "Stratum",
    "StreamingLda",
    "SummedOnce",
    "SumsEntry",
    "SumsNumbers",
    "SumsSection",
    "UploadSpec",
    "one_by_one",
]
