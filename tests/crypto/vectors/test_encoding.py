import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crypto.errors import EncodingError
from crypto.keys.randomness import KeyedStream, derive_key, system_random
from crypto.vectors.encoding import FixedPoint

scales = st.floats(1e-3, 1e6)
clips = st.floats(1e-3, 1e3)
vectors = hnp.arrays(np.float64, st.integers(0, 20), elements=st.floats(-1e4, 1e4))


@given(scales, clips, vectors)
def test_error_is_below_one_step_and_the_bound_holds(scale: float, clip: float, x: npt.NDArray[np.float64]) -> None:
    codec = FixedPoint(scale=scale, clip=clip)
    encoded = codec.encode(x, system_random)
    clipped = np.clip(x, -clip, clip)
    assert (np.abs(codec.decode(encoded.values) - clipped) * scale <= 1 + 1e-9).all()
    assert (np.abs(encoded.values) <= codec.bound).all()
    assert encoded.saturated == int((np.abs(x) > clip).sum())


@given(vectors, vectors)
def test_sums_of_encodings_decode_to_sums(one: npt.NDArray[np.float64], two: npt.NDArray[np.float64]) -> None:
    codec, n = FixedPoint(scale=1024.0, clip=100.0), min(one.size, two.size)
    a, b = (codec.encode(x[:n], system_random).values for x in (one, two))
    assert np.array_equal(codec.decode(a + b), codec.decode(a) + codec.decode(b))


@given(vectors, st.floats(-3, 3))
def test_sensitivity_with_shared_random_bytes(x: npt.NDArray[np.float64], step: float) -> None:
    codec, key = FixedPoint(scale=37.5, clip=50.0), derive_key(bytes(32), "coupling")
    other = x + step
    a, b = (codec.encode(v, KeyedStream(key)).values for v in (x, other))
    distance = np.linalg.norm(np.clip(x, -50, 50) - np.clip(other, -50, 50))
    assert np.linalg.norm((a - b).astype(float)) <= 37.5 * distance + np.sqrt(x.size) + 1e-9


@pytest.mark.parametrize("top", [3.0, 2.0**20 - 1, 2.0**20, 2.0**30])
def test_rounding_is_unbiased(top: float) -> None:
    """Both kinds of coins: at `top` below 2^20 and above, wherever the value lies."""
    stream = KeyedStream(derive_key(bytes(32), "bias"))
    n = 100_000
    for value in (0.1, -0.3, 1.75, -2.999, top - 1.375, 0.625 - top):
        codes = FixedPoint(scale=1.0, clip=top).encode(np.full(n, value), stream).values
        fraction = value - np.floor(value)
        # Five standard errors of a Bernoulli mean: p below 1e-6.
        assert abs((codes - np.floor(value)).mean() - fraction) < 5 * np.sqrt(fraction * (1 - fraction) / n)


@given(
    st.lists(st.floats(-(2.0**20) + 1, 2.0**20 - 1), min_size=1, max_size=20),
    st.sampled_from([0, 1, 2**31, 2**32 - 1]),
    st.sampled_from([np.float32, np.float64]),
)
def test_a_coin_decides_by_the_fraction_alone(x: list[float], coin: int, dtype: type) -> None:
    """floor(s + u) in exact arithmetic, at the extremes of the coin, but for coins within 2^-32 of the fraction."""
    values = np.array(x, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyedStream, "__call__", lambda _, n: coin.to_bytes(4, "little") * (n // 4))
        codes = FixedPoint(scale=1.0, clip=2.0**20 - 1).encode(values, system_random).values
    for value, code in zip(values.tolist(), codes.tolist(), strict=True):
        exact = Fraction(value) + Fraction(coin, 1 << 32)
        assert code == math.floor(exact) or abs(exact - round(exact)) < Fraction(1, 1 << 32)
        assert abs(code - Fraction(value)) < 1


@given(st.lists(st.integers(-(2**19), 2**19), min_size=1, max_size=20))
def test_whole_numbers_stay(x: list[int]) -> None:
    for clip in (2.0**19, 2.0**30):
        assert FixedPoint(scale=1.0, clip=clip).encode(np.array(x, dtype=float), system_random).values.tolist() == x


def test_known_values() -> None:
    codec = FixedPoint(scale=4.0, clip=1.5)
    encoded = codec.encode(np.array([[0.25, -0.5], [9.0, -1.5]]), system_random)
    assert encoded.values.tolist() == [[1, -2], [6, -6]]
    assert encoded.saturated == 1
    assert codec.bound == 6
    assert FixedPoint(scale=3.0, clip=0.5).bound == 2
    assert codec.encode(np.array([]), system_random).values.shape == (0,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_number_is_refused(bad: float) -> None:
    with pytest.raises(EncodingError, match="1 of 2"):
        FixedPoint(scale=1.0, clip=1.0).encode(np.array([0.0, bad]), system_random)


@pytest.mark.parametrize(
    ("scale", "clip"), [(0, 1), (-1, 1), (1, 0), (np.inf, 1), (1, np.nan), (2.0**52, 2.0), (1e308, 1e308)]
)
def test_bad_parameters_are_refused(scale: float, clip: float) -> None:
    with pytest.raises(EncodingError):
        FixedPoint(scale=scale, clip=clip)


def test_decoding_floats_is_refused() -> None:
    with pytest.raises(EncodingError, match="integer"):
        FixedPoint(scale=1.0, clip=1.0).decode(np.array([1.0]))
