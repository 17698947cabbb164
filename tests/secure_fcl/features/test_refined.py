import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from secure_fcl.data import Dataset
from secure_fcl.features.kinds import refined_features
from secure_fcl.features.plain import hapt_features, image_features
from secure_fcl.features.refined import refined_hapt_features, refined_image_features, variations

ANYTHING = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (2, 6, 64), elements=ANYTHING))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_window_exceeds_the_ball_turned_or_not(x: np.ndarray) -> None:
    for copy in variations(x):
        rows = refined_features(copy)
        assert rows.shape == (2, 129)
        assert np.isfinite(rows).all()
        assert (np.linalg.norm(rows, axis=1) <= 1.0).all()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([(4, 4), (8, 8), (5, 17), (28, 28)]), st.data())
def test_no_image_exceeds_the_ball(size: tuple[int, int], data: st.DataObject) -> None:
    rows = refined_features(data.draw(arrays(np.float32, (2, 1, *size), elements=ANYTHING)))
    assert np.isfinite(rows).all()
    assert (np.linalg.norm(rows, axis=1) <= 1.0).all()


def test_a_row_depends_on_its_own_example_alone(hapt: Dataset, digits: Dataset) -> None:
    for x in (hapt.x[:300], digits.x[:300]):
        np.testing.assert_allclose(refined_features(x)[7:8], refined_features(x[7:8]), rtol=0, atol=1e-12)
    assert refined_features(hapt.x[:0]).shape == (0, 129)
    assert refined_features(digits.x[:0]).shape == (0, 128)


def test_the_plain_features_of_movement_are_inside(hapt: Dataset) -> None:
    plain, refined = hapt_features(hapt.x[:50]), refined_features(hapt.x[:50])[:, :123]
    directions = refined / np.linalg.norm(refined, axis=1, keepdims=True)
    np.testing.assert_allclose(directions, plain, atol=1e-9)


def test_faint_motion_is_told_apart() -> None:
    """A sway of 0.01 g lies below the plain features' floor of 0.02 g for a trunk at rest."""
    rng = np.random.default_rng(0)
    x = np.zeros((2, 6, 64), dtype=np.float32)
    x[:, 0] = 1.0
    x[:, :3] += (
        rng.normal(size=(2, 3, 64)).astype(np.float32) * np.array([0.002, 0.01], dtype=np.float32)[:, None, None]
    )
    still, swaying = refined_features(x)[:, 123:126]
    assert (swaying - still > 0.02).all()


def test_slanted_strokes_come_out_alike() -> None:
    upright = np.zeros((1, 1, 28, 28), dtype=np.float32)
    upright[0, 0, 4:24, 12:16] = 1.0
    slanted = np.zeros_like(upright)
    for row in range(4, 24):
        shift = round((row - 13.5) * 0.5)
        slanted[0, 0, row, 12 + shift : 16 + shift] = 1.0
    plain = (image_features(upright) * image_features(slanted)).sum()
    refined = (refined_features(upright) * refined_features(slanted)).sum()
    assert refined > 0.95 > plain + 0.1
    assert not refined_features(np.zeros((1, 1, 8, 8), dtype=np.float32)).any()


def test_variations_keep_lengths_and_come_back(hapt: Dataset) -> None:
    copies = list(variations(hapt.x[:5]))
    assert len(copies) == 7
    assert np.array_equal(copies[0], hapt.x[:5])
    for copy in copies[1:]:
        for sensor in (slice(0, 3), slice(3, 6)):
            np.testing.assert_allclose(
                np.linalg.norm(copy[:, sensor], axis=1), np.linalg.norm(hapt.x[:5, sensor], axis=1), rtol=1e-5
            )
        assert np.abs(copy - hapt.x[:5]).max() > 0.05
    images = list(variations(np.zeros((2, 1, 8, 8))))
    assert len(images) == 1


@pytest.mark.parametrize("shape", [(3, 6, 63), (3, 5, 64), (6, 64), (2, 3, 8, 8), (2, 1, 3, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for function in (refined_hapt_features, refined_image_features):
        with pytest.raises(ValueError, match="has shape"):
            function(np.zeros(shape, dtype=np.float32))
