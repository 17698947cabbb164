"""Proofs of norms: the published vectors, and laws that fail on verifiers or provers that were made wrong for them."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from crypto.errors import MessageError, PlanRefused, SubmissionRefused
from crypto.keys.randomness import KeyedStream, derive_key
from crypto.norms import circuits, pine
from crypto.norms.circuits import Ints, Short
from crypto.norms.expanding import encoded
from crypto.norms.field import Elements, P, to_field, to_signed
from crypto.norms.gadgets import Gadget
from crypto.norms.pine import Parts, Said, Seeds, Share

VECTORS = json.loads((Path(__file__).parent / "pine64.json").read_text())
NONCE, KEY = b"n" * 16, b"k" * 32


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_the_published_vectors(case: dict[str, Any]) -> None:
    """draft-chen-cfrg-vdaf-pine-01, poc/test_vec/01, the second measurement of each file; long strings by digest."""
    short = Short(**{key: case[key] for key in ("length", "bound", "squares", "products", "checks")})
    vector = np.zeros(short.length, dtype=np.int64)
    vector[case["one_at"]] = short.bound
    seeds = [bytes.fromhex(case["rand"])[start : start + 32] for start in range(0, 7 * 32, 32)]
    own = Seeds(seeds[0], seeds[1], (seeds[2], seeds[3]))
    nonce, key, proofs = bytes.fromhex(case["nonce"]), bytes.fromhex(case["verify_key"]), case["proofs"]
    parts, first = pine.prove(short, vector, nonce, (own, (seeds[4], seeds[5]), seeds[6]), proofs)
    assert b"".join((*parts.directions, *parts.rest)).hex() == case["public_share"]
    assert sha256(encoded(first.vector) + encoded(first.proofs) + b"".join(first.blinds)) == case["leader_sha256"]
    assert b"".join((own.vector, own.proofs, *own.blinds)).hex() == case["helper_share"]
    shares = (first, pine.expand(short, own, proofs))
    found = [pine.check(short, key, place, nonce, parts, share, proofs) for place, share in enumerate(shares)]
    said = [each for each, _ in found]
    assert [sha256(encoded(s.verifier) + s.directions + s.rest) for s in said] == case["prep_sha256"]
    for _, used in found:
        assert (used.directions + used.rest).hex() == case["prep_message"]
        assert pine.accepted(short, said, used, proofs)


def random(seed: int) -> KeyedStream:
    return KeyedStream(derive_key(seed.to_bytes(32, "big"), "test"))


def proven(short: Short, vector: Ints, seed: int = 0) -> tuple[Parts, Share, Share]:
    drawn = pine.draw(random(seed))
    parts, first = pine.prove(short, vector, NONCE, drawn)
    return parts, first, pine.expand(short, drawn[0])


def verdicts(
    short: Short, parts: Parts, first: Share, second: Share, nonces: tuple[bytes, bytes] = (NONCE, NONCE),
    keys: tuple[bytes, bytes] = (KEY, KEY), tell: Callable[[list[Said]], list[Said]] = lambda said: said,
) -> tuple[bool, bool]:  # fmt: skip
    """What each verifier decides."""
    given = zip(keys, nonces, (first, second), strict=True)
    found = [pine.check(short, key, place, nonce, parts, share) for place, (key, nonce, share) in enumerate(given)]
    said = tell([each for each, _ in found])
    one, other = (pine.accepted(short, said, used) for _, used in found)
    return one, other


SMALL = Short(length=23, bound=1000)


@given(st.integers(0, 10**6), st.sampled_from(["random", "one", "flat", "zero"]))
@settings(max_examples=25, deadline=None)
def test_honest_vectors_up_to_the_bound_itself_are_accepted(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    made = {
        "random": (rng.standard_normal(23) * 999 / 7).astype(np.int64),
        "one": np.eye(1, 23, seed % 23, dtype=np.int64)[0] * 1000 * (-1) ** seed,
        "flat": np.full(23, math.isqrt(1000**2 // 23)),
        "zero": np.zeros(23, dtype=np.int64),
    }[kind]
    vector = made if np.linalg.norm(made) <= 1000 else made // 2
    assert verdicts(SMALL, *proven(SMALL, vector, seed)) == (True, True)


@pytest.mark.parametrize("length", [1, 2, 3, 100, 1025])
def test_every_length_is_proven_and_shares_add_up(length: int) -> None:
    short, rng = Short(length=length, bound=50_000), np.random.default_rng(length)
    vector = rng.integers(-1000, 1000, length)
    parts, first, second = proven(short, vector)
    assert verdicts(short, parts, first, second) == (True, True)
    total = (first.vector.astype(object) + second.vector) % P
    assert np.array_equal(to_signed(total[:length].astype(np.uint64)), vector)


def test_a_prover_that_follows_the_protocol_refuses_what_is_too_long() -> None:
    vector = np.full(23, 209)
    with pytest.raises(SubmissionRefused, match="exceeds the norm 1000"):
        proven(SMALL, vector)


class Liar(Short):
    """Proves any vector: its squared norm modulo p where that is small, else the lowest bits of it."""

    def encode(self, vector: Ints) -> Elements:
        square = int((vector.astype(object) ** 2).sum()) % P
        rest = self.bound**2 - square
        bits = [circuits._bits(number, self.norm_bits) for number in (square, rest)]
        return np.concatenate([to_field(vector), *bits])


class BitLiar(Liar):
    """The same, with the lowest "bit" of each number such that all sums are right."""

    def encode(self, vector: Ints) -> Elements:
        whole = super().encode(vector)
        square = int((vector.astype(object) ** 2).sum()) % P
        for start, number in ((self.length, square), (self.length + self.norm_bits, self.bound**2 - square)):
            told = sum(int(bit) << place for place, bit in enumerate(whole[start : start + self.norm_bits]))
            whole[start] = (int(whole[start]) + number - told) % P
        return whole


def root_of(square: int) -> int | None:
    """A square root modulo p (Tonelli and Shanks), or None."""
    if pow(square, (P - 1) // 2, P) != 1:
        return None
    c, r, t, m = pow(7, 2**32 - 1, P), pow(square, 2**31, P), pow(square, 2**32 - 1, P), 32
    while t != 1:
        i, x = 0, t
        while x != 1:
            x, i = x * x % P, i + 1
        b = pow(c, 1 << (m - i - 1), P)
        r, c, t, m = r * b % P, b * b % P, t * b * b % P, i
    assert r * r % P == square
    return r


def wrapped(length: int) -> Ints:
    """A huge vector whose squared norm is 1 modulo p."""
    for start in count(1 << 61):
        other = root_of((1 - start * start) % P)
        if other is not None:
            vector = np.zeros(length, dtype=np.uint64)
            vector[:2] = start, other
            return to_signed(vector)
    raise AssertionError


TOO_LONG = (np.full(23, 209), np.full(23, 10**6), np.eye(1, 23, dtype=np.int64)[0] * 1001)


@pytest.mark.parametrize("liar", [Liar, BitLiar])
@pytest.mark.parametrize("vector", [*TOO_LONG, wrapped(23)], ids=["just", "far", "one", "wrapped"])
def test_vectors_beyond_the_bound_are_refused(liar: type[Liar], vector: Ints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pine, "exact_norm_square", lambda vector: 0)
    for seed in range(3):
        parts = proven(liar(length=23, bound=1000), vector, seed)
        assert verdicts(SMALL, *parts) == (False, False)


def test_the_squared_norm_alone_is_fooled_by_wrapping() -> None:
    """Why projections are there; and of few, some pass, each at most half the time."""
    vector = wrapped(23)
    assert int((vector.astype(object) ** 2).sum()) % P == 1
    assert int((vector.astype(object) ** 2).sum()) > 2**100


@pytest.mark.parametrize("checks", [1, 3])
def test_each_projection_lets_a_wrapped_vector_pass_at_most_half_the_time(
    checks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pine, "exact_norm_square", lambda vector: 0)
    vector, trials = wrapped(5), 120
    wrong = Liar(length=5, bound=1000, checks=checks)
    passed = sum(verdicts(wrong, *proven(wrong, vector, seed))[0] for seed in range(trials))
    rate = 2.0**-checks
    # The two entries are of no relation, so a projection passes only where both are left out: 1/4.
    assert passed <= trials * rate + 6 * math.sqrt(trials * rate)
    assert passed > 0 or checks == 3


def test_one_changed_byte_of_anything_is_refused() -> None:
    rng = np.random.default_rng(5)
    parts, first, second = proven(SMALL, rng.integers(-90, 90, 23))
    assert verdicts(SMALL, parts, first, second) == (True, True)

    def bent(data: bytes) -> bytes:
        place = int(rng.integers(len(data)))
        return data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1 :]

    def bent_elements(elements: Elements, place: int) -> Elements:
        copy = elements.copy()
        copy[place] = (int(copy[place]) + int(rng.integers(1, P, dtype=np.uint64))) % P
        return copy

    for share, place in ((first, 0), (second, 1)):
        wrong = [
            replace(share, vector=bent_elements(share.vector, k)) for k in rng.integers(0, SMALL.shared_length, 12)
        ]
        wrong += [replace(share, proofs=bent_elements(share.proofs, k)) for k in rng.integers(0, len(share.proofs), 12)]
        wrong += [replace(share, blinds=(bent(share.blinds[0]), share.blinds[1]))]
        wrong += [replace(share, blinds=(share.blinds[0], bent(share.blinds[1])))]
        for each in wrong:
            pair = (each, second) if place == 0 else (first, each)
            assert verdicts(SMALL, parts, *pair) == (False, False)
    for k in range(4):
        digests = [*parts.directions, *parts.rest]
        digests[k] = bent(digests[k])
        changed = Parts((digests[0], digests[1]), (digests[2], digests[3]))
        assert verdicts(SMALL, changed, first, second) != (True, True)


def test_a_proof_for_another_nonce_or_under_two_keys_is_refused() -> None:
    parts, first, second = proven(SMALL, np.arange(23))
    other = b"m" * 16
    for nonces in ((other, other), (NONCE, other), (other, NONCE)):
        assert verdicts(SMALL, parts, first, second, nonces=nonces) == (False, False)
    assert verdicts(SMALL, parts, first, second, keys=(KEY, b"l" * 32)) == (False, False)
    assert verdicts(SMALL, parts, first, second, keys=(b"l" * 32, b"l" * 32)) == (True, True)


def test_shares_of_another_statement_are_refused() -> None:
    parts, first, second = proven(SMALL, np.arange(23))
    with pytest.raises(MessageError, match="another length"):
        pine.check(Short(length=24, bound=1000), KEY, 0, NONCE, parts, first)
    assert verdicts(Short(length=23, bound=1001), parts, first, second) == (False, False)


def test_messages_that_are_short_or_doubled_are_refused() -> None:
    parts, first, second = proven(SMALL, np.arange(23))
    assert verdicts(SMALL, parts, first, second, tell=lambda said: said[:1]) == (False, False)
    assert verdicts(SMALL, parts, first, second, tell=lambda said: [said[0], said[0]]) == (False, False)
    shorter = lambda said: [replace(said[0], verifier=said[0].verifier[:-1]), said[1]]  # noqa: E731
    assert verdicts(SMALL, parts, first, second, tell=shorter) == (False, False)


# ---- What a verifier's message says


TINY = Short(length=4, bound=40, checks=2)


def values_at_the_secret_point(vector: Ints, trials: int) -> np.ndarray:
    """Of the wires of the squared norm, both messages together: what either verifier can learn of the vector."""
    found = []
    for seed in range(trials):
        parts, first, second = proven(TINY, vector, seed)
        said = [pine.check(TINY, KEY, place, NONCE, parts, share)[0] for place, share in enumerate((first, second))]
        both = (said[0].verifier.astype(object) + said[1].verifier) % P
        found.append(both[1 : 1 + TINY.norm.arity])
    return np.array(found)


def looks_uniform(values: np.ndarray) -> bool:
    counts = np.bincount((values.reshape(-1) * 16 // P).astype(int), minlength=16)
    return float(chisquare(counts).pvalue) > 1e-6


@pytest.mark.parametrize("vector", [np.zeros(4, dtype=np.int64), np.array([20, -20, 20, -20])])
def test_what_verifiers_say_together_is_uniform_whatever_the_vector(vector: Ints) -> None:
    """The rest of an accepted message follows from it: outputs are 0, and the polynomial's value is the gadget's."""
    assert looks_uniform(values_at_the_secret_point(vector, 80))


def test_without_the_seeds_of_wires_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Gadget.prove
    monkeypatch.setattr(Gadget, "prove", lambda self, seeds, inputs: honest(self, np.zeros_like(seeds), inputs))
    assert not looks_uniform(values_at_the_secret_point(np.zeros(4, dtype=np.int64), 80))


def test_one_verifiers_message_is_uniform_to_the_other() -> None:
    """What the second says is all but its outputs and digests; each is masked by its share of the proofs."""
    found = []
    for seed in range(80):
        parts, _, second = proven(TINY, np.array([20, -20, 20, -20]), seed)
        found.append(pine.check(TINY, KEY, 1, NONCE, parts, second)[0].verifier.astype(object))
    assert looks_uniform(np.array(found))


def test_no_share_or_message_shows_in_a_repr() -> None:
    parts, first, second = proven(TINY, np.array([1, 2, 3, 4]))
    said, used = pine.check(TINY, KEY, 1, NONCE, parts, second)
    for each in (first, second, pine.draw(random(1))[0], said, used):
        assert repr(each) == f"{type(each).__name__}()"


# ---- What a plan refuses


def test_norms_whose_squares_could_wrap_are_refused() -> None:
    for length in (1, 1000, 1_000_000):
        largest = max(b for b in range(1, 62) if fits(length, 2**b))
        short = Short(length=length, bound=2**largest)
        assert 4 * length * short.edge**2 < P
        with pytest.raises(PlanRefused, match="lower the scale"):
            Short(length=length, bound=2 ** (largest + 1))


def fits(length: int, bound: int) -> bool:
    try:
        Short(length=length, bound=bound)
    except PlanRefused:
        return False
    return True


def test_the_stated_chances() -> None:
    assert 2 * circuits.CHECKS * math.exp(-(circuits.ALPHA**2)) < 2.0**-100
    for length in (10, 10_000, 1 << 27):
        short = Short(length=length, bound=100)
        points = 2 * (short.norm.order - 1) / (P - short.norm.order) + 2 * (short.rest.order - 1) / (
            P - short.rest.order
        )
        assert points < 2.0**-48
        joint = (short.bits + short.checks + 3) / P
        assert joint**pine.PROOFS + 2.0**-circuits.CHECKS < 2.0**-97
