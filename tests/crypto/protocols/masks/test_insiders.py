"""Registered clients that sign what no client says: they are named and left out, and the sum goes on."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import Abort, Aggregate, Begin, Deadline, Message
from crypto.protocols.envelope import is_signed
from crypto.protocols.masks import offers
from crypto.protocols.masks.evidence import is_false_dealing
from crypto.protocols.masks.members import write_hello, write_opening
from crypto.protocols.masks.records import write_record
from crypto.protocols.masks.requests import KeyList, Shares, read_masked, write_masked
from crypto.testing import check_insiders, corrupt
from crypto.wire.values import pack_value, unpack_value

from .conftest import build

Cohort = Any
Make = Callable[..., Cohort]


def with_insiders(cohort: Cohort, change: Callable[[Message], Iterable[Message]], *names: str) -> Cohort:
    """Set up with some clients that change what they say."""
    for name in names:
        cohort.parties[name] = corrupt(cohort.parties[name], change)
    cohort.set_up()
    return cohort


def expect_named(cohort: Cohort, outcome: Any, vectors: Any, *names: str, without: bool = True) -> None:
    """The sum is exact, those who are at fault are named, and a third party believes it."""
    cohort.expect(outcome, vectors, set(vectors) - (set(names) if without else set()))
    assert outcome.blamed == names
    faults = cohort.parties["server"].faults
    assert set(faults) == set(names)
    for name, fault in faults.items():
        assert name in fault.reason or fault.evidence[0].sender == name
        assert all(is_signed(cohort.plan, message) for message in fault.evidence)
        assert any(message.sender == name for message in fault.evidence)


@pytest.mark.parametrize("mode", ["semi-honest", "active"])
@pytest.mark.parametrize("key", [bytes(32), (1).to_bytes(32, "little"), b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_a_channel_key_of_small_order(key: bytes, mode: str, make_masks: Make) -> None:
    cohort = make_masks(mode=mode, ready=False)
    inner = cohort.parties["client003"]._inner._enrolment
    inner.sealing.public = key + inner.sealing.public[32:]
    inner._hello = write_hello(cohort.plan, cohort.identities["client003"], inner.sealing.public, inner._nonces[0])
    cohort.set_up()
    assert sum(cohort.parties[name].ready for name in cohort.plan.clients) == 7
    vectors = cohort.vectors("small order")
    expect_named(cohort, cohort.run(0, vectors), vectors, "client003")


def test_one_channel_key_of_two_clients(make_masks: Make) -> None:
    cohort = make_masks(ready=False)
    one, other = (cohort.parties[name]._inner._enrolment for name in ("client001", "client002"))
    other.sealing = one.sealing
    other._hello = write_hello(cohort.plan, cohort.identities["client002"], one.sealing.public, other._nonces[0])
    cohort.set_up()
    vectors = cohort.vectors("shared")
    expect_named(cohort, cohort.run(0, vectors), vectors, "client001", "client002")


def test_a_channel_key_cannot_be_copied_from_an_honest_client(make_masks: Make) -> None:
    """The copier knows the key from the first attempt on, and has committed to another: it alone is at fault."""
    cohort = make_masks(ready=False)
    seen: dict[str, bytes] = {}

    def copy(message: Message) -> Iterable[Message]:
        if message.kind != "open":
            return (message,)
        directory = next(iter(cohort.parties["client000"].public.of.directories.values()))
        record, lattice = unpack_value(message.payload)  # type: ignore[misc]
        nonce = unpack_value(record[96:])[1]  # type: ignore[index]
        mine = write_opening(cohort.plan, cohort.identities["client007"], directory, nonce, seen["client000"])
        return (replace(message, payload=pack_value([mine, lattice])),)

    honest = cohort.parties["client000"]
    seen["client000"] = honest._inner._enrolment.sealing.public
    vectors = cohort.vectors("copied")
    with_insiders(cohort, copy, "client007")
    expect_named(cohort, cohort.run(0, vectors), vectors, "client007")


@pytest.mark.parametrize(("protocol", "n"), [("secagg", 16), ("secagg+", 60)])
def test_a_client_that_opens_nothing_in_each_attempt_ends_no_set_up(protocol: str, n: int, make_masks: Make) -> None:
    """Six corrupt clients, one in each attempt, as many as may drop out."""
    cohort = make_masks(protocol, n=n, dropouts=6, corrupt=0, ready=False)
    assert cohort.plan.masks.complete == (protocol == "secagg")
    seen: set[str] = set()

    def lose(message: Message) -> bool:
        attempt = len(seen)
        return attempt < 6 and message.kind == "open" and message.sender == f"client{attempt:03}"

    cohort.lose = lose
    cohort.set_up()
    for attempt in range(6):
        seen.add(f"client{attempt:03}")
        cohort.give("server", Deadline(0, "-"))
    vectors = cohort.vectors("attempts")
    cohort.expect(cohort.run(0, vectors), vectors, cohort.plan.clients[6:])


def offer_with(blob: bytes, identity: Any, session: str, place: int, value: object) -> bytes:
    """An offer with another value in its signed record."""
    record, *rest = unpack_value(blob)  # type: ignore[misc]
    body = unpack_value(record[96:])
    assert isinstance(body, list)
    body[place] = value
    return pack_value([write_record(identity, session, "offer", pack_value(body)), *rest])


@pytest.mark.parametrize("later", [False, True], ids=["first", "later"])
def test_an_offer_of_a_key_of_small_order(later: bool, make_masks: Make) -> None:
    cohort = make_masks(ready=False)
    identity = cohort.identities["client005"]

    def change(message: Message) -> Iterable[Message]:
        if message.kind == "offer" and not later:
            blob = offer_with(message.payload, identity, message.session, 1, bytes(32))
            return (replace(message, payload=blob),)
        if message.kind == "shares" and later:
            answer = Shares.from_bytes(message.payload)
            blob = offer_with(answer.offer, identity, message.session, 1, bytes(32))
            return (replace(message, payload=replace(answer, offer=blob).to_bytes()),)
        return (message,)

    with_insiders(cohort, change, "client005")
    vectors = cohort.vectors("offer")
    if later:
        cohort.expect(cohort.run(0, vectors), vectors, vectors)
    expect_named(cohort, cohort.run(1, vectors), vectors, "client005")


def test_early_vectors_of_other_models_fill_nothing(make_masks: Make) -> None:
    """As many corrupt clients as may be are first, each with a model of its own."""
    cohort = make_masks(n=10, dropouts=4, corrupt=0, ready=True)
    vectors = cohort.vectors("piles")
    outcomes = cohort.give("server", Begin(0, "update"))
    for place, name in enumerate(cohort.plan.clients):
        model = bytes([place]) if place < 4 else b"model"
        outcomes += cohort.submit(0, "update", name, vectors[name], model=model)
    for _ in range(3):
        outcomes = outcomes or cohort.give("server", Deadline(0, "update"))
    (outcome,) = outcomes
    cohort.expect(outcome, vectors, cohort.plan.clients[4:])
    assert outcome.blamed == ()


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_a_vector_of_another_size(cut: int, make_masks: Make) -> None:
    def change(message: Message) -> Iterable[Message]:
        if message.kind != "masked":
            return (message,)
        number, model, packed = read_masked(message.payload)
        return (replace(message, payload=write_masked(number, model, bytearray(packed[:cut]))),)

    cohort = with_insiders(make_masks(ready=False), change, "client002")
    vectors = cohort.vectors("cut")
    expect_named(cohort, cohort.run(0, vectors), vectors, "client002")
    expect_named(cohort, cohort.run(1, vectors), vectors, "client002")


def lying(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """These clients deal shares of another secret than they commit to."""
    true, make, who = offers.split, offers.make_offer, [""]

    def split(secret: bytes, *rest: Any) -> list[bytes]:
        return true(bytes(32) if who[0] in names else secret, *rest)

    def make_offer(plan: Any, setup: Any, identity: Any, *rest: Any) -> bytes:
        who[0] = identity.name
        return make(plan, setup, identity, *rest)

    monkeypatch.setattr(offers, "split", split)
    monkeypatch.setattr("crypto.protocols.masks.client.make_offer", make_offer)


@pytest.mark.parametrize("drops", [False, True])
def test_liars_among_the_dealers_cost_one_sum_together(
    drops: bool, make_masks: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying(monkeypatch, "client001", "client004")
    cohort = make_masks(mode="active")
    vectors = cohort.vectors("dealers")
    staying = {name: v for name, v in vectors.items() if not drops or name not in ("client001", "client004")}
    first = cohort.run(0, staying)
    assert isinstance(first, Abort)
    assert first.blamed == ("client001", "client004")
    for name, fault in cohort.parties["server"].faults.items():
        assert is_false_dealing(cohort.plan, name, fault.dealing)
        assert not is_false_dealing(cohort.plan, "client000", fault.dealing)
        assert not is_false_dealing(cohort.plan, name, fault.dealing[:-1])
    second = cohort.run(1, vectors)
    cohort.expect(second, vectors, set(vectors) - {"client001", "client004"})
    assert second.blamed == first.blamed


def test_an_honest_dealing_is_no_evidence(make_masks: Make) -> None:
    from crypto.protocols.masks.evidence import write_dealing
    from crypto.protocols.masks.offers import KINDS, read_offer

    cohort = make_masks()
    setup = next(iter(cohort.parties["client000"].public.of.setups.values()))
    cohort.run(0, cohort.vectors("honest"))
    answers = {m.sender: Shares.from_bytes(m.payload) for m in cohort.sent if m.kind == "shares"}
    blob = next(m.payload for m in cohort.sent if m.kind == "offer" and m.sender == "client003")
    offer = read_offer(cohort.plan, setup, setup.trust, 3, blob)
    held = {
        cohort.plan.clients.index(name): share
        for name, answer in answers.items()
        for dealer, _, share in answer.triples
        if dealer == 3
    }
    enough = dict(sorted(held.items())[: cohort.plan.masks.threshold])
    for kind in KINDS:
        assert not is_false_dealing(cohort.plan, "client003", write_dealing(setup.holders(3), offer, kind, enough))


def test_boxes_that_nobody_can_open(make_masks: Make) -> None:
    """No holder has a share: the dealer is named, by more holders than may lie, and the next sum is right."""

    def change(message: Message) -> Iterable[Message]:
        if message.kind != "offer":
            return (message,)
        record, joined, boxes = unpack_value(message.payload)  # type: ignore[misc]
        return (replace(message, payload=pack_value([record, joined, [b"x" * len(box) for box in boxes]])),)

    cohort = with_insiders(make_masks(ready=False), change, "client006")
    vectors = cohort.vectors("boxes")
    first = cohort.run(0, vectors)
    assert isinstance(first, Abort)
    assert first.blamed == ("client006",)
    assert "could not open" in first.reason
    second = cohort.run(1, vectors)
    cohort.expect(second, vectors, set(vectors) - {"client006"})


def test_complaints_alone_blame_nobody(make_masks: Make) -> None:
    """As many corrupt holders as may be complain about everybody."""

    def change(message: Message) -> Iterable[Message]:
        if message.kind != "shares":
            return (message,)
        answer, me = Shares.from_bytes(message.payload), cohort.plan.clients.index(message.sender)
        kept = tuple(triple for triple in answer.triples if triple[0] == me)
        bad = tuple(sorted({dealer for dealer, _, _ in answer.triples} - {me}))
        return (replace(message, payload=replace(answer, triples=kept, bad=bad).to_bytes()),)

    cohort = make_masks(ready=False)
    with_insiders(cohort, change, "client000", "client001")
    vectors = cohort.vectors("complaints")
    for number in range(3):
        outcome = cohort.run(number, vectors)
        cohort.expect(outcome, vectors, vectors)
        assert outcome.blamed == ()


def test_silence_is_no_fault(make_masks: Make) -> None:
    for kind in ("hello", "open", "capsules", "offer", "masked", "confirmed", "shares"):
        cohort = make_masks(mode="active", ready=False)
        cohort.lose = lambda message, kind=kind: message.kind == kind and message.sender == "client002"
        cohort.set_up()
        for _ in range(2):
            cohort.give("server", Deadline(0, "-"))
        vectors = cohort.vectors(kind)
        outcome = cohort.run(0, vectors)
        heard = kind in ("confirmed", "shares")
        cohort.expect(outcome, vectors, set(vectors) - (set() if heard else {"client002"}))
        assert outcome.blamed == ()


@pytest.mark.parametrize("kind", ["hello", "open", "capsules", "offer", "masked", "confirmed", "shares"])
@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x90", pack_value([[]] * 50), b"\x00" * 200])
def test_malformed_payloads_of_every_kind(kind: str, payload: bytes, make_masks: Make) -> None:
    def change(message: Message) -> Iterable[Message]:
        return (replace(message, payload=payload),) if message.kind == kind else (message,)

    cohort = with_insiders(make_masks(mode="active", ready=False), change, "client004")
    vectors = cohort.vectors(kind)
    late = kind in ("confirmed", "shares")
    expect_named(cohort, cohort.run(0, vectors), vectors, "client004", without=not late)
    expect_named(cohort, cohort.run(1, vectors), vectors, "client004")


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    mode=st.sampled_from(["semi-honest", "active"]),
    rate=st.sampled_from([0.1, 0.3, 0.8]),
    names=st.lists(st.integers(0, 8), min_size=1, max_size=3, unique=True),
    silent=st.integers(0, 2),
)
def test_whatever_insiders_sign_nobody_honest_is_blamed_or_left_out(
    seed: int, mode: str, rate: float, names: list[int], silent: int
) -> None:
    """Corrupt and silent clients together are as many as may drop out."""
    cohort = build(mode=mode, n=9, dropouts=3, corrupt=0, ready=False)  # type: ignore[arg-type]
    who = [f"client{i:03}" for i in names]
    insiders, quiet = who[: len(who) - silent], who[len(who) - silent :] if silent else []
    check_insiders(cohort.bench(), insiders, cohort.identities, silent=quiet, seed=str(seed), rate=rate)


def test_begin_and_deadline_never_raise(make_masks: Make) -> None:
    odd: list[Any] = [Begin(-1, "update"), Begin(0, "none"), Deadline(2**40, "x"), Begin("0", None), Deadline([], {})]  # type: ignore[arg-type]
    for ready in (False, True):
        cohort = make_masks(ready=ready)
        for party in cohort.parties.values():
            for item in odd:
                assert party.on(item) == ()
    assert isinstance(cohort.run(0, cohort.vectors("after")), Aggregate)


def test_a_key_list_is_read_by_its_own_caps(make_masks: Make) -> None:
    """What an active server sends is refused, and blamed on nobody."""
    cohort = make_masks(bare=True)
    listed = KeyList(1, (0, 1), ())
    client = cohort.parties["client000"]
    message = next(m for m in cohort.sent if m.kind == "keys" and m.receiver == "client000")
    assert client.on(replace(message, payload=listed.to_bytes())) == ()
    vectors = cohort.vectors("after")
    assert np.array_equal(cohort.run(0, vectors).total, np.sum(list(vectors.values()), axis=0))
