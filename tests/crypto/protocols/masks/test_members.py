"""Set-up: hellos, nonces that nobody chooses, attempts, and malformed records; false shares and their authors."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crypto import Aggregate, Deadline
from crypto.keys.roster import Trust
from crypto.protocols.masks.client import MaskClient
from crypto.protocols.masks.errors import FaultError, RecordError
from crypto.protocols.masks.members import (
    attempts,
    channel_commitment,
    commitment,
    nonce_chain,
    read_directory,
    read_hello,
    read_opening,
    write_directory,
    write_hello,
    write_opening,
)
from crypto.protocols.masks.offers import read_offer
from crypto.protocols.masks.records import write_record
from crypto.protocols.masks.requests import (
    KeyList,
    Shares,
    UnmaskRequest,
    indices,
    read_masked,
    read_number,
    read_survivors,
    write_cohort,
    write_keys,
)
from crypto.wire.messages import Message
from crypto.wire.values import pack_value, unpack_value

SET_UP = Deadline(0, "-")


def first_of(cohort: Any, kind: str) -> list[Message]:
    return [message for message in cohort.sent if message.kind == kind]


def test_the_graph_depends_on_every_nonce_and_the_server_sends_none(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks("secagg+", n=60, dropouts=2, bare=True)
    client = cohort.parties["client000"]
    ((_, setup),) = client.public.setups.items()
    again = make_masks("secagg+", n=60, dropouts=2, bare=True)
    ((_, other),) = again.parties["client000"].public.setups.items()
    assert setup.neighbours != other.neighbours
    assert {len(row) for row in setup.neighbours.values()} == {cohort.plan.masks.neighbours}
    from crypto.protocols.masks.members import finish

    trust = Trust(cohort.plan.roster)
    records = [unpack_value(message.payload)[0] for message in first_of(cohort, "open")]  # type: ignore[index]
    openings = [
        read_opening(cohort.plan, setup.directory, member, record, trust)
        for member, record in zip(setup.directory.members, records, strict=True)
    ]
    assert finish(cohort.plan, setup.directory, openings).neighbours == setup.neighbours
    for place in (0, 30, 59):
        changed = [replace(one, nonce=bytes(32)) if place == at else one for at, one in enumerate(openings)]
        assert finish(cohort.plan, setup.directory, changed).neighbours != setup.neighbours


def test_nonce_and_channel_key_cannot_be_changed_after_the_commitment(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(bare=True)
    setup = next(iter(cohort.parties["client000"].public.setups.values()))
    directory = next(iter(cohort.parties["client000"].public.directories.values()))
    member, trust = directory.members[2], Trust(cohort.plan.roster)
    record, _ = unpack_value(first_of(cohort, "open")[2].payload)  # type: ignore[misc]
    nonce = read_opening(cohort.plan, directory, member, record, trust).nonce
    for changed in ((bytes(32), setup.sealings[2]), (nonce, setup.sealings[3])):
        other = write_opening(cohort.plan, cohort.identities["client002"], directory, *changed)
        with pytest.raises(FaultError, match="does not fit its commitments"):
            read_opening(cohort.plan, directory, member, other, trust)
    by_another = write_opening(cohort.plan, cohort.identities["client003"], directory, nonce, setup.sealings[2])
    with pytest.raises(RecordError, match="not signed"):
        read_opening(cohort.plan, directory, member, by_another, trust)


def test_who_does_not_open_is_left_out_and_the_others_open_another_nonce(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(ready=False, bare=True)
    cohort.lose = lambda message: message.kind == "open" and message.sender in ("client001", "client006")
    cohort.set_up()
    cohort.give("server", SET_UP)
    vectors = cohort.vectors("left out")
    cohort.expect(cohort.run(0, vectors), vectors, set(vectors) - {"client001", "client006"})
    nonces = [
        unpack_value(unpack_value(message.payload)[0][96:])  # type: ignore[index]
        for message in first_of(cohort, "open")
        if message.sender == "client000"
    ]
    assert len(nonces) == 2
    assert nonces[0][1] != nonces[1][1]  # type: ignore[index]


def test_a_client_opens_one_nonce_an_attempt_and_so_many_attempts(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(ready=False, bare=True, dropouts=2)
    assert attempts(cohort.plan) == 6
    assert attempts(make_masks("secagg+", n=60, dropouts=9, ready=False).plan) == 13
    assert attempts(make_masks(ready=False, n=20, dropouts=9, corrupt=0).plan) == 13
    hellos = {name: cohort.parties[name].start()[0].payload for name in cohort.plan.clients}
    client = cohort.parties["client000"]

    def ask(attempt: int, left_out: str = "") -> int:
        payload = write_directory(attempt, {name: record for name, record in hellos.items() if name != left_out})
        return len(
            client.on(
                Message(
                    sender="server",
                    receiver="clients",
                    kind="directory",
                    session=cohort.plan.session,
                    round=0,
                    upload="-",
                    payload=payload,
                )
            )
        )

    assert [ask(0), ask(0), ask(0, "client001"), ask(2), ask(1), ask(5), ask(6), ask(-1)] == [1, 0, 0, 1, 0, 1, 0, 0]


@pytest.mark.parametrize("left", ["client000", "client001 client002 client003"])
def test_directories_without_oneself_or_too_small_are_refused(left: str, make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(ready=False, bare=True)
    hellos = {n: cohort.parties[n].start()[0].payload for n in cohort.plan.clients if n not in left}
    message = Message(
        sender="server",
        receiver="clients",
        kind="directory",
        session=cohort.plan.session,
        round=0,
        upload="-",
        payload=write_directory(0, hellos),
    )
    assert not cohort.parties["client000"].on(message)


def test_a_chain_shows_no_nonce_before_its_turn(make_masks: Callable[..., Any]) -> None:
    plan = make_masks(ready=False, n=20, dropouts=9, corrupt=0).plan
    chain = nonce_chain(plan, "client000", bytes(32))
    assert len(chain) == attempts(plan) == len(set(chain))
    for attempt in range(1, len(chain)):
        assert chain[attempt - 1] == commitment(plan.session, "client000", attempt, chain[attempt])
    assert chain[-1] == bytes(32)
    assert nonce_chain(plan, "client001", bytes(32))[0] != chain[0]


def test_malformed_records_are_refused(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(ready=False, bare=True)
    plan, trust = cohort.plan, Trust(cohort.plan.roster)
    identity = cohort.identities["client000"]
    good = write_hello(plan, identity, bytes(32), bytes(32))
    assert read_hello(plan, "client000", good, trust).channel == channel_commitment(
        plan.session, "client000", bytes(32)
    )
    bad = [b"", good[:-1], good + b"\0", bytes(96) + good[96:]]
    bad.append(write_record(identity, plan.session, "hello", pack_value([bytes(31), bytes(32)])))
    bad.append(write_record(identity, plan.session, "hello", pack_value([bytes(32), [bytes(32)]])))
    for record in bad:
        with pytest.raises(RecordError):
            read_hello(plan, "client000", record, trust)
    with pytest.raises(RecordError):
        read_hello(plan, "stranger", good, trust)
    others = {n: write_hello(plan, cohort.identities[n], n.encode() + bytes(23), bytes(32)) for n in plan.clients}
    assert len(read_directory(plan, write_directory(0, others), trust).members) == 8
    backwards = dict(reversed(others.items()))
    for payload in (write_directory(0, backwards), write_directory(attempts(plan), others), b"\xc0", b""):
        with pytest.raises(RecordError):
            read_directory(plan, payload, trust)


@pytest.mark.parametrize("epoch", [0, 127, 1 << 20])
@pytest.mark.parametrize("cohort", [(), (0, 5), tuple(range(1000))])
def test_key_lists_of_a_cohort_written_once_are_lists_of_three(epoch: int, cohort: tuple[int, ...]) -> None:
    rows: list[list[object]] = [[3, b"record", b"one", b"other", b"box", b""]]
    written = write_keys(write_cohort(epoch, cohort), rows)
    assert written == pack_value([epoch, list(cohort), rows])
    assert KeyList.from_bytes(written).to_bytes() == written


@pytest.mark.parametrize(
    "read",
    [KeyList.from_bytes, UnmaskRequest.from_bytes, Shares.from_bytes, read_masked, read_number, read_survivors],
)
def test_malformed_bodies_are_refused(read: Callable[[bytes], object]) -> None:
    bodies: list[object] = [
        None,
        -1,
        [],
        [1],
        [1, 2],
        [0, [1, 0], []],
        [0, [[]], []],
        [0, [-1], [], []],
        ["a", b"", b""],
    ]
    bodies += [[0, [0], [], [[1, 2]]], [0, [0], [], [[1, b""], [1, b""]]], [0, [[1, 2]], [], b""], [0, bytes(65), b""]]
    for body in [*map(pack_value, bodies), b"", b"\xc1", b"\x93"]:
        with pytest.raises(RecordError):
            read(body)


def test_indices_are_ascending_places() -> None:
    assert indices([]) == ()
    assert indices([0, 3, 4]) == (0, 3, 4)
    for values in ([1, 1], [2, 1], [-1, 2], [True], [1.0], ["1"], [None]):
        with pytest.raises(RecordError):
            indices(values)


# Bad shares


def test_a_false_share_is_attributed_and_the_sum_is_right(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(bare=True)

    class Liar:
        """Client 5 changes every share that it sends."""

        def __init__(self, inner: MaskClient) -> None:
            self.inner, self.name = inner, inner.name

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def on(self, item: Any) -> Any:
            out = self.inner.on(item)
            if out and out[0].kind == "shares":
                answer = Shares.from_bytes(out[0].payload)
                false = tuple((d, k, bytes((s[0] ^ 1,)) + s[1:]) for d, k, s in answer.triples)
                return (replace(out[0], payload=replace(answer, triples=false).to_bytes()),)
            return out

    cohort.parties["client005"] = Liar(cohort.parties["client005"])
    vectors = cohort.vectors("liar")
    outcome = cohort.run(0, vectors)
    cohort.expect(outcome, vectors, vectors)
    assert outcome.blamed == ("client005",)
    assert cohort.parties["server"].faults["client005"].reason == "'client005' sent a false share"


def test_liars_beyond_the_threshold_abort_with_their_names(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(bare=True)
    cohort.lose = lambda message: message.kind == "shares" and message.sender in ("client000", "client001")
    for name in ("client002", "client003"):
        inner = cohort.parties[name]
        inner_on = inner.on

        def lie(item: Any, inner_on: Any = inner_on) -> Any:
            out = inner_on(item)
            if out and out[0].kind == "shares":
                answer = Shares.from_bytes(out[0].payload)
                false = tuple((d, k, bytes(33)) for d, k, _ in answer.triples)
                return (replace(out[0], payload=replace(answer, triples=false).to_bytes()),)
            return out

        inner.on = lie
    outcome = cohort.run(0, cohort.vectors("liars"))
    assert not isinstance(outcome, Aggregate)
    assert "too few shares" in outcome.reason
    assert outcome.blamed == ("client002", "client003")


def test_a_dealer_of_shares_that_do_not_fit_its_commitment_is_named(
    make_masks: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from crypto.protocols.masks import offers

    cohort = make_masks(bare=True)
    true = offers.split

    def false_split(secret: bytes, *rest: Any) -> list[bytes]:
        return true(bytes(32) if identity_is_four[0] else secret, *rest)

    identity_is_four = [False]
    monkeypatch.setattr(offers, "split", false_split)
    client = cohort.parties["client004"]
    inner_on = client.on

    def on(item: Any) -> Any:
        identity_is_four[0] = True
        try:
            return inner_on(item)
        finally:
            identity_is_four[0] = False

    client.on = on
    assert isinstance(cohort.run(0, cohort.vectors("honest")), Aggregate)
    outcome = cohort.run(1, cohort.vectors("dealer"))
    assert not isinstance(outcome, Aggregate)
    assert outcome.reason.startswith("'client004' dealt shares that do not give its committed secret")


def test_a_bad_sealed_share_is_reported_and_the_sum_is_right(make_masks: Callable[..., Any]) -> None:
    """The server, or the dealer, garbles one box: its holder says so and everybody else's shares are enough."""
    cohort = make_masks(bare=True)
    server = cohort.parties["server"]
    inner_on = server.on

    def on(item: Any) -> Any:
        out = []
        for message in inner_on(item):
            if isinstance(message, Message) and message.kind == "keys" and message.receiver == "client001":
                listed = KeyList.from_bytes(message.payload)
                entries = [
                    replace(e, sealed=(*e.sealed[:2], b"x" * 40)) if e.dealer == 2 else e for e in listed.entries
                ]
                message = replace(message, payload=replace(listed, entries=tuple(entries)).to_bytes())
            out.append(message)
        return tuple(out)

    server.on = on
    cohort.run(0, cohort.vectors("first"))
    vectors = cohort.vectors("second")
    cohort.expect(cohort.run(1, vectors), vectors, vectors)
    answers = [Shares.from_bytes(m.payload) for m in first_of(cohort, "shares") if m.sender == "client001"]
    assert [answer.bad for answer in answers] == [(), (2,)]
    assert len(answers[1].triples) == 7


