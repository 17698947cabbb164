"""Clients and servers that cheat with capsules, commitments and vaults, and networks that lose them."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crypto import Abort, Begin, Deadline, Message
from crypto.keys.randomness import system_random
from crypto.protocols.masks import channels, epoch, listing, offers, vault
from crypto.protocols.masks.channels import ChannelKey, begins, receivers
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.evidence import is_false_dealing, write_dealing
from crypto.protocols.masks.offers import PAIR
from crypto.protocols.masks.records import write_record
from crypto.protocols.masks.requests import KeyList, Shares
from crypto.protocols.masks.shamir import lagrange_weights, recover
from crypto.protocols.masks.vault import Dealt, agreement_key, pair_commitment, read_pair
from crypto.testing import corrupt
from crypto.wire.values import pack_value, unpack_value

from .test_attacks_on_ourselves import Spy

Cohort = Any
Make = Callable[..., Cohort]


# Clients that cheat


def cheating(monkeypatch: pytest.MonkeyPatch, name: str, deal: Callable[..., Dealt]) -> None:
    """This client's offers hold what `deal` makes of them; their signatures are right."""
    true = offers._deal

    def dealt(plan: Any, setup: Any, dealer: int, keys: Any, *rest: Any) -> Dealt:
        honest = true(plan, setup, dealer, keys, *rest)
        return deal(plan, setup, dealer, keys, honest) if plan.clients[dealer] == name else honest

    monkeypatch.setattr(offers, "_deal", dealt)


def other_secrets(plan: Any, setup: Any, dealer: int, keys: Any, honest: Dealt) -> Dealt:
    """Commit to, and lock, and use another secret with every second neighbour than its channel gives."""
    holders = setup.holders(dealer)
    for holder in holders[::2]:
        if holder != dealer:
            keys.secrets[holder] = hashlib.sha256(keys.secrets[holder]).digest()
            ends = (dealer, holder)
            keys.commitments[holder] = pair_commitment(plan.session, keys.epoch, ends, keys.secrets[holder])
    return locked_anew(plan, dealer, holders, keys, honest)


def locked_anew(plan: Any, dealer: int, holders: Any, keys: Any, honest: Dealt) -> Dealt:
    none = bytes(32)
    secrets = [keys.secrets.get(holder, none) for holder in holders]
    box = vault.lock(plan.session, keys.epoch, dealer, keys.root(), secrets, system_random)
    return Dealt(honest.shares, b"".join(keys.commitments.get(holder, none) for holder in holders), box)


def false_vault(plan: Any, setup: Any, dealer: int, keys: Any, honest: Dealt) -> Dealt:
    """Commit to the right secrets, and lock others."""
    holders = setup.holders(dealer)
    kept = dict(keys.secrets)
    keys.secrets[holders[0]] = bytes(32)
    dealt = locked_anew(plan, dealer, holders, keys, honest)
    keys.secrets.update(kept)
    return dealt


def no_vault(plan: Any, setup: Any, dealer: int, keys: Any, honest: Dealt) -> Dealt:
    return replace(honest, vault=bytes(len(honest.vault)))


