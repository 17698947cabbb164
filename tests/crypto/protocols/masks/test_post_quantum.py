"""Masks against whoever breaks X25519, or ML-KEM-768, later: known answers, and weak designs that fall."""

import hashlib
import hmac
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from crypto.errors import SecretExposed
from crypto.keys.randomness import KeyedStream, derive_key, encode_labels, system_random
from crypto.protocols.masks import epoch, evidence, listing, offers, recovery
from crypto.protocols.masks.channels import ChannelKey, begins
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.keys import AgreementKey, MaskContext
from crypto.protocols.masks.offers import PAIR, SELF
from crypto.protocols.masks.vault import agreement_key, pair_secret, unlock
from crypto.wire.values import unpack_value

from .test_attacks_on_ourselves import Spy

Cohort = Any
Make = Callable[..., Cohort]
CONTEXT = MaskContext(
    protocol="secagg", session="session", setup=bytes(range(32)), epoch=4, round=7, upload="update", model=b"model"
)
NAMES = [f"client{place:03}" for place in range(8)]


def stream(label: str) -> KeyedStream:
    return KeyedStream(derive_key(bytes(32), "post-quantum", label))


def by_hand(secret: bytes, labels: tuple[str | int | bytes, ...]) -> bytes:
    """HKDF-SHA256 (RFC 5869) with an empty salt, for 32 bytes."""
    prk = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(prk, encode_labels(labels) + b"\x01", hashlib.sha256).digest()


# Known answers


def test_known_answers_of_every_derivation() -> None:
    root, channel = bytes(range(32)), bytes(range(32, 64))
    curve = X25519PrivateKey.from_private_bytes(by_hand(root, ("masks root 1", "agreement")))
    mine, public = agreement_key(root), curve.public_key().public_bytes_raw()
    assert mine.public == public
    peer = X25519PrivateKey.from_private_bytes(bytes(range(64, 96)))
    theirs = peer.public_key().public_bytes_raw()
    secret = pair_secret(channel, "session", CONTEXT.setup, 4, (5, 2))
    assert secret == by_hand(channel, ("masks pair secret 1", "session", CONTEXT.setup, 4, 2, 5))
    place = ("secagg", "session", CONTEXT.setup, 4, 7, "update", b"model", "a", "b", *sorted((public, theirs)))
    shared = curve.exchange(peer.public_key())
    key = CONTEXT.pair_key(mine, theirs, "a", "b", secret)
    assert key == by_hand(secret + shared, ("masks 3", "pair", *place))
    assert CONTEXT.pair_key(mine, theirs, "a", "b", None) == by_hand(shared, ("masks 3", "disputed pair", *place))
    assert secret.hex() == "4170b6e4fbe20c53b20319fd51fb0f4e2a7af233c924f4256c17d6f470327f59"
    assert key.hex() == "83cf3e49b8f67c61799fce7701885d3eb7996a0daec3e0048e0576e969d4584a"


def test_known_answer_of_a_channel() -> None:
    mine, peer, seeds = ChannelKey(stream("mine")), ChannelKey(stream("peer")), stream("mine")
    curve, lattice = X25519PrivateKey.from_private_bytes(seeds(32)), MLKEM768PrivateKey.from_seed_bytes(seeds(64))
    assert mine.lattice == lattice.public_key().public_bytes_raw()
    assert mine.public == curve.public_key().public_bytes_raw() + hashlib.sha256(mine.lattice).digest()
    capsule, begun = peer.begin(mine.public, mine.lattice, ("context", 1))
    both = lattice.decapsulate(capsule) + curve.exchange(X25519PublicKey.from_public_bytes(peer.public[:32]))
    labels = ("masks channel 2", "context", 1, peer.public, mine.public, capsule)
    assert begun == mine.accept(peer.public, capsule, ("context", 1)) == by_hand(both, labels)
    # Any 1,088 bytes open to something (FIPS 203, implicit rejection), and always to the same.
    fixed = mine.accept(peer.public, bytes(range(64)) * 17, ("context", 1))
    assert fixed.hex() == "b99ab8262b50beb492a20d257abd1a3d44a5c377334905517c62558349f8d082"


