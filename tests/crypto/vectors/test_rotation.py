import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard

from crypto import FixedPoint
from crypto.errors import EncodingError
from crypto.keys.randomness import KeyedStream
from crypto.vectors.rotation import Rotation

SEED = bytes(range(32))
vectors = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=70)


@given(vectors, st.binary(min_size=32, max_size=32))
def test_rotating_keeps_norms_and_turns_back(values: list[float], seed: bytes) -> None:
    x = np.array(values)
    rotation = Rotation(seed, x.size)
    y = rotation.forward(x)
    scale = max(1.0, float(np.abs(x).max()))
    assert y.size == rotation.padded
    assert np.allclose(rotation.inverse(y), x, atol=1e-9 * scale, rtol=0)
    assert np.isclose(np.linalg.norm(y), np.linalg.norm(x), atol=1e-9 * scale)


def test_it_is_the_hadamard_matrix_of_scipy_up_to_signs() -> None:
    rotation = Rotation(SEED, 8)
    matrix = np.stack([rotation.forward(row) for row in np.eye(8)], axis=1) * 8**0.5
    signs = matrix[0] * hadamard(8)[0]
    assert np.allclose(matrix, hadamard(8) * signs)
    assert set(signs.round().tolist()) == {-1.0, 1.0}


def test_a_spike_is_spread_evenly() -> None:
    x = np.zeros(1000)
    x[3] = 5.0
    assert np.allclose(np.abs(Rotation(SEED, 1000).forward(x)), 5 / 1024**0.5)


def test_entries_keep_the_stated_tail() -> None:
    x = np.random.default_rng(1).standard_normal(500)
    limit = 4 * np.linalg.norm(x) / 512**0.5
    over = sum(int((np.abs(Rotation(k.to_bytes(32, "big"), 500).forward(x)) > limit).sum()) for k in range(100))
    assert over <= 2 * np.exp(-8) * 512 * 100 + 5 * (2 * np.exp(-8) * 512 * 100) ** 0.5


def test_sums_of_rotated_and_encoded_vectors_are_unbiased() -> None:
    source = np.random.default_rng(2)
    rotation, encoder = Rotation(SEED, 100), FixedPoint(scale=8.0, clip=10.0)
    x = source.standard_normal(100)
    stream = KeyedStream(bytes(32))
    draws = 4000
    total = np.sum([encoder.encode(rotation.forward(x), stream).values for _ in range(draws)], axis=0)
    back = rotation.inverse(encoder.decode(total)) / draws
    # Rounding has standard deviation at most 1/16 an entry, which rotation keeps.
    assert np.abs(back - x).max() < 6 * (1 / 16) / draws**0.5


def test_wrong_arguments_are_refused() -> None:
    for seed, length in ((b"short", 4), (SEED, 0)):
        with pytest.raises(EncodingError):
            Rotation(seed, length)
    rotation = Rotation(SEED, 5)
    for call, size in ((rotation.forward, 8), (rotation.inverse, 5)):
        with pytest.raises(EncodingError, match="flat vector"):
            call(np.zeros(size))
    assert np.isnan(rotation.forward([1, 2, np.nan, 4, 5])).all()
