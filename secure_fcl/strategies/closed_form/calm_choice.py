"""What CALM chooses before a run, from public numbers alone, and the sentence that says so.

The kind of data decides the features; that, the noise and the planned examples whether random Fourier features stand
beside them. What a slot's second exchange sends is decided later, on released numbers; how many examples that
takes is known beforehand too. Nothing here knows a data set by name, and no size decides but by these rules. How they
were found: docs/strategies-calm.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from secure_fcl.features.choice import FeatureMap, feature_map, remembered, width_of
from secure_fcl.features.fourier import WAVES, WithFourier
from secure_fcl.features.kinds import kind_of

SCATTER_SHARE = 0.3
"""Part of the budget that the second exchange gets."""

DROWNED = 0.05
"""Noise of a slot's scatter times noise of its class means, each over what it hides, above which the means need it."""

HOPELESS = 2.0
"""The scatter's noise over what it hides, above which nothing of the scatter is to be seen."""

EXAMPLES_PER_FEATURE = 2.0  # below it a second moment of Fourier features is singular, and chance decides

_RULES = "features, Fourier features, share, ridges, bias and thresholds were"
CHOSEN_ON = {
    "hapt": f"{_RULES} chosen on its training data (session 1, over persons), directions and turned copies after its "
    "later sessions had been seen",
    "digits": f"{_RULES} chosen on its training data",
    "mnist": "directions and the threshold on the scatter were settled after its test images had been seen",
}
"""By data set what was chosen on it; told on every certificate and in tables, and part of no rule."""


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
    kind = kind_of(shape)
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


def examples_for_scatter(edge: float, noise: float, dimension: int, classes: int, length: float) -> float:
    """Return how many examples a slot needs for its second exchange to send their scatter.

    The scatter's noise over what it hides is edge / n; that of class means is d (noise classes / n)^2 over the trace of
    the covariance within classes, 1 - length^2. Whitening helps where their product is small; where it is large, what
    is missing is the means.

    Args:
        edge: largest eigenvalue of the noise in the scatter.
        noise: standard deviation of the noise in an entry of a class's sum.
        dimension: number of features, d.
        classes: of the slot.
        length: of class means, below 1.
    """
    means = dimension * (noise * classes) ** 2 / max(1.0 - length**2, 1e-4)
    return max(edge / HOPELESS, float((edge * means / DROWNED) ** (1.0 / 3.0)))
