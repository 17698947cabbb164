from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from attacks import SIDE_CHANNELS, View
from attacks.errors import FieldNotRevealed, GameInvalid, TranscriptInvalid
from attacks.sums.channels import channel_finding, message_features, prototype_exposure


def _features(runs: int, leak: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Runs of ten messages; in world 1 messages are `leak` bytes larger, on 1000 +- 5."""
    random = np.random.default_rng(seed)
    world = random.random(runs) < 0.5
    rows = []
    for b in world:
        sizes = random.normal(1000, 5, size=10) + leak * b
        fields = {"message_bytes": sizes, "message_seconds": random.exponential(size=10), "task_flags": np.zeros(10)}
        rows.append(message_features(View.of(SIDE_CHANNELS, fields)))
    return np.stack(rows), world


def test_sizes_that_follow_the_data_are_found() -> None:
    features, world = _features(200, 10.0)
    found = channel_finding("sizes", features, world, charged=0.0)
    assert found.auc.value > 0.95
    assert found.unaccounted
    assert not channel_finding("sizes", features, world, charged=1.0).unaccounted


def test_padded_messages_are_no_channel() -> None:
    """At 95 % one in forty is accused; Binomial(30, .025) exceeds 8 with probability below 1e-6."""
    accused = 0
    for seed in range(30):
        features, world = _features(60, 0.0, seed)
        accused += channel_finding("sizes", features, world, charged=0.0, seed=seed).unaccounted
    assert accused <= 8


def test_features_need_messages() -> None:
    with pytest.raises(FieldNotRevealed):
        message_features(View.of(SIDE_CHANNELS, {}))
    with pytest.raises(TranscriptInvalid, match="no message"):
        message_features(View.of(SIDE_CHANNELS, {"message_bytes": np.zeros(0)}))


def test_games_that_cannot_be_judged_are_refused() -> None:
    features, world = _features(30, 0.0)
    for bad in (features[:10], features + np.nan):
        with pytest.raises(GameInvalid, match="20 runs"):
            channel_finding("x", bad, world[: len(bad)], charged=0.0)
    with pytest.raises(GameInvalid, match="one world"):
        channel_finding("x", features, np.ones(30, dtype=bool), charged=0.0)


def test_a_prototype_of_one_example_is_the_example(digits: tuple[NDArray[np.float32], NDArray[np.int64]]) -> None:
    x, y = digits
    random = np.random.default_rng(0)
    members = np.full((90, 50), -1)
    for row in range(90):
        count = (1, 3, 50)[row % 3]
        members[row, :count] = random.choice(np.flatnonzero(y == row % 10), size=count, replace=False)
    prototypes = np.stack([x[own[own >= 0]].mean(axis=0) for own in members])
    one, three, many = prototype_exposure(prototypes, members, x)
    assert (one.count, three.count, many.count) == (1, 3, 50)
    assert one.identified == 1.0
    # A class has about 180 examples: three members would be named at 2 % by chance.
    assert three.interval.low > 0.1
    with pytest.raises(TranscriptInvalid, match="at least"):
        prototype_exposure(prototypes[:1], np.full((1, 3), -1), x)
