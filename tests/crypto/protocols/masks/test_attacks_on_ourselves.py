"""Attacks that succeed against a weak design, kept here, and fail against this one."""

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from crypto import Abort, Aggregate, Begin
from crypto.errors import CryptoError
from crypto.keys.randomness import KeyedStream, derive_key
from crypto.protocols.masks import rules
from crypto.protocols.masks.adding import unpack_bits
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.keys import AgreementKey, MaskContext, hkdf
from crypto.protocols.masks.offers import PAIR, SELF, read_offer
from crypto.protocols.masks.recovery import signed_total
from crypto.protocols.masks.requests import Shares, UnmaskRequest, read_masked, write_survivors
from crypto.protocols.masks.shamir import lagrange_weights, recover
from crypto.protocols.masks.stream import apply_masks
from crypto.protocols.masks.vault import agreement_key, unlock
from crypto.wire.messages import Message

Vector = npt.NDArray[np.int64]


class Spy:
    """Everything an honest-but-curious server can compute from the messages of a cohort."""

    def __init__(self, cohort: Any) -> None:
        self.plan = cohort.plan
        self.setup = next(iter(cohort.parties[self.plan.clients[0]].public.setups.values()))
        self.offers: dict[tuple[int, int], Any] = {}
        self.shares: dict[tuple[int, int, int], dict[int, bytes]] = {}
        self.masked: dict[tuple[int, int], tuple[Message, bytes, bytes]] = {}
        for message in cohort.sent:
            self.read(message)

    def read(self, message: Message) -> None:
        clients = self.plan.clients
        if message.kind in ("offer", "spent"):
            self.keep(clients.index(message.sender), message.payload)
        elif message.kind == "masked":
            epoch, model, packed = read_masked(message.payload)
            self.masked[epoch, clients.index(message.sender)] = (message, model, packed)
        elif message.kind == "shares":
            answer, holder = Shares.from_bytes(message.payload), clients.index(message.sender)
            for dealer, kind, share in answer.triples:
                self.shares.setdefault((answer.epoch, dealer, kind), {})[holder] = share
            self.keep(holder, answer.offer)

    def keep(self, dealer: int, blob: bytes) -> None:
        if blob:
            offer = read_offer(self.plan, self.setup, self.setup.trust, dealer, blob)
            self.offers[offer.epoch, dealer] = offer

    def secret(self, epoch: int, dealer: int, kind: int) -> bytes | None:
        held = self.shares.get((epoch, dealer, kind), {})
        holders = sorted(held)[: self.plan.masks.threshold]
        if len(holders) < self.plan.masks.threshold:
            return None
        return recover(lagrange_weights([holder + 1 for holder in holders]), [held[holder] for holder in holders])

    def secrets(self, epoch: int, dealer: int, root: bytes) -> Mapping[int, bytes]:
        """What a root opens of a vault; nothing if it is another epoch's."""
        vault, holders = self.offers[epoch, dealer].dealt.vault, self.setup.holders(dealer)
        try:
            return unlock(self.plan.session, epoch, dealer, root, holders, vault)
        except RecordError:
            return {}

    def vector(self, epoch: int, victim: int, cohort: Iterable[int], seed: bytes | None, pair: bytes | None) -> Vector:
        """What is left of the victim's message after all masks that these secrets give are taken off."""
        message, model, packed = self.masked[epoch, victim]
        names, upload = self.plan.clients, self.plan.find(message.upload)
        context = MaskContext(
            protocol=self.plan.protocol,
            session=self.plan.session,
            setup=self.setup.digest,
            epoch=epoch,
            round=message.round,
            upload=message.upload,
            model=model,
        )
        bits = self.plan.ring_bits(upload.name)
        ring = unpack_bits(packed, upload.length, bits)
        add, subtract = [], []
        secrets = {} if pair is None else self.secrets(epoch, victim, pair)
        if seed is not None:
            subtract.append(context.self_key(seed, names[victim]))
        for peer in self.setup.neighbours[victim] if pair is not None else ():
            if peer in cohort and pair is not None:
                first, second = sorted((victim, peer))
                public = self.offers[epoch, peer].public
                key = context.pair_key(agreement_key(pair), public, names[first], names[second], secrets.get(peer))
                (subtract if victim < peer else add).append(key)
        apply_masks(ring, add, subtract)
        return signed_total(ring, bits)


