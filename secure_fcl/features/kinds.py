"""Public features by kind of data: HAPT's windows, grey images, and whatever else there is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secure_fcl.features.general import general_features
from secure_fcl.features.plain import Features, hapt_features, image_features
from secure_fcl.features.refined import refined_hapt_features, refined_image_features


def features(x: npt.NDArray[np.floating]) -> Features:
    """Apply `hapt_features` to windows (n, 6, 64), `image_features` to grey images, `general_features` to the rest."""
    match _kind(x):
        case "hapt":
            return hapt_features(x)
        case "grey":
            return image_features(x)
        case _:
            return general_features(x)


def refined_features(x: npt.NDArray[np.floating]) -> Features:
    """Apply the refined features to windows (n, 6, 64) and to grey images, `general_features` to the rest."""
    match _kind(x):
        case "hapt":
            return refined_hapt_features(x)
        case "grey":
            return refined_image_features(x)
        case _:
            return general_features(x)


def _kind(x: npt.NDArray[np.floating]) -> str:
    if x.ndim == 3 and x.shape[1:] == (6, 64):
        return "hapt"
    return "grey" if x.ndim == 4 and x.shape[1] == 1 and min(x.shape[2:]) >= 4 else "other"
