"""The choice of public features by name, and the memory of their last results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from secure_fcl.features.plain import Features, features
from secure_fcl.features.refined import refined_features

FeatureMap = Callable[[NDArray[np.floating]], Features]


def feature_map(kind: str) -> FeatureMap:
    """Return the public features of a kind, "plain" or "refined", with their last two results remembered."""
    return remembered(refined_features if kind == "refined" else features)


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
