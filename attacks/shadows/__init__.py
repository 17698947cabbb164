"""Shadow models: many models trained as the target was, on coins that the adversary knows."""

from __future__ import annotations

from attacks.shadows.any_module import ModuleTrainer, trainer_for
from attacks.shadows.mlp import BatchedMlp
from attacks.shadows.models import ContinualRecipe, ShadowModels, continual_models
from attacks.shadows.rule import Rule, ShadowTrainer

__all__ = [
    "BatchedMlp",
    "ContinualRecipe",
    "ModuleTrainer",
    "Rule",
    "ShadowModels",
    "ShadowTrainer",
    "continual_models",
    "trainer_for",
]