def hold_back(cohort: Any, kind: str) -> None:
    """Clients never get the server's messages of this kind: the test plays the server from here."""
    cohort.lose = lambda message: message.kind == kind


def until(cohort: Any, kind: str, number: int = 0) -> dict[str, Vector]:
    """Run a sum up to the server's messages of `kind`."""
    vectors: dict[str, Vector] = cohort.vectors(f"attack {number}")
    hold_back(cohort, kind)
    cohort.give("server", Begin(number, "update"))
    for name, vector in vectors.items():
        cohort.submit(number, "update", name, vector)
    return vectors


def ask(cohort: Any, name: str, request: UnmaskRequest, number: int = 0) -> list[Message]:
    message = Message(
        sender="server",
        receiver=name,
        kind="unmask",
        session=cohort.plan.session,
        round=number,
        upload="update",
        payload=request.to_bytes(),
    )
    return [item for item in cohort.parties[name].on(message) if isinstance(item, Message)]


# Seed search over folded keys


def folded_mask(shared: bytes, length: int, bits: int = 28) -> npt.NDArray[np.uint32]:
    """The weak design: the base64 text of a key, folded to one word of seven-bit bytes, seeds a Mersenne Twister
    (as in Flower up to 1.42, flwrlabs/flower issue 7522); `bits` cuts the fold further.
    """
    text = np.frombuffer(base64.urlsafe_b64encode(shared), dtype="<u4")
    seed = int(np.bitwise_xor.reduce(text)) & ((1 << bits) - 1)
    return np.random.RandomState(seed).randint(0, 1 << 32, length, dtype=np.uint32)


def our_mask(shared: bytes, length: int) -> npt.NDArray[np.uint32]:
    mask = np.zeros(length, dtype=np.uint32)
    apply_masks(mask, [hkdf(shared, ("pair",))], [])
    return mask


def search(masked: npt.NDArray[np.uint32], bits: int) -> bool:
    """Whether some folded seed leaves a vector of small numbers."""
    for seed in range(1 << bits):
        mask = np.random.RandomState(seed).randint(0, 1 << 32, masked.size, dtype=np.uint32)
        if ((masked - mask) < 1000).all():
            return True
    return False


def test_seed_search_finds_a_folded_key_and_not_ours() -> None:
    shared, secret = KeyedStream(bytes(32))(32), np.arange(8, dtype=np.uint32)
    assert search(secret + folded_mask(shared, 8, bits=10), bits=10)
    assert not search(secret + our_mask(shared, 8), bits=10)


def test_keys_with_one_fold_have_one_weak_mask_but_two_of_ours() -> None:
    shared = bytearray(KeyedStream(bytes(32))(33))
    twin = shared.copy()
    # Twelve bytes are sixteen letters, four words: swapping two such blocks keeps the fold.
    twin[0:12], twin[12:24] = shared[12:24], shared[0:12]
    one, two = bytes(shared), bytes(twin)
    assert np.array_equal(folded_mask(one, 50), folded_mask(two, 50))
    assert not np.any(our_mask(one, 50) == our_mask(two, 50))


# Double unmask


def open_both(cohort: Any, victim: int, split: int) -> Vector | None:
    """Tell the first `split` holders that the victim survived and the others that it dropped; its vector if that
    opens it.
    """
    until(cohort, "unmask")
    everyone = range(len(cohort.plan.clients))
    others = tuple(place for place in everyone if place != victim)
    spy = Spy(cohort)
    for place, name in enumerate(cohort.plan.clients):
        alive = place < split or place == victim
        survivors = tuple(everyone) if alive else others
        for message in ask(cohort, name, UnmaskRequest(0, survivors, () if alive else (victim,), {})):
            spy.read(message)
    seed, pair = (spy.secret(0, victim, kind) for kind in (SELF, PAIR))
    return None if seed is None or pair is None else spy.vector(0, victim, everyone, seed, pair)