@pytest.mark.parametrize("mode", ["semi-honest", "active"])
@pytest.mark.parametrize("drops", [False, True])
def test_a_client_of_other_secrets_costs_nothing_and_blames_nobody(
    drops: bool, mode: str, make_masks: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disputed pairs rest on X25519, at both ends and at the server: every sum is exact."""
    cheating(monkeypatch, "client005", other_secrets)
    cohort = make_masks(mode=mode)
    for number in range(2):
        vectors = cohort.vectors(f"other secrets {number}")
        staying = {name: v for name, v in vectors.items() if not drops or name not in ("client005", "client001")}
        outcome = cohort.run(number, staying)
        cohort.expect(outcome, staying, staying)
        assert outcome.blamed == ()
    disputed = cohort.parties["server"]._inner._keys.epoch.disputed
    assert {pair for pair in disputed if 5 not in pair} == set()
    assert len(disputed) == 4
    epochs = [cohort.parties[name]._inner._epoch for name in cohort.plan.clients]
    assert [5 in each._disputed for each in epochs] == [place % 2 == 0 for place in range(8)]


def test_without_the_dispute_the_sum_would_be_wrong(make_masks: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted server does not compare commitments: what a dropped liar leaves behind spoils the sum unseen."""
    from crypto.protocols.masks.keyring import Keyring

    monkeypatch.setattr(Keyring, "_disputed", lambda keyring, offers: frozenset())
    cheating(monkeypatch, "client005", other_secrets)
    cohort = make_masks(mode="active")
    vectors = cohort.vectors("unseen")
    staying = {name: v for name, v in vectors.items() if name != "client005"}
    outcome = cohort.run(0, staying)
    right = np.sum(list(staying.values()), axis=0)
    assert isinstance(outcome, Abort) or not np.array_equal(outcome.total, right)
    assert outcome.blamed == ()


@pytest.mark.parametrize("mode", ["semi-honest", "active"])
@pytest.mark.parametrize("deal", [false_vault, no_vault])
def test_a_vault_without_what_was_committed_to_is_named_with_evidence(
    deal: Callable[..., Dealt], mode: str, make_masks: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheating(monkeypatch, "client004", deal)
    cohort = make_masks(mode=mode)
    vectors = cohort.vectors("vault")
    cohort.expect(cohort.run(0, vectors), vectors, vectors)
    first = cohort.run(1, {name: v for name, v in vectors.items() if name != "client004"})
    assert isinstance(first, Abort)
    assert first.blamed == ("client004",)
    fault = cohort.parties["server"].faults["client004"]
    assert is_false_dealing(cohort.plan, "client004", fault.dealing)
    assert not is_false_dealing(cohort.plan, "client003", fault.dealing)
    second = cohort.run(2, vectors)
    cohort.expect(second, vectors, set(vectors) - {"client004"})


def test_a_server_makes_no_evidence_of_an_honest_vault(make_masks: Make) -> None:
    cohort = make_masks()
    vectors = cohort.vectors("honest vault")
    cohort.run(0, {name: v for name, v in vectors.items() if name != "client003"})
    spy = Spy.__new__(Spy)
    Spy.__init__(spy, _opened(cohort))
    offer, held = spy.offers[0, 3], dict(sorted(spy.shares[0, 3, PAIR].items())[: cohort.plan.masks.threshold])
    root = recover(lagrange_weights([holder + 1 for holder in held]), list(held.values())) or b""
    holders = spy.setup.holders(3)
    assert agreement_key(root).public == offer.public
    true = write_dealing(holders, offer, PAIR, held)
    assert not is_false_dealing(cohort.plan, "client003", true)
    box = vault.lock(cohort.plan.session, 0, 3, root, [bytes(32)] * 8, system_random)
    for other in (replace(offer.dealt, vault=box), replace(offer.dealt, pairs=bytes(256))):
        forged = write_dealing(holders, replace(offer, dealt=other), PAIR, held)
        assert not is_false_dealing(cohort.plan, "client003", forged)


def _opened(cohort: Cohort) -> Cohort:
    """The cohort as `Spy` takes it: with what the first client shows without its envelope."""
    bare = {name: getattr(party, "_inner", party) for name, party in cohort.parties.items()}
    return replace(cohort, parties=bare)


def other_capsules(cohort: Cohort, name: str, every: bool) -> Callable[[Message], Iterable[Message]]:
    """Sign capsules that give the receivers, or the first of them, keys that the sender does not know."""

    def change(message: Message) -> Iterable[Message]:
        if message.kind != "capsules":
            return (message,)
        setup = next(iter(cohort.parties["client000"].public.of.setups.values()))
        _, joined = unpack_value(message.payload)  # type: ignore[misc]
        me = cohort.plan.clients.index(name)
        capsules = [bytes(joined[at : at + 1088]) for at in range(0, len(joined), 1088)]
        spoiled = [capsule[::-1] if every or not at else capsule for at, capsule in enumerate(capsules)]
        leaves = channels._leaves(cohort.plan, setup, me, spoiled)
        body = pack_value([setup.digest, listing.heads(leaves)])
        mine = write_record(cohort.identities[name], cohort.plan.session, "capsules", body)
        return (replace(message, payload=pack_value([mine, b"".join(spoiled)])),)

    return change


@pytest.mark.parametrize("mode", ["semi-honest", "active"])
@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("every", [False, True])
def test_capsules_that_give_other_keys(every: bool, drops: bool, mode: str, make_masks: Make) -> None:
    """The pairs are disputed and the sum exact, unless too few can open what their author dealt: then it is named."""
    cohort = make_masks(mode=mode, ready=False)
    cohort.parties["client002"] = corrupt(cohort.parties["client002"], other_capsules(cohort, "client002", every))
    cohort.set_up()
    disputed = cohort.parties["server"]._inner._keys.epoch.disputed
    assert disputed == ({(1, 2), (2, 4), (2, 6)} if every else {(1, 2)})
    vectors = cohort.vectors("capsules")
    staying = {name: v for name, v in vectors.items() if not drops or name != "client002"}
    first, second = cohort.run(0, staying), cohort.run(1, staying)
    cohort.expect(second, staying, staying)
    if every and drops:
        assert isinstance(first, Abort)
        assert "could not open" in first.reason
        assert first.blamed == second.blamed == ("client002",)
    else:
        cohort.expect(first, staying, staying)
        assert first.blamed == second.blamed == ()


def test_an_unusable_or_swapped_lattice_key_is_named(make_masks: Make) -> None:
    for lattice in (b"\xff" * 1184, bytes(1184), b"", ChannelKey(system_random).lattice):
        cohort = make_masks(ready=False)

        def change(message: Message, lattice: bytes = lattice) -> Iterable[Message]:
            if message.kind != "open":
                return (message,)
            record, _ = unpack_value(message.payload)  # type: ignore[misc]
            return (replace(message, payload=pack_value([record, lattice])),)

        cohort.parties["client006"] = corrupt(cohort.parties["client006"], change)
        cohort.set_up()
        vectors = cohort.vectors("lattice")
        outcome = cohort.run(0, vectors)
        cohort.expect(outcome, vectors, set(vectors) - {"client006"})
        assert outcome.blamed == ("client006",)


# Servers that cheat, and networks that lose


def intercepted(cohort: Cohort, kind: str, receiver: str) -> Message:
    """The server's message of a kind to one client, which the client has not got."""
    got: list[Message] = []
    before = cohort.lose

    def lose(message: Message) -> bool:
        hit = message.kind == kind and message.receiver == receiver and message.sender == "server"
        if hit:
            got.append(message)
        return hit or before(message)

    cohort.lose = lose
    if not any(message.kind == "hello" for message in cohort.sent):
        cohort.set_up()
    cohort.lose = before
    return got[0]


def test_a_server_cannot_bring_about_a_dispute_of_honest_clients(
    make_masks: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by showing the true commitment, nor another one, nor one of another place."""
    cohort = make_masks("secagg", "active", bare=True, ready=False)
    message = intercepted(cohort, "keys", "client001")
    listed = KeyList.from_bytes(message.payload)
    client = cohort.parties["client001"]
    keyring = cohort.parties["server"]._keys
    dealer = listed.entries[2].dealer
    true = keyring.epoch.offers[dealer].show_pair(1)
    forged = [true, bytes(len(true)), true[:-1] + bytes([true[-1] ^ 1]), true[:32] + bytes(32) + true[64:], true[:64]]
    forged += [keyring.epoch.offers[dealer].show_pair(4) + b"\0", keyring.epoch.offers[5].show_pair(1)]

    def shown(what: bytes) -> Message:
        entries = list(listed.entries)
        entries[2] = replace(entries[2], shown=what)
        return replace(message, payload=replace(listed, entries=tuple(entries)).to_bytes())

    for what in forged:
        assert client.on(shown(what)) == ()
        assert not client.ready
    with monkeypatch.context() as weak:
        weak.setattr(epoch, "read_pair", lambda shown, signed, place, holders: shown[-32:])
        client.on(shown(forged[1]))
        assert client.ready
        assert client._epoch._disputed == {dealer}


def test_a_commitment_is_read_at_its_own_place_only(make_masks: Make) -> None:
    cohort = make_masks(bare=True)
    offer = cohort.parties["server"]._keys.epoch.offers[2]
    signed = offers.read_preamble(
        cohort.plan, cohort.parties["server"]._keys.setup.trust, "client002", offer.record
    ).dealt
    assert read_pair(offer.show_pair(6), signed, 6, 8) == offer.dealt.pair(6) != offer.dealt.pair(5)
    for place, holders in ((64, 8), (6, 65), (8, 8)):
        with pytest.raises(RecordError, match="not the one that was signed"):
            read_pair(offer.show_pair(6), signed, place, holders)


def test_a_server_cannot_swap_a_capsule_or_a_lattice_key(make_masks: Make) -> None:
    """Planted: capsules of another client, made up, moved, doubled or for another receiver; nothing follows of them."""
    cohort = make_masks(bare=True, ready=False)
    message = intercepted(cohort, "capsules", "client004")
    client = cohort.parties["client004"]
    entries = [unpack_value(entry) for entry in unpack_value(message.payload)]  # type: ignore[attr-defined, arg-type]
    setup = next(iter(client.public.setups.values()))
    fresh, _ = ChannelKey(system_random).begin(
        setup.sealings[4], client._enrolment.sealing.lattice, (cohort.plan.session, setup.digest, entries[0][0], 4)
    )
    changes: list[Callable[[list[Any]], Any]] = [
        lambda e: [*e[:3], fresh],
        lambda e: [*e[:3], entries[1][3]],
        lambda e: [entries[1][0], *e[1:]],
        lambda e: [4, *e[1:]],
        lambda e: [99, *e[1:]],
        lambda e: [e[0], entries[1][1], *e[2:]],
        lambda e: [*e[:2], entries[1][2], e[3]],
        lambda e: e[:3],
    ]
    for change in changes:
        altered = [change(entries[0]), *entries[1:]]
        payload = pack_value([pack_value(entry) for entry in altered])
        assert client.on(replace(message, payload=payload)) == ()
        assert not client._enrolment.channels
    doubled = pack_value([pack_value(entry) for entry in (entries[0], *entries)])
    assert client.on(replace(message, payload=doubled)) == ()
    assert [item.kind for item in client.on(message)] == ["offer"]
    assert client.on(message) == ()
    again = make_masks(bare=True, ready=False)
    lattices = intercepted(again, "lattices", "client004")
    keys = unpack_value(lattices.payload)
    assert isinstance(keys, list)
    other = ChannelKey(system_random).lattice
    for swapped in ([other, *keys[1:]], keys[::-1], keys[1:], [], None):
        assert again.parties["client004"].on(replace(lattices, payload=pack_value(swapped))) == ()
    (capsules,) = again.parties["client004"].on(lattices)
    assert capsules.kind == "capsules"
    assert again.parties["client004"].on(lattices) == ()


@pytest.mark.parametrize("withheld", [0, 1])
def test_a_client_without_a_channel_masks_nothing(withheld: int, make_masks: Make) -> None:
    """A server that withholds one capsule, and lists its author all the same, is refused: nothing rests on X25519."""
    cohort = make_masks(bare=True, ready=False)
    message = intercepted(cohort, "capsules", "client004")
    entries = unpack_value(message.payload)
    assert isinstance(entries, list)
    for item in cohort.parties["client004"].on(replace(message, payload=pack_value(entries[withheld:]))):
        cohort.give("server", item)
    cohort.give("server", Begin(0, "update"))
    assert cohort.parties["client003"].ready
    assert cohort.parties["client004"].ready == (not withheld)


def test_the_messages_of_the_set_up_may_pass_each_other(make_masks: Make) -> None:
    cohort = make_masks(bare=True, ready=False)
    openings = intercepted(cohort, "lattices", "client004")
    again = make_masks(bare=True, ready=False)
    held: list[Message] = []

    def lose(message: Message) -> bool:
        late = message.kind == "openings" and not held
        if late:
            held.append(message)
        return late

    again.lose = lose
    again.set_up()
    vectors = again.vectors("passing")
    again.carry(held)
    again.expect(again.run(0, vectors), vectors, vectors)
    assert openings.receiver == "client004"


@pytest.mark.parametrize("kind", ["lattices", "capsules"])
@pytest.mark.parametrize("lost", ["client000", "client007"])
def test_who_gets_no_keys_is_absent_and_the_others_go_on(kind: str, lost: str, make_masks: Make) -> None:
    cohort = make_masks(mode="active", ready=False)
    cohort.lose = lambda message: message.kind == kind and message.receiver == lost
    cohort.set_up()
    for _ in range(2):
        cohort.give("server", Deadline(0, "-"))
    for number in range(2):
        vectors = cohort.vectors(f"{kind} {number}")
        outcome = cohort.run(number, vectors)
        cohort.expect(outcome, vectors, set(vectors) - {lost})
        assert outcome.blamed == ()


def test_too_few_capsules_end_the_set_up(make_masks: Make) -> None:
    cohort = make_masks(ready=False)
    gone = ("client001", "client002", "client003")
    cohort.lose = lambda message: message.kind == "capsules" and message.sender in gone
    cohort.set_up()
    cohort.give("server", Deadline(0, "-"))
    outcome = cohort.run(0, cohort.vectors("few"))
    assert isinstance(outcome, Abort)
    assert "5 clients made capsules, the plan demands 6" in outcome.reason


@pytest.mark.parametrize(("protocol", "n", "corrupt"), [("secagg", 1000, 100), ("secagg", 4096, 4000)])
def test_the_plan_leaves_room_for_capsules_and_disputes(protocol: str, n: int, corrupt: int) -> None:
    from crypto import Upload, plan
    from crypto.keys.roster import PROOF_BYTES

    made = plan(
        protocol, [f"c{place}" for place in range(n)], [Upload(name="u", length=1, bound=1)], 1, 0, corrupt=corrupt
    )
    most = n // 2 + 1
    shown = len(listing.part(bytes(32 * most), 0))
    each = PROOF_BYTES + 64 + len(listing.heads(bytes(32 * most))) + shown + 1088
    assert most * each <= made.largest_payload
    assert most * 1088 + 1024 <= made.largest_payload
    dispute = 64 + len(listing.heads(bytes(32 * n))) + len(listing.part(bytes(32 * n), 0))
    assert n * 400 + corrupt * dispute <= made.largest_payload


def test_half_of_the_neighbours_make_the_capsule(make_masks: Make) -> None:
    cohort = make_masks("secagg+", n=60, dropouts=2, bare=True)
    setup = next(iter(cohort.parties["client000"].public.setups.values()))
    for one, near in setup.neighbours.items():
        assert all(begins(one, other) != begins(other, one) for other in near)
    counts = [len(receivers(setup, one)) for one in setup.neighbours]
    assert sum(counts) == 60 * cohort.plan.masks.neighbours // 2
    # A member makes those of all its eight neighbours once in 256 times; a quarter of them never do.
    assert sum(count == cohort.plan.masks.neighbours for count in counts) < 15
    vectors = cohort.vectors("half")
    cohort.lose = lambda message: message.kind == "masked" and message.sender in ("client007", "client030")
    cohort.expect(cohort.run(0, vectors), vectors, set(vectors) - {"client007", "client030"})
    answers = [Shares.from_bytes(message.payload) for message in cohort.sent if message.kind == "shares"]
    assert {kind for answer in answers for dealer, kind, _ in answer.triples if dealer in (7, 30)} == {PAIR}
