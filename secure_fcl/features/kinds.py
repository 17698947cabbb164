"""Public features by kind of data: HAPT's windows, grey images, and whatever else there is."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from secure_fcl.features.general import general_features
from secure_fcl.features.norms import Features
from secure_fcl.features.plain import hapt_features, image_features
from secure_fcl.features.refined import refined_hapt_features, refined_image_features, rhythmic_hapt_features

Kind = Literal["hapt", "grey", "other"]


def features(x: npt.NDArray[np.floating]) -> Features:
    """Apply `hapt_features` to windows (n, 6, 64), `image_features` to grey images, `general_features` to the rest."""
    match kind_of(x.shape[1:]):
        case "hapt":
            return hapt_features(x)
        case "grey":
            return image_features(x)
        case _:
            return general_features(x)


def refined_features(x: npt.NDArray[np.floating]) -> Features:
    """Apply the refined features to windows (n, 6, 64) and to grey images, `general_features` to the rest."""
    match kind_of(x.shape[1:]):
        case "hapt":
            return refined_hapt_features(x)
        case "grey":
            return refined_image_features(x)
        case _:
            return general_features(x)


def rhythm_features(x: npt.NDArray[np.floating]) -> Features:
    """Apply `rhythmic_hapt_features` to windows (n, 6, 64) and the refined features to the rest."""
    return rhythmic_hapt_features(x) if kind_of(x.shape[1:]) == "hapt" else refined_features(x)


def kind_of(shape: tuple[int, ...]) -> Kind:
    """Return the kind of data by the shape of one example."""
    if shape == (6, 64):
        return "hapt"
    return "grey" if len(shape) == 3 and shape[0] == 1 and min(shape[1:]) >= 4 else "other"
