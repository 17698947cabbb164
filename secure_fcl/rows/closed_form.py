"""The closed-form strategies by the name of their row: which features, which sums, which noise."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from privacy import SkellamSum
from secure_fcl.config import Config
from secure_fcl.config.rows import AnalyticRow, CalmRow, ClassSumsRow
from secure_fcl.features.plain import features
from secure_fcl.features.refined import refined_features, variations
from secure_fcl.strategies import Calm, ClassSums, MomentSums, Phase, Ridge, StreamingLda
from secure_fcl.streams import Scenario

ClosedForm = ClassSums | MomentSums | Calm
Features = NDArray[np.float64]
FeatureMap = Callable[[NDArray[np.floating]], Features]


def closed_form_strategy(config: Config, scenario: Scenario, name: str, examples: int, noisy: bool) -> ClosedForm:
    """Return the strategy of a row of sums; `examples` bounds those of one chunk."""
    row = getattr(config, name)
    widest = max(len(scenario.slot_classes(slot)) for slot in range(scenario.slots))
    shape, classes, scale = scenario.data.shape, len(scenario.data.classes), 2.0**row.scale_bits
    if isinstance(row, ClassSumsRow):
        return ClassSums(shape, classes, widest, examples, scale, noisy)
    function = remembered(refined_features if row.features == "refined" else features)
    if isinstance(row, CalmRow):
        copies = variations if row.variations else lambda x: iter((x,))
        return Calm(name, function, copies, shape, classes, widest, examples, scale, (0.0, 0.0))
    classifier = Ridge(row.ridge) if isinstance(row, AnalyticRow) else StreamingLda()
    return MomentSums(name, classifier, function, shape, classes, widest, examples, row.gram_share, scale, 0.0)


def remembered(function: FeatureMap) -> FeatureMap:
    """Return the function with its last two results kept by content: after every task a model is tried on one test set.

    A result is read-only. Two, because a probe of that set alternates with the whole of it.
    """
    kept: dict[bytes, Features] = {}

    def looked_up(x: NDArray[np.floating]) -> Features:
        key = hashlib.sha256(f"{x.dtype}{x.shape}".encode() + np.ascontiguousarray(x).tobytes()).digest()
        if key not in kept:
            while len(kept) >= 2:
                del kept[next(iter(kept))]
            kept[key] = function(x)
            kept[key].flags.writeable = False
        return kept[key]

    return looked_up


def noise_ratios(config: Config, name: str) -> Mapping[Phase, float]:
    """Return each exchange's noise multiplier over the row's, so that together they cost as one of the row's.

    Gaussian mechanisms of multipliers s_i compose to 1 / sqrt(sum of 1 / s_i^2).
    """
    row = getattr(config, name)
    if not isinstance(row, CalmRow):
        return {"train": 1.0}
    return {"train": 1.0 / math.sqrt(1.0 - row.scatter_share), "close": 1.0 / math.sqrt(row.scatter_share)}


def told_of_noise(strategy: ClosedForm, noises: Mapping[Phase, SkellamSum], clients: int) -> ClosedForm:
    """Return the strategy with the public size of the noise in its sums, all clients present."""
    std = {phase: math.sqrt(clients * n.share_variance) / strategy.scale for phase, n in noises.items()}
    match strategy:
        case MomentSums():
            return replace(strategy, noise=std["train"])
        case Calm():
            return replace(strategy, noise=(std["train"], std["close"]))
        case _:
            return strategy
