"""What one client costs a process does not grow with the number of clients."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from crypto import Identity, Roster, Upload, make_identities, plan
from crypto.keys import roster
from crypto.keys.roster import Trust
from crypto.opening import open_client
from crypto.planning.plans import Plan
from crypto.wire.messages import Message
from secure_fcl.config import Config
from secure_fcl.engines import host as playing
from secure_fcl.engines.commands import Keys, Open, Sent, Simulated, Visit
from secure_fcl.engines.host import ClientHost
from secure_fcl.engines.identities import identities
from secure_fcl.engines.parties import party_of
from secure_fcl.running.prepare import prepare

FEW, MANY = 200, 1600


def agreed(protocol: str, clients: int) -> tuple[Plan, dict[str, Identity]]:
    upload = Upload(name="update", length=8, bound=100)
    loose = plan(protocol, [f"client{k}" for k in range(clients)], [upload], rounds=1)
    known = make_identities((*loose.clients, *loose.roles))
    return loose.pinned(Roster.of(known.values())), known


def bytes_each(protocol: str, clients: int) -> float:
    """Bytes that one more open session takes, measured over a hundred."""
    made, known = agreed(protocol, clients)
    first = open_client(made, "client0", identity=known["client0"])
    tracemalloc.start()
    held = [open_client(made, f"client{k}", identity=known[f"client{k}"]) for k in range(1, 101)]
    size = tracemalloc.get_traced_memory()[0] / len(held)
    tracemalloc.stop()
    assert first.name == "client0"
    return size


@pytest.mark.parametrize("protocol", ["plain", "helper"])
def test_a_session_is_as_large_among_many_clients_as_among_few(protocol: str) -> None:
    assert bytes_each(protocol, MANY) < 1.2 * bytes_each(protocol, FEW)


def test_believing_a_roster_copies_nothing_and_learning_still_pins_the_first_key() -> None:
    ours, theirs = Identity.new("a"), Identity.new("a")
    learning, pinned = Trust(), Trust(Roster.of([ours]))
    for trust in (learning, pinned):
        assert trust.holds("a", b"said", ours.prove(b"said"))
        assert not trust.holds("a", b"said", theirs.prove(b"said"))
        assert trust.key_of("a") == ours.public
    assert not pinned.holds("b", b"said", theirs.prove(b"said"))
    assert not learning.holds("b", b"said", ours.prove(b"said"))
    assert pinned.key_of("b") is None


def test_clients_that_train_a_few_at_a_time_send_what_all_at_once_send(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prepared = prepare(make_config('rows=["finetune"]'))
    (row, multiplier) = prepared.rows[0]
    everybody, found = [party_of(k) for k in range(5)], []
    for together in (1 << 22, 1):
        monkeypatch.setattr(playing, "TOGETHER", together)
        host = ClientHost()
        given = Simulated(noise_multiplier=multiplier, charged=(), secret=bytes(32))
        list(host.answer(dict.fromkeys(everybody, Open(row=row.name, config=row.config, simulated=given))))
        with identities(row.secure_plan(), "", "active") as known:
            host._identities = known.folder
            list(host.answer(dict.fromkeys(everybody, Keys(plan=known.plan, items=()))))
            visit = Visit(slot=0, round=0, retired=frozenset(), state=row.strategy.initial())
            sent = {each.party: each.of(Sent).items for each in host.answer(dict.fromkeys(everybody, visit))}
        assert list(sent) == everybody
        found.append([item.payload for party in everybody for item in sent[party] if isinstance(item, Message)])
    assert found[0] == found[1]
    assert len(set(found[0])) == 5


def test_a_signature_that_held_is_not_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Identity.new("a")
    trust, proof = Trust(Roster.of([ours])), ours.prove(b"said")
    calls: list[object] = []
    verify = roster.Ed25519PublicKey.from_public_bytes
    monkeypatch.setattr(roster, "Ed25519PublicKey", Counting(verify, calls))
    assert [trust.holds("a", b"said", proof) for _ in range(3)] == [True] * 3
    assert len(calls) == 1
    for data, shown in ((b"sai", b"d" + proof), (b"said ", proof), (b"said", proof[:-1] + bytes([proof[-1] ^ 1]))):
        assert not trust.holds("a", data, shown)
    assert not trust.holds("b", b"said", proof)
    monkeypatch.setattr(roster, "MOST_VERIFIED", 2)
    for number in range(5):
        assert trust.holds("a", bytes([number]), ours.prove(bytes([number])))
    assert len(trust._verified) <= 2


class Counting:
    """`Ed25519PublicKey`, as far as `Trust` uses it, that counts how often a signature is verified."""

    def __init__(self, real: Callable[[bytes], object], calls: list[object]) -> None:
        self._real, self._calls = real, calls

    def from_public_bytes(self, key: bytes) -> object:
        self._calls.append(key)
        return self._real(key)