def test_every_part_of_the_transcript_changes_the_key() -> None:
    one, two, secret = agreement_key(bytes(32)), agreement_key(bytes([1] * 32)), bytes([2] * 32)
    base = CONTEXT.pair_key(one, two.public, "a", "b", secret)
    assert CONTEXT.pair_key(two, one.public, "a", "b", secret) == base
    others: list[dict[str, Any]] = [{"session": "s"}, {"setup": bytes(32)}, {"epoch": 5}, {"round": 8}]
    others += [{"upload": "u"}, {"model": b""}, {"protocol": "secagg+"}]
    keys = [replace(CONTEXT, **other).pair_key(one, two.public, "a", "b", secret) for other in others]
    keys += [CONTEXT.pair_key(one, two.public, "a", "b", other) for other in (bytes(32), None)]
    keys += [CONTEXT.pair_key(agreement_key(secret), two.public, "a", "b", secret)]
    keys += [CONTEXT.pair_key(one, two.public, "b", "a", secret)]
    assert len({base, *keys}) == len(keys) + 1
    mine, peer, third = (ChannelKey(system_random) for _ in range(3))
    capsule, begun = peer.begin(mine.public, mine.lattice, ("context",))
    assert mine.accept(peer.public, capsule, ("context",)) == begun
    altered = bytes([capsule[0] ^ 1]) + capsule[1:]
    wrong = [mine.accept(peer.public, altered, ("context",)), mine.accept(third.public, capsule, ("context",))]
    wrong += [mine.accept(peer.public, capsule, ("other",)), third.accept(peer.public, capsule, ("context",))]
    assert len({begun, *wrong}) == 5
    secrets = [
        pair_secret(begun, *rest) for rest in (("s", b"", 0, (0, 1)), ("t", b"", 0, (0, 1)), ("s", b"x", 0, (0, 1)))
    ]
    secrets += [pair_secret(begun, "s", b"", 1, (0, 1)), pair_secret(begun, "s", b"", 0, (0, 2))]
    assert len(set(secrets)) == 5


