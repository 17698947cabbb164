import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import RandomnessError, SecretExposed
from crypto.keys.randomness import KeyedStream, derive_key, encode_labels, system_random, uniform53, uniform64

labels = st.lists(st.text(max_size=3) | st.integers() | st.binary(max_size=3), max_size=4).map(tuple)


def test_stream_is_aes_256_in_counter_mode() -> None:
    # NIST AESAVS, AES-256, zero key and zero block; the second block is counter 1, computed with OpenSSL.
    stream = KeyedStream(bytes(32))
    assert stream(16).hex() == "dc95c078a2408989ad48a21492842087"
    assert stream(16).hex() == "530f8afbc74536b9a963b4f1c4cb738b"


def test_key_derivation_is_rfc_5869() -> None:
    # RFC 5869, test case 3 (no salt, no info), first 32 of 42 bytes.
    assert derive_key(b"\x0b" * 22).hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"


@given(labels, labels)
def test_different_labels_give_different_bytes(
    one: tuple[str | int | bytes, ...], two: tuple[str | int | bytes, ...]
) -> None:
    same = [(type(x), x) for x in one] == [(type(x), x) for x in two]
    assert (encode_labels(one) == encode_labels(two)) == same


@given(st.lists(st.integers(0, 70), max_size=8))
def test_stream_does_not_depend_on_how_it_is_read(sizes: list[int]) -> None:
    key = derive_key(b"0123456789abcdef", "chunks")
    stream = KeyedStream(key)
    assert b"".join(stream(n) for n in sizes) == KeyedStream(key)(sum(sizes))


def test_stream_keeps_its_key_secret() -> None:
    key = bytes(range(32))
    stream = KeyedStream(key)
    assert "secrets not shown" in f"{stream!r}{stream}"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretExposed):
            leak(stream)


@pytest.mark.parametrize("n", [0, 1, 33])
def test_lengths(n: int) -> None:
    assert len(system_random(n)) == n
    assert len(KeyedStream(bytes(32))(n)) == n


def test_misuse_is_refused() -> None:
    with pytest.raises(RandomnessError):
        system_random(-1)
    with pytest.raises(RandomnessError):
        KeyedStream(bytes(32))(-1)
    with pytest.raises(RandomnessError):
        KeyedStream(bytes(16))
    with pytest.raises(RandomnessError):
        derive_key(bytes(15), "too short")
    with pytest.raises(RandomnessError):
        derive_key(bytes(32), True)
    with pytest.raises(RandomnessError):
        derive_key(bytes(32), 0.5)  # type: ignore[arg-type]


def test_uniform_extremes_and_shapes() -> None:
    assert uniform53(lambda n: b"\xff" * n, 3).tolist() == [1 - 2.0**-53] * 3
    assert uniform53(lambda n: bytes(n), (2, 1)).tolist() == [[0.0], [0.0]]
    assert uniform64(lambda n: b"\xff" * n, (2,)).tolist() == [2**64 - 1] * 2
    assert uniform64(system_random, (0, 3)).shape == (0, 3)


def test_uniform_moments() -> None:
    draws = uniform53(KeyedStream(bytes(32)), 200_000)
    # Six standard errors of the mean of a uniform variable.
    assert abs(draws.mean() - 0.5) < 6 * np.sqrt(1 / 12 / draws.size)
