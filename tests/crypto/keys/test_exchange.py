"""Keys of small order, and second writings of one key: what the library refuses is refused beforehand."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from crypto.keys.exchange import _FIELD, _SMALL_ORDER, usable


def agrees(public: bytes) -> bool:
    try:
        X25519PrivateKey.from_private_bytes(bytes(range(32))).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("number", sorted(_SMALL_ORDER))
def test_no_secret_agrees_with_a_key_of_small_order_however_it_is_written(number: int) -> None:
    for written in (number, number + _FIELD, number | 1 << 255):
        if written < 1 << 256:
            public = written.to_bytes(32, "little")
            assert not usable(public)
            assert written >= 1 << 255 or written >= _FIELD + 19 or not agrees(public)


@given(st.binary(min_size=32, max_size=32))
def test_a_made_key_is_usable(private: bytes) -> None:
    assert usable(X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())


@given(st.integers(0, 2**256 - 1))
def test_whatever_is_usable_agrees(number: int) -> None:
    public = number.to_bytes(32, "little")
    assert not usable(public) or agrees(public)
    assert usable(public) or number >= _FIELD or not agrees(public)


def test_another_length_is_refused() -> None:
    assert not usable(b"")
    assert not usable(bytes(31) + b"\x09\x00")