def test_channel_keys_are_refused_and_forgotten() -> None:
    mine, peer = ChannelKey(system_random), ChannelKey(system_random)
    for lattice in (peer.lattice, mine.lattice[:-1], b"\xff" * 1184, b""):
        with pytest.raises(RecordError, match="not the one that was opened"):
            peer.begin(mine.public, lattice, ())
    unusable = b"\xff" * 1184
    with pytest.raises(RecordError, match="not usable"):
        peer.begin(mine.public[:32] + hashlib.sha256(unusable).digest(), unusable, ())
    capsule, _ = peer.begin(mine.public, mine.lattice, ())
    with pytest.raises(RecordError, match="1087 bytes"):
        mine.accept(peer.public, capsule[:-1], ())
    mine.erase()
    with pytest.raises(RecordError):
        mine.accept(peer.public, capsule, ())
    assert mine.public.hex() not in repr(mine)
    with pytest.raises(SecretExposed):
        pickle.dumps(mine)


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 200])
def test_one_entry_of_a_list_is_shown_by_itself(n: int) -> None:
    leaves = stream("leaves")(32 * n)
    heads = listing.heads(leaves)
    for place in {0, n // 2, n - 1}:
        part = listing.part(leaves, place)
        assert listing.entry(heads, part, place) == leaves[32 * place : 32 * place + 32]
        assert listing.entry(heads, part, place + 64) is None
        assert listing.entry(heads, part[:-1] + bytes([part[-1] ^ 1]), place) is None
        assert listing.entry(heads, part + bytes(32), place) is None
        assert listing.entry(heads[:-1] + bytes([heads[-1] ^ 1]), listing.part(leaves, n - 1), n - 1) is None
    assert listing.entry(heads, listing.part(leaves, n - 1), n) is None


# Whoever breaks one of the two later


class Breaker:
    """Knows the private key behind every X25519 key of the cohorts made after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.private: dict[bytes, bytes] = {}
        real = AgreementKey.__init__

        def init(key: AgreementKey, private: bytes) -> None:
            real(key, private)
            self.private[key.public] = private

        monkeypatch.setattr(AgreementKey, "__init__", init)

    def vector(self, cohort: Cohort, victim: int, secrets: dict[int, bytes] | None = None) -> Any:
        """What is left of a survivor's vector: its own mask is opened by the server, pairs' by their X25519 keys."""
        spy = Spy(cohort)
        seed, setup, names = spy.secret(0, victim, SELF), spy.setup, cohort.plan.clients
        assert seed is not None
        found = spy.vector(0, victim, (), seed, None)
        message, model, _ = spy.masked[0, victim]
        context = MaskContext(
            protocol=cohort.plan.protocol, session=cohort.plan.session, setup=setup.digest, epoch=0,
            round=message.round, upload=message.upload, model=model,
        )  # fmt: skip
        mine, bits = AgreementKey(self.private[spy.offers[0, victim].public]), cohort.plan.ring_bits("update")
        ring = found.astype(np.uint64).astype(np.uint32)
        add, subtract = [], []
        for peer in setup.neighbours[victim]:
            first, second = sorted((victim, peer))
            secret = None if secrets is None else secrets[peer]
            key = context.pair_key(mine, spy.offers[0, peer].public, names[first], names[second], secret)
            (subtract if victim < peer else add).append(key)
        epoch.apply_masks(ring, add, subtract)
        return recovery.signed_total(ring, bits)


def test_who_breaks_x25519_later_reads_masks_only_if_the_second_secret_is_left_out(
    make_masks: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = Breaker(monkeypatch)
    ours = make_masks(bare=True)
    vectors = ours.vectors("breaker")
    ours.expect(ours.run(0, vectors), vectors, vectors)
    assert np.count_nonzero(breaker.vector(ours, 3) == vectors["client003"]) < 5
    # With the secrets of the victim's channels it is open: nothing else is missing.
    inner = ours.parties["client003"]
    setup = next(iter(inner.public.setups.values()))
    secrets = {
        peer: pair_secret(key, ours.plan.session, setup.digest, 0, (3, peer))
        for peer, key in inner._enrolment.channels.items()
    }
    assert np.array_equal(breaker.vector(ours, 3, secrets), vectors["client003"])
    real = MaskContext.pair_key
    monkeypatch.setattr(
        MaskContext, "pair_key", lambda context, mine, peer, a, b, secret: real(context, mine, peer, a, b, None)
    )
    weak = make_masks(bare=True)
    weak.expect(weak.run(0, vectors), vectors, vectors)
    assert np.array_equal(breaker.vector(weak, 3), vectors["client003"])


def opened_box(cohort: Cohort, breaker: Breaker, dealer: int, holder: int, lattice: Any) -> bool:
    """Whether a box of the first offer opens with the X25519 keys of both ends, if broken, and the ML-KEM key of the
    one that got the capsule, if broken.
    """
    setup = next(iter(cohort.parties[NAMES[0]].public.setups.values()))
    sender, receiver = (dealer, holder) if begins(dealer, holder) else (holder, dealer)
    payload = next(m.payload for m in cohort.sent if m.kind == "capsules" and m.receiver == NAMES[receiver])
    found = {entry[0]: entry[3] for entry in map(unpack_value, unpack_value(payload))}  # type: ignore[index, arg-type]
    capsule = found[sender]
    curve = setup.sealings[receiver][:32]
    shared = bytes(32)
    if breaker.private:
        private = X25519PrivateKey.from_private_bytes(breaker.private[curve])
        shared = private.exchange(X25519PublicKey.from_public_bytes(setup.sealings[sender][:32]))
    secret = bytes(32) if lattice is None else lattice.decapsulate(capsule)
    ends = (cohort.plan.session, setup.digest, sender, receiver, setup.sealings[sender], setup.sealings[receiver])
    blob = next(m.payload for m in cohort.sent if m.kind == "offer" and m.sender == NAMES[dealer])
    offer = offers.read_offer(cohort.plan, setup, setup.trust, dealer, blob)
    for tried in (secret + shared, shared, secret):
        channel = by_hand(tried, ("masks channel 2", *ends, capsule))
        context = ("masks share box 1", cohort.plan.session, setup.digest, 0, dealer, holder)
        try:
            offers.open_box(channel, offer.boxes[offer.places[holder]], context)
        except RecordError:
            continue
        return True
    return False


@pytest.mark.parametrize("ends", [(1, 3), (3, 1), (2, 5)])
def test_a_box_of_shares_needs_both_broken(
    ends: tuple[int, int], make_masks: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker, blind = Breaker(monkeypatch), Breaker(monkeypatch)
    cohort = make_masks(bare=True, ready=False)
    receiver = ends[1] if begins(*ends) else ends[0]
    lattice = cohort.parties[NAMES[receiver]]._enrolment.sealing._lattice
    cohort.set_up()
    blind.private = {}
    assert not opened_box(cohort, breaker, *ends, None)
    assert not opened_box(cohort, blind, *ends, lattice)
    assert opened_box(cohort, breaker, *ends, lattice)
    # The weak design: what ML-KEM gives is not used.
    real = ChannelKey._derived
    monkeypatch.setattr(ChannelKey, "_derived", lambda key, secret, peer, labels: real(key, b"", peer, labels))
    weak = make_masks(bare=True)
    assert opened_box(weak, breaker, *ends, None)


def test_who_breaks_x25519_does_not_open_a_vault_unless_the_root_is_the_key(
    make_masks: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(cohort: Cohort) -> bool:
        spy = Spy(cohort)
        offer = spy.offers[0, 3]
        private = breaker.private[offer.public]
        try:
            unlock(cohort.plan.session, 0, 3, private, spy.setup.holders(3), offer.dealt.vault)
        except RecordError:
            return False
        return True

    breaker = Breaker(monkeypatch)
    assert not opened(make_masks(bare=True))
    for module in (offers, recovery, evidence):
        monkeypatch.setattr(module, "agreement_key", AgreementKey)
    assert opened(make_masks(bare=True))


def test_a_root_opens_the_secrets_of_its_own_sum_only(make_masks: Make) -> None:
    cohort = make_masks(bare=True)
    cohort.lose = lambda message: message.kind == "masked" and message.sender == "client003"
    for number in range(3):
        vectors = cohort.vectors(f"sum {number}")
        cohort.expect(cohort.run(number, vectors), vectors, set(vectors) - {"client003"})
    spy = Spy(cohort)
    roots = [spy.secret(number, 3, PAIR) for number in range(3)]
    opened = [[dict(spy.secrets(number, 3, root or b"")) for root in roots] for number in range(3)]
    assert [[bool(each) for each in row] for row in opened] == np.eye(3, dtype=bool).tolist()
    assert len({opened[number][number][5] for number in range(3)}) == 3
    assert set(opened[0][0]) == set(range(8))
    assert opened[0][0][3] == bytes(32)