def test_double_unmask_needs_a_low_threshold(make_masks: Callable[..., Any]) -> None:
    weak = make_masks(bare=True, n=10, threshold=5)
    opened = open_both(weak, 7, 4)
    assert opened is not None
    assert np.array_equal(opened, weak.vectors("attack 0")["client007"])
    for split in range(10):
        assert open_both(make_masks(bare=True, n=10), 7, split) is None


def test_a_survivor_set_that_overlaps_the_dropped_is_refused(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(bare=True)
    until(cohort, "unmask")
    everyone = tuple(range(8))
    assert not ask(cohort, "client000", UnmaskRequest(0, everyone, (3,), {}))
    assert not ask(cohort, "client000", UnmaskRequest(0, everyone[:-1], (), {}))
    assert not ask(cohort, "client000", UnmaskRequest(0, everyone[1:], (0,), {}))
    assert ask(cohort, "client000", UnmaskRequest(0, everyone[:-1], (7,), {}))
    assert not ask(cohort, "client000", UnmaskRequest(0, everyone, (), {}))


# A sum of one


def sum_of_one(cohort: Any) -> bool:
    vectors = until(cohort, "unmask")
    spy, everyone, victim = Spy(cohort), range(8), 2
    others = tuple(place for place in everyone if place != victim)
    for name in cohort.plan.clients:
        for message in ask(cohort, name, UnmaskRequest(0, (victim,), others, {})):
            spy.read(message)
    seed, pairs = spy.secret(0, victim, SELF), {place: spy.secret(0, place, PAIR) for place in others}
    if seed is None or None in pairs.values():
        return False
    left = spy.vector(0, victim, everyone, seed, None)
    message, model, _ = spy.masked[0, victim]
    context = MaskContext(
        protocol="secagg",
        session=cohort.plan.session,
        setup=spy.setup.digest,
        epoch=0,
        round=message.round,
        upload=message.upload,
        model=model,
    )
    ring = left.view(np.uint64).astype(np.uint32)
    public, names = spy.offers[0, victim].public, cohort.plan.clients
    for place, secret in pairs.items():
        first, second = sorted((victim, place))
        root = secret or b""
        shared = spy.secrets(0, place, root)[victim]
        key = context.pair_key(agreement_key(root), public, names[first], names[second], shared)
        apply_masks(ring, *(([], [key]) if victim < place else ([key], [])))
    return np.array_equal(signed_total(ring, cohort.plan.ring_bits("update")), vectors["client002"])


def test_a_sum_of_one_opens_without_the_size_rule_only(
    make_masks: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not sum_of_one(make_masks(bare=True))
    monkeypatch.setattr(rules, "check_survivors", lambda *_: None)
    assert sum_of_one(make_masks(bare=True))


# Differencing


def difference(cohort: Any, model: bytes) -> Vector | None:
    """Two sums of the same vectors, the second without one client: their difference is its vector."""
    vectors, victim = cohort.vectors("same"), "client004"
    first = cohort.run(0, vectors, model=model)
    cohort.lose = lambda message: message.sender == victim and message.kind == "masked"
    second = cohort.run(1, vectors, model=model)
    if isinstance(first, Abort) or isinstance(second, Abort):
        return None
    total: Vector = first.total - second.total
    return total


@pytest.mark.parametrize("mode", ["semi-honest", "active"])
def test_differencing_needs_sums_that_name_no_model(mode: str, make_masks: Callable[..., Any]) -> None:
    weak = make_masks(mode=mode)
    found = difference(weak, b"")
    assert found is not None
    assert np.array_equal(found, weak.vectors("same")["client004"])
    assert difference(make_masks(mode=mode), b"digest of the model") is None


def test_vectors_of_two_models_are_not_added(make_masks: Callable[..., Any]) -> None:
    """A server that gives one client another model gets nothing of it (Pasquini et al., CCS 2022)."""
    cohort = make_masks()
    vectors = cohort.vectors("models")
    cohort.give("server", Begin(0, "update"))
    outcomes = []
    for name, vector in vectors.items():
        outcomes += cohort.submit(0, "update", name, vector, model=b"odd" if name == "client006" else b"even")
    cohort.expect(outcomes[0], vectors, set(vectors) - {"client006"})


# Replay across rounds


def test_a_replayed_key_list_or_request_is_refused(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(bare=True)
    assert isinstance(cohort.run(0, cohort.vectors("one")), Aggregate)
    old = [message for message in cohort.sent if message.kind in ("keys", "unmask", "openings", "directory")]
    fresh = {name: cohort.parties[name].ready for name in cohort.plan.clients}
    assert all(fresh.values())
    for message in old:
        for name in cohort.plan.clients if message.receiver == "clients" else (message.receiver,):
            assert not cohort.parties[name].on(message)
    vectors = cohort.vectors("two")
    cohort.expect(cohort.run(1, vectors), vectors, vectors)


def test_equal_keys_in_two_rounds_give_away_a_difference_and_fresh_ones_do_not(make_masks: Callable[..., Any]) -> None:
    stream = derive_key(bytes(32), "one key for all rounds")
    weak = np.arange(5, dtype=np.uint32), np.arange(5, dtype=np.uint32) * 3
    masked = [vector.copy() for vector in weak]
    for vector in masked:
        apply_masks(vector, [stream], [])
    assert np.array_equal(masked[1] - masked[0], weak[1] - weak[0])
    cohort = make_masks(bare=True)
    vectors = [cohort.vectors(f"round {number}") for number in range(2)]
    for number in range(2):
        cohort.run(number, vectors[number])
    spy = Spy(cohort)
    for place, name in enumerate(cohort.plan.clients):
        rows = [spy.vector(epoch, place, (), None, None) for epoch in range(2)]
        true = vectors[1][name] - vectors[0][name]
        assert np.count_nonzero((rows[1] - rows[0] - true) % (1 << cohort.plan.ring_bits("update")) == 0) < 5


# Long-term keys


def weak_history(rounds: int) -> tuple[Mapping[int, Vector], Mapping[int, Vector]]:
    """The weak design: one X25519 pair a client for all rounds, masks derived from it and the round's number.

    The victim drops in the last round, so its key is reconstructed; its self seeds of the rounds before were
    opened in them. Returns what the server then computes, and the truth.
    """
    stream = KeyedStream(derive_key(bytes(32), "weak history"))
    private = stream(32)
    victim, peers = AgreementKey(private), [AgreementKey(stream(32)) for _ in range(3)]
    truth, computed = {}, {}
    reconstructed = AgreementKey(private)
    for number in range(rounds - 1):
        vector = np.frombuffer(stream(40), dtype=np.uint32).copy()
        seed = stream(32)
        upload = vector.copy()
        apply_masks(upload, [seed, *(victim.agree(peer.public, (number,)) for peer in peers)], [])
        apply_masks(upload, [], [seed, *(reconstructed.agree(peer.public, (number,)) for peer in peers)])
        truth[number], computed[number] = vector.astype(np.int64), upload.astype(np.int64)
    return computed, truth


def test_a_reconstructed_long_term_key_opens_the_past() -> None:
    computed, truth = weak_history(10)
    assert all(np.array_equal(computed[number], truth[number]) for number in truth)


@pytest.mark.parametrize("mode", ["semi-honest", "active"])
def test_ten_rounds_recorded_a_drop_in_the_tenth_and_the_rest_stays_hidden(
    mode: str, make_masks: Callable[..., Any]
) -> None:
    cohort = make_masks(bare=True, mode=mode)
    victim, vectors = 3, {}
    name = cohort.plan.clients[victim]
    for number in range(13):
        if number == 9:
            cohort.lose = lambda message: message.sender == name and message.kind == "masked"
        vectors[number] = cohort.vectors(f"round {number}")
        assert isinstance(cohort.run(number, vectors[number]), Aggregate)
        cohort.lose = lambda message: False
    spy = Spy(cohort)
    sent = sorted(epoch for epoch, place in spy.masked if place == victim)
    assert sent == list(range(13))
    tenth = spy.secret(9, victim, PAIR)
    assert tenth is not None
    assert agreement_key(tenth).public == spy.offers[9, victim].public
    for epoch in sent:
        seed, pair = (spy.secret(epoch, victim, kind) for kind in (SELF, PAIR))
        # Exactly one of the two is ever known, and in the tenth round it is the pair key alone.
        assert (seed is None, pair is None) == ((True, False) if epoch == 9 else (False, True))
        for key in (None, tenth):
            guess = spy.vector(epoch, victim, range(8), seed, key)
            assert not np.array_equal(guess, vectors[epoch][name])
            assert np.count_nonzero(guess == vectors[epoch][name]) < 5
    held = [cohort.parties[client]._epoch._shares for client in cohort.plan.clients]
    assert all(len(shares) <= 8 for shares in held)


# An active server


def test_an_active_server_cannot_split_the_cohort(make_masks: Callable[..., Any]) -> None:
    """Pitfall: every client is shown another small set of dead; without a confirmation each would answer."""
    cohort = make_masks(bare=True, mode="active", n=10)
    until(cohort, "confirm")
    everyone = tuple(range(10))
    proofs: dict[int, dict[tuple[int, ...], bytes]] = {}
    answers = 0
    for place, name in enumerate(cohort.plan.clients):
        survivors = tuple(p for p in everyone if p != (place + 1) % 10)
        body = write_survivors(0, survivors)
        message = Message(
            sender="server",
            receiver=name,
            kind="confirm",
            session=cohort.plan.session,
            round=0,
            upload="update",
            payload=body,
        )
        (confirmed,) = cohort.parties[name].on(message)
        proofs[place] = {survivors: confirmed.payload}
        assert not cohort.parties[name].on(message)
    for place, name in enumerate(cohort.plan.clients):
        ((survivors, _),) = proofs[place].items()
        dropped = tuple(set(everyone) - set(survivors))
        gathered = {other: next(iter(proof.values())) for other, proof in proofs.items()}
        answers += len(ask(cohort, name, UnmaskRequest(0, survivors, dropped, gathered)))
    assert answers == 0


def test_an_active_server_needs_signatures_of_the_whole_cohort(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(bare=True, mode="active", n=10)
    until(cohort, "unmask")
    everyone = tuple(range(10))
    signed = {
        cohort.plan.clients.index(message.sender): message.payload
        for message in cohort.sent
        if message.kind == "confirmed"
    }
    assert len(signed) == 10
    few = dict(list(signed.items())[:5])
    copies = dict.fromkeys(everyone, signed[0])
    for proofs in ({}, few, copies):
        assert not ask(cohort, "client001", UnmaskRequest(0, everyone, (), proofs))
    enough = dict(list(signed.items())[:6])
    assert ask(cohort, "client001", UnmaskRequest(0, everyone, (), enough))


def test_an_invented_client_is_refused(make_masks: Callable[..., Any]) -> None:
    """A server that puts its own keys under a pinned name gets no opening."""
    from crypto.keys.roster import Identity
    from crypto.protocols.masks.client import MaskClient

    cohort = make_masks(bare=True, mode="active", ready=False)
    invented = MaskClient(cohort.plan, Identity.new("client007"))
    (hello,) = invented.start()
    hellos = {name: cohort.parties[name].start()[0] for name in cohort.plan.clients[:7]}
    from crypto.protocols.masks.members import write_directory

    payload = write_directory(0, {name: item.payload for name, item in hellos.items()} | {"client007": hello.payload})  # type: ignore[union-attr]
    message = Message(
        sender="server",
        receiver="clients",
        kind="directory",
        session=cohort.plan.session,
        round=0,
        upload="-",
        payload=payload,
    )
    assert not any(cohort.parties[name].on(message) for name in cohort.plan.clients[:7])
    honest = write_directory(0, {name: item.payload for name, item in hellos.items()})
    message = Message(
        sender="server",
        receiver="clients",
        kind="directory",
        session=cohort.plan.session,
        round=0,
        upload="-",
        payload=honest,
    )
    assert all(cohort.parties[name].on(message) for name in cohort.plan.clients[:7])


def test_errors_are_of_the_package() -> None:
    from crypto.protocols.masks import errors

    found = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(value, CryptoError) for value in found)
