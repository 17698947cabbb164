import warnings
from collections.abc import Callable

import numpy as np
import pytest

from secure_fcl.data import Dataset
from secure_fcl.features.plain import hapt_features
from secure_fcl.features.refined import refined_hapt_features, rhythmic_hapt_features
from secure_fcl.features.sensor import HAPT, Sensor

FUNCTIONS = (hapt_features, refined_hapt_features, rhythmic_hapt_features)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_other_units_that_are_declared_change_nothing(hapt: Dataset, function: Callable[..., np.ndarray]) -> None:
    x = hapt.x[:40].astype(np.float64)
    other = x * np.array([9.81] * 3 + [2.0 * 180.0 / np.pi] * 3)[:, None]
    declared = Sensor(acceleration_g=1 / 9.81, rotation_rad_s=np.pi / 180.0)
    np.testing.assert_allclose(function(other, declared), function(x), atol=1e-9)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_units_that_are_not_declared_are_warned_of_once(hapt: Dataset, function: Callable[..., np.ndarray]) -> None:
    metres = hapt.x[:40] * np.array([9.81] * 3 + [1.0] * 3)[:, None]
    with pytest.warns(UserWarning, match="more than 1 % of the values are beyond 4 g or 8 rad/s") as found:
        function(metres)
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(hapt.x[:40])
        function(np.zeros((0, 6, 64)))


def test_lags_and_bands_follow_the_rate() -> None:
    """A step of 2 Hz, sampled at 25 and at 50 Hz, is in the same band and beats in the same way."""
    phase = 2 * np.pi * 2.0 * np.arange(64)
    slow, fast = (np.tile(np.sin(phase / rate), (1, 6, 1)) for rate in (25.0, 50.0))
    here, there = rhythmic_hapt_features(slow)[0], rhythmic_hapt_features(fast, Sensor(rate_hz=50.0))[0]
    bands = slice(12, 36)
    assert here[bands].reshape(6, 4).argmax(axis=1).tolist() == there[bands].reshape(6, 4).argmax(axis=1).tolist()
    np.testing.assert_allclose(here[-16:], there[-16:], atol=0.04)
    assert [HAPT.samples(8), Sensor(rate_hz=50.0).samples(-8), Sensor(rate_hz=1.0).samples(2)] == [8, -16, 1]


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
def test_what_is_no_rate_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"rate_hz = .* is not positive and finite"):
        Sensor(rate_hz=value)


def test_rhythm_tells_a_beat_from_noise_and_keeps_the_norm(hapt: Dataset) -> None:
    rng = np.random.default_rng(0)
    beat = np.tile(np.sin(2 * np.pi * np.arange(64) / 8.0), (1, 6, 1))
    noise = rng.normal(size=(1, 6, 64)) * np.sqrt(0.5)
    lag_8 = slice(-8, -2)  # of the six channels
    assert (rhythmic_hapt_features(beat)[0, lag_8] > 0.05).all()
    assert rhythmic_hapt_features(beat)[0, lag_8].sum() > 5 * rhythmic_hapt_features(noise)[0, lag_8].sum()
    rows = rhythmic_hapt_features(np.concatenate([hapt.x[:50], np.full((1, 6, 64), np.nan, dtype=np.float32)]))
    assert rows.shape == (51, 145)
    assert np.linalg.norm(rows, axis=1).max() <= 1.0
