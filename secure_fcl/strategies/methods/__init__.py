"""The literature's methods, by family; each names its paper, what it sums, where its terms act and what they cost."""

from __future__ import annotations

from secure_fcl.strategies.methods.averaging import Alone, Weighted
from secure_fcl.strategies.methods.cfed import Cfed
from secure_fcl.strategies.methods.distillation import LwF, TwoTeachers
from secure_fcl.strategies.methods.fedweit import FedWeit, FedWeitWithTransfer
from secure_fcl.strategies.methods.glfc import Glfc, GlfcWithProxy
from secure_fcl.strategies.methods.memory_aware import MemoryAware
from secure_fcl.strategies.methods.not_true import NotTrue
from secure_fcl.strategies.methods.regularisation import (
    Curvature,
    ElasticWeights,
    Proximal,
    SurrogateIntelligence,
    SynapticIntelligence,
)
from secure_fcl.strategies.methods.replay import AveragedGradientMemory, DarkReplay
from secure_fcl.strategies.methods.scaffold import Scaffold

__all__ = [
    "Alone",
    "AveragedGradientMemory",
    "Cfed",
    "Curvature",
    "DarkReplay",
    "ElasticWeights",
    "FedWeit",
    "FedWeitWithTransfer",
    "Glfc",
    "GlfcWithProxy",
    "LwF",
    "MemoryAware",
    "NotTrue",
    "Proximal",
    "Scaffold",
    "SurrogateIntelligence",
    "SynapticIntelligence",
    "TwoTeachers",
    "Weighted",
]
