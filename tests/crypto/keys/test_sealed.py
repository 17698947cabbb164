import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import SealError, SecretExposed
from crypto.keys.randomness import KeyedStream, system_random
from crypto.keys.sealed import OVERHEAD, BoxKey, seal

CONTEXT = ("session", 3, "update", "ada", "compute0")


@given(st.binary(max_size=200))
def test_boxes_open_with_the_right_key_and_context(plaintext: bytes) -> None:
    key = BoxKey(system_random)
    box = seal(key.public, plaintext, CONTEXT, system_random)
    assert len(box) == len(plaintext) + OVERHEAD
    assert key.open(box, CONTEXT) == plaintext


@given(st.integers(0, OVERHEAD + 9), st.integers(1, 255))
def test_any_changed_byte_is_noticed(place: int, change: int) -> None:
    key = BoxKey(system_random)
    box = bytearray(seal(key.public, b"ten  bytes", CONTEXT, system_random))
    box[place] ^= change
    with pytest.raises(SealError):
        key.open(bytes(box), CONTEXT)


@pytest.mark.parametrize("place", range(5))
def test_every_part_of_the_context_is_bound(place: int) -> None:
    key = BoxKey(system_random)
    box = seal(key.public, b"x", CONTEXT, system_random)
    other: list[str | int] = list(CONTEXT)
    other[place] = 4 if place == 1 else "other"
    with pytest.raises(SealError):
        key.open(box, tuple(other))


def test_wrong_key_short_box_and_weak_public_key() -> None:
    key = BoxKey(system_random)
    box = seal(key.public, b"x", CONTEXT, system_random)
    with pytest.raises(SealError):
        BoxKey(system_random).open(box, CONTEXT)
    with pytest.raises(SealError):
        key.open(box[: OVERHEAD - 1], CONTEXT)
    for weak in (bytes(32), b"\x01" + bytes(31), b"short"):
        with pytest.raises(SealError):
            seal(weak, b"x", CONTEXT, system_random)
    with pytest.raises(SealError):
        key.open(bytes(32) + box[32:], CONTEXT)


def test_key_agreement_is_rfc_7748() -> None:
    # RFC 7748, section 6.1: Bob's private key and his public key.
    private = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    assert BoxKey(lambda n: (private * 2)[:n]).public[:32].hex() == public


def test_boxes_do_not_repeat_even_with_the_same_random_bytes() -> None:
    key = BoxKey(KeyedStream(bytes(32)))
    one, two = (seal(key.public, b"x", CONTEXT, KeyedStream(bytes(32))) for _ in range(2))
    assert one[32:] != two[32:]


def test_private_key_stays_put() -> None:
    key = BoxKey(system_random)
    assert "secrets not shown" in repr(key)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretExposed):
            leak(key)
