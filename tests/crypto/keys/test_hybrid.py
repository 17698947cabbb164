"""X25519 and ML-KEM-768 together: published vectors of both, agreement, and the transcript to its last byte."""

import copy
import hashlib
import json
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.errors import ExchangeError, SecretExposed
from crypto.keys import exchange
from crypto.keys.exchange import CAPSULE_BYTES, PUBLIC_BYTES, HybridKey, agree, usable_capsule, usable_hybrid
from crypto.keys.randomness import KeyedStream, encode_labels, system_random

CONTEXT = ("purpose", b"plan", 3, "ada", "helper")
KEY = HybridKey(system_random)
# draft-connolly-cfrg-xwing-kem, appendix C: X25519 and ML-KEM-768 from one seed, combined with SHA3-256.
VECTORS = json.loads((Path(__file__).parent / "xwing.json").read_text())
XWING_LABEL = bytes.fromhex("5c2e2f2f5e5c")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["seed"][:8])
def test_both_halves_are_those_of_the_published_vectors(
    vector: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expanded = hashlib.shake_256(bytes.fromhex(vector["seed"])).digest(96)
    # The draft draws for ML-KEM first, and writes it first.
    parts = [expanded[64:], expanded[:64]]
    key = HybridKey(lambda n: parts.pop(0))
    curve, lattice = key.public[:32], key.public[32:]
    assert hashlib.sha256(lattice + curve).hexdigest() == vector["pk_sha256"]
    box = bytes.fromhex(vector["ct"])
    secrets: list[bytes] = []

    def noted(first: bytes, second: bytes, *rest: object) -> bytes:
        secrets.extend((first, second))
        return b""

    monkeypatch.setattr(exchange, "_derived", noted)
    key.open(box[1088:] + box[:1088], ())
    assert hashlib.sha3_256(b"".join(secrets) + box[1088:] + curve + XWING_LABEL).hexdigest() == vector["ss"]


def test_the_key_is_hkdf_over_both_secrets_and_all_that_was_seen() -> None:
    curve, lattice = bytes(range(32)), bytes(range(64))
    parts = [curve, lattice]
    key = HybridKey(lambda n: parts.pop(0))
    capsule, agreed = agree(key.public, CONTEXT, system_random)
    first = MLKEM768PrivateKey.from_seed_bytes(lattice).decapsulate(capsule[32:])
    second = X25519PrivateKey.from_private_bytes(curve).exchange(X25519PublicKey.from_public_bytes(capsule[:32]))
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = encode_labels(("hybrid key 1", key.public, capsule, *CONTEXT))
    assert agreed == HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(first + second)


@given(st.lists(st.text(max_size=5) | st.integers() | st.binary(max_size=5), max_size=4).map(tuple))
@settings(max_examples=50)
def test_both_sides_agree(context: tuple[str | int | bytes, ...]) -> None:
    capsule, key = agree(KEY.public, context, system_random)
    assert (len(KEY.public), len(capsule), len(key)) == (PUBLIC_BYTES, CAPSULE_BYTES, 32)
    assert usable_hybrid(KEY.public)
    assert usable_capsule(capsule)
    assert KEY.open(capsule, context) == key


@given(st.integers(0, CAPSULE_BYTES - 1), st.integers(1, 255))
def test_one_changed_byte_of_a_capsule_changes_the_key_or_is_refused(place: int, change: int) -> None:
    capsule, key = agree(KEY.public, CONTEXT, system_random)
    changed = bytearray(capsule)
    changed[place] ^= change
    try:
        assert KEY.open(bytes(changed), CONTEXT) != key
    except ExchangeError:
        assert place < 32


@given(st.integers(0, PUBLIC_BYTES - 1), st.integers(1, 255))
def test_one_changed_byte_of_a_public_key_changes_the_key_or_is_refused(place: int, change: int) -> None:
    changed = bytearray(KEY.public)
    changed[place] ^= change
    if not usable_hybrid(bytes(changed)):
        with pytest.raises(ExchangeError):
            agree(bytes(changed), CONTEXT, system_random)
        return
    capsule, key = agree(bytes(changed), CONTEXT, system_random)
    assert KEY.open(capsule, CONTEXT) != key


@pytest.mark.parametrize("place", range(len(CONTEXT)))
def test_every_part_of_the_context_changes_the_key(place: int) -> None:
    capsule, key = agree(KEY.public, CONTEXT, system_random)
    other: list[str | int | bytes] = list(CONTEXT)
    other[place] = "other"
    assert KEY.open(capsule, tuple(other)) != key
    assert KEY.open(capsule, (*CONTEXT, "more")) != key


@pytest.mark.parametrize("missing", [0, 1])
def test_either_secret_alone_does_not_give_the_key(missing: int) -> None:
    # Two pairs with one half in common open one capsule to two keys.
    halves = [system_random(32), system_random(64)]
    others = [system_random(32), system_random(64)]
    own = iter(halves)
    key = HybridKey(lambda n: next(own))
    mixed = iter(others[at] if at == missing else half for at, half in enumerate(halves))
    thief = HybridKey(lambda n: next(mixed))
    thief.public = key.public
    capsule, agreed = agree(key.public, CONTEXT, system_random)
    assert key.open(capsule, CONTEXT) == agreed
    assert thief.open(capsule, CONTEXT) != agreed


def test_what_is_no_key_and_no_capsule_is_refused() -> None:
    weak = [b"", bytes(32), KEY.public[:-1], KEY.public + b"\0", bytes(32) + KEY.public[32:], KEY.public[:32] * 38]
    # FIPS 203, section 7.2: coefficients of an encapsulation key are below 3329.
    weak.append(KEY.public[:32] + b"\xff" * 1184)
    for public in weak:
        assert not usable_hybrid(public)
        with pytest.raises(ExchangeError, match="no usable pair"):
            agree(public, CONTEXT, system_random)
    capsule, _ = agree(KEY.public, CONTEXT, system_random)
    for bad in (b"", capsule[:-1], capsule + b"\0", bytes(32) + capsule[32:]):
        assert not usable_capsule(bad)
        with pytest.raises(ExchangeError, match="make it with agree"):
            KEY.open(bad, CONTEXT)


def test_no_two_capsules_are_equal_whatever_random_bytes_were_drawn() -> None:
    one, two = (agree(KEY.public, CONTEXT, KeyedStream(bytes(32))) for _ in range(2))
    assert one[0] != two[0]
    assert one[1] != two[1]


def test_private_keys_stay_put() -> None:
    assert "secrets not shown" in repr(KEY)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretExposed):
            leak(KEY)