def test_an_offer_that_is_not_its_dealers_is_refused(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(bare=True)
    setup = next(iter(cohort.parties["client000"].public.setups.values()))
    blob = first_of(cohort, "offer")[0].payload
    record, joined, boxes = unpack_value(blob)  # type: ignore[misc]
    assert read_offer(cohort.plan, setup, setup.trust, 0, blob).epoch == 0
    changed = bytes((joined[0] ^ 1,)) + joined[1:]
    bad = [
        [record, changed, boxes],
        [record, joined[:-1], boxes],
        [record, joined, boxes[:-1]],
        [record, joined, [1] * 8],
    ]
    for value in bad:
        with pytest.raises(RecordError):
            read_offer(cohort.plan, setup, setup.trust, 0, pack_value(value))
    with pytest.raises(RecordError):
        read_offer(cohort.plan, setup, setup.trust, 1, blob)


def test_the_server_keeps_few_vectors_and_the_wire_is_as_planned(make_masks: Callable[..., Any]) -> None:
    import tracemalloc

    from crypto import Begin, Upload, open_client, open_party, plan, set_up

    length, names = 200_000, [f"c{i:02}" for i in range(20)]
    made = plan("secagg", names, [Upload(name="g", length=length, bound=1 << 15)], 2, 2)
    parties: dict[str, Any] = {name: open_client(made, name) for name in names}
    parties["server"] = open_party(made, "server")
    set_up(parties)
    parties["server"].on(Begin(0, "g"))
    sent = [parties[name].submit(0, "g", np.full(length, 7))[0] for name in names[:19]]
    assert made.ring_bits("g") == 21
    assert {abs(len(message.payload) - length * 21 / 8) < 64 for message in sent} == {True}
    shown = sent[0].payload
    tracemalloc.start()
    for message in sent:
        parties["server"].on(message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * 4 * length
    assert repr(shown[:16])[2:-1] not in repr(sent[0])
