"""Strategies behind one interface of declared uploads: fine-tuning, replay, class sums."""

from secure_fcl.strategies.base import DeviceView, Examples, State, StepContext, Strategy
from secure_fcl.strategies.class_sums import ClassSums
from secure_fcl.strategies.contribution import Part, UploadSpec
from secure_fcl.strategies.gradient import GradientStrategy

__all__ = [
    "ClassSums",
    "DeviceView",
    "Examples",
    "GradientStrategy",
    "Part",
    "State",
    "StepContext",
    "Strategy",
    "UploadSpec",
]
