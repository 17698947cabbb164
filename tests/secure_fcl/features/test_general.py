from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_fcl.data import Dataset
from secure_fcl.errors import ConfigInvalid, FeaturesRefused
from secure_fcl.features.choice import feature_map, width_of
from secure_fcl.features.general import MOST, folded, general_features
from secure_fcl.features.own import OwnFeatures

SHAPES = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 130)),
    st.tuples(st.sampled_from([1, 3, 4]), st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.integers(1, 700)),
)


@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, seed=st.integers(0, 1000), size=st.sampled_from([0.0, 1e-3, 1.0, 1e4, 1e30]), broken=st.booleans())
def test_every_row_has_norm_at_most_one_and_is_of_its_own_example(
    shape: tuple[int, ...], seed: int, size: float, broken: bool
) -> None:
    x = (size * np.random.default_rng(seed).standard_normal((3, *shape))).astype(np.float32)
    if broken:
        x.reshape(3, -1)[0, 0], x.reshape(3, -1)[1, -1] = np.nan, np.inf
    rows = general_features(x)
    assert rows.shape[1] == general_features(x[:0]).shape[1] <= MOST
    assert np.isfinite(rows).all()
    assert (np.linalg.norm(rows, axis=1) <= 1.0).all()
    np.testing.assert_allclose(general_features(x[1:2]), rows[1:2], rtol=0, atol=1e-9)


def test_a_shape_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has shape \(3,\)"):
        general_features(np.zeros(3, dtype=np.float32))


def test_folding_keeps_what_is_short_and_mixes_what_is_long() -> None:
    rows = np.random.default_rng(0).standard_normal((2, MOST + 100))
    assert folded(rows[:, :MOST]) is not None
    np.testing.assert_array_equal(folded(rows[:, :MOST]), rows[:, :MOST])
    assert folded(rows).shape == (2, MOST)
    moved = rows.copy()
    moved[:, -1] += 1.0
    assert np.abs(folded(moved) - folded(rows)).sum() == pytest.approx(2.0)


def test_general_features_tell_activities_apart(hapt: Dataset) -> None:
    """Nearest mean direction, no noise; they were fixed before this figure was seen."""
    rows = general_features(hapt.x)
    sums = np.stack([rows[hapt.train & (hapt.y == c)].sum(axis=0) for c in range(12)])
    directions = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    right = ((rows @ directions.T).argmax(axis=1) == hapt.y)[hapt.test].mean()
    assert right > 0.6


def own(function: Callable[[np.ndarray], object]) -> OwnFeatures:
    return OwnFeatures("lab:mine", function)


def test_features_of_ones_own_are_clipped_one_example_at_a_time() -> None:
    centred = own(lambda x: (x - x.mean(axis=0)).reshape(len(x), -1) + 3.0)
    x = np.random.default_rng(0).standard_normal((5, 2, 4)).astype(np.float32)
    rows = centred(x)
    assert rows.shape == (5, 8)
    assert (np.linalg.norm(rows, axis=1) <= 1.0).all()
    # A batch's mean would make each row depend on the others; alone each example is its own mean.
    np.testing.assert_allclose(rows, 1 / np.sqrt(8), atol=1e-9)
    short = own(lambda x: 0.1 * np.ones((1, 2)))(x)
    np.testing.assert_array_equal(short, 0.1)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: np.where(x.max() > 5, np.nan, 1.0) * np.ones((1, 3)), "gives an example NaN or an infinity"),
        (lambda x: np.where(x.max() > 5, np.inf, 1.0) * np.ones((1, 3)), "infinity, which no clipping bounds"),
        (lambda x: np.ones((1, 4 if x.max() > 5 else 3)), "gives an example 4 values, not 3"),
        (lambda x: np.ones(3) / (0 if x.max() > 5 else 1) if x.max() <= 5 else {}["secret 7.5"], "with KeyError;"),
    ],
)  # fmt: skip
def test_what_cannot_be_bounded_is_refused_on_the_device(function: Callable[[np.ndarray], object], said: str) -> None:
    x = np.zeros((2, 1, 4), dtype=np.float32)
    assert own(function)(x).shape == (2, 3)
    x[1] = 7.5
    with pytest.raises(FeaturesRefused, match=said) as refused:
        own(function)(x)
    assert "7.5" not in str(refused.value)


def test_made_up_inputs_only_warn() -> None:
    odd = own(lambda x: np.log(np.abs(x)).reshape(1, -1))
    with np.errstate(divide="ignore"):
        doubts = list(odd.doubts((1, 4)))
    assert any("gives zeros NaN or an infinity" in doubt for doubt in doubts)
    assert odd.width((1, 4)) == 4
    counted = iter(range(100))
    assert any("other values the second time" in d for d in own(lambda x: [next(counted) / 1e3]).doubts((1, 4)))
    assert not list(own(lambda x: x.mean(axis=2) / 10.0).doubts((1, 4)))


def test_features_that_are_none_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "described_by.py").write_text("number = 3\ndef breaks(x):\n    raise OSError('no disk')\n")
    with pytest.raises(ConfigInvalid, match=r"described_by\.py is of type int; name a function"):
        feature_map("described_by:number")
    with pytest.raises(ConfigInvalid, match=r"described_by\.py: fails on noise with OSError: no disk; give \(1, d\)"):
        width_of(feature_map("described_by:breaks"), (3, 128))
    with pytest.raises(ConfigInvalid, match="no module 'nowhere_at_all'"):
        feature_map("nowhere_at_all:f")
