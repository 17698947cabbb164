"""What CALM chooses before a run, from public numbers alone, and the sentence that says so.

The kind of data decides the features; that, the noise and the planned examples whether random Fourier features stand
beside them. What a slot's second exchange sends is decided later, on released numbers; how many examples that
takes is known beforehand too. Nothing here knows a data set by name, and no size decides but by these rules. How they
were found: docs/strategies-calm.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from secure_fcl.features.choice import FeatureMap, feature_map, remembered, width_of
from secure_fcl.features.fourier import WAVES, WithFourier
from secure_fcl.features.kinds import kind_of

SCATTER_SHARE = 0.3
"""Part of the budget that the second exchange gets."""

FEW = 2.0
"""Examples of a slot over the largest eigenvalue of the scatter's noise, below which its scatter would drown."""

FEW_IF_FAINT = 6.0
"""The same where the class means are mostly noise still: then they need the second exchange more."""

FAINT = 0.5
"""How much of what sets a class mean apart must be left of it not to be that."""

EXAMPLES_PER_FEATURE = 2.0  # below it a second moment of Fourier features is singular, and chance decides


@dataclass(frozen=True, kw_only=True)
class ChosenFeatures:
    """Features of a run and why they are the choice."""

    features: FeatureMap
    why: str


def chosen_features(asked: str, shape: tuple[int, ...], planned: int, noisy: bool) -> ChosenFeatures:
    """Return the features of a run.

    Args:
        asked: of the configuration; "auto": by the rule.
        shape: of one example.
        planned: training examples of the run, a public number; 0: not known.
        noisy: whether noise is added inside the sums.

    Raises:
        secure_fcl.errors.ConfigInvalid: features of one's own cannot be imported.
    """
    if asked != "auto":
        return ChosenFeatures(features=feature_map(asked), why=f"{asked} features, as configured")
    kind: Literal["hapt", "grey", "other"] = kind_of(shape)
    name, said = {
        "hapt": ("rhythm", "rhythm features, as these are windows of a phone"),
        "grey": ("plain", "plain features, as setting images upright helps handwriting alone"),
        "other": ("general", "general features, as the sensor is not known"),
    }[kind]
    found = feature_map(name)
    width = width_of(found, shape) + WAVES
    if noisy or kind == "other":
        reason = "which noise drowns" if noisy else "which cost where features are not known to be few and smooth"
        return ChosenFeatures(features=found, why=f"{said}; no Fourier features, {reason}")
    if planned < EXAMPLES_PER_FEATURE * width:
        reason = f"as {planned} planned examples are fewer than {EXAMPLES_PER_FEATURE:g} x {width}"
        return ChosenFeatures(features=found, why=f"{said}; no Fourier features, {reason}")
    return ChosenFeatures(
        features=remembered(WithFourier(found)), why=f"{said}, and {WAVES} Fourier features, as there is no noise"
    )
