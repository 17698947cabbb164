"""Two sums at one model, the second without one client: refused by whoever opens sums, whatever the protocol."""

from collections.abc import Iterator, Mapping
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest

from crypto import (
    Abort,
    Aggregate,
    Begin,
    Deadline,
    Upload,
    host_parties,
    make_identities,
    open_client,
    open_party,
    plan,
    plan_roles,
    set_up,
)
from crypto.errors import SubmissionRefused
from crypto.keys.roster import Roster
from crypto.protocols.bookkeeping import Released
from crypto.protocols.masks import FileJournal
from crypto.protocols.session import ClientSession
from crypto.running.driver import MAX_DEADLINES, Outcome, Party, deliver
from crypto.running.rehearsal import rehearse
from crypto.testing import smallest_exposed

NAMES = ("ada", "bob", "cyd", "dan", "eve")
ONE, TWO = b"digest of a model", b"digest of another"
Parties = Mapping[str, Party]


def run(parties: Parties, number: int, models: Mapping[str, bytes]) -> Outcome:
    """One sum in which each client named submits its own vector, at the model given."""
    outcomes = deliver(parties, (), inputs={"server": (Begin(number, "g"),)})
    for name, model in models.items():
        client = parties[name]
        assert isinstance(client, ClientSession)
        vector = np.full(3, 10 ** NAMES.index(name))
        outcomes += deliver(parties, client.submit(number, "g", vector, model=model))
    for _ in range(MAX_DEADLINES):
        if not outcomes:
            outcomes += deliver(parties, (), inputs={"server": (Deadline(number, "g"),)})
    (outcome,) = outcomes
    return outcome


def parties_of(protocol: str) -> Iterator[Parties]:
    made = plan(protocol, NAMES, (Upload(name="g", length=3, bound=10**5),), 10, max_dropouts=2)
    identities = make_identities((*NAMES, *made.roles))
    if protocol.startswith("helper"):
        made = made.pinned(Roster.of(identities.values()))
    parties = rehearse(made, identities)
    set_up(parties)
    yield parties


@pytest.fixture(params=["bfv", "mpc", "secagg", "secagg+", "helper", "helper-2-of-3"])
def parties(request: pytest.FixtureRequest) -> Iterator[Parties]:
    yield from parties_of(request.param)


def at(model: bytes, *left_out: str) -> dict[str, bytes]:
    return {name: model for name in NAMES if name not in left_out}


def test_a_second_sum_at_one_model_is_refused(parties: Parties) -> None:
    assert isinstance(run(parties, 0, at(ONE)), Aggregate)
    refused = run(parties, 1, at(ONE, "cyd"))
    assert isinstance(refused, Abort)
    assert isinstance(run(parties, 2, at(ONE)), Abort)
    other = run(parties, 3, at(TWO))
    assert isinstance(other, Aggregate)
    assert other.total.tolist() == [11111] * 3


@pytest.mark.parametrize("protocol", ["bfv", "mpc"])
def test_three_sums_that_differ_by_many_give_one_client_away(protocol: str) -> None:
    """A+B, A and B+v: every two differ by four clients or more, and S2 + S3 - S1 is v's vector."""
    names = [f"c{i}" for i in range(9)]
    made = plan(protocol, names, (Upload(name="g", length=3, bound=100),), 10, max_dropouts=5)
    parties = rehearse(made)
    set_up(parties)
    opened = []
    for number, cohort in enumerate((names[:8], names[:4], names[4:])):
        outcomes = deliver(parties, (), inputs={"server": (Begin(number, "g"),)})
        for name in names:
            client = parties[name]
            assert isinstance(client, ClientSession)
            sent = client.submit(number, "g", np.ones(3, dtype=np.int64), model=ONE) if client.ready else ()
            outcomes += deliver(parties, sent if name in cohort else ())
        for _ in range(MAX_DEADLINES):
            outcomes = outcomes or deliver(parties, (), inputs={"server": (Deadline(number, "g"),)})
        opened += [cohort for outcome in outcomes if isinstance(outcome, Aggregate)]
    assert opened == [names[:8]]
    cohorts = [range(8), range(4), range(4, 9)]
    assert {smallest_exposed(cohorts, 9, modulus=modulus) for modulus in (0, 2**64, 2**61 - 1)} == {1}


@pytest.mark.parametrize("corrupt", [0, 1])
def test_accepted_cohorts_speak_of_no_fewer_clients_than_a_sum(corrupt: int) -> None:
    """Every order in which three cohorts can be asked for, computed exactly; two honest clients make a sum."""
    clients, least = 5 + corrupt, 2 + corrupt
    cohorts = [c for size in range(least, clients + 1) for c in combinations("abcdef"[:clients], size)]
    tried = 0
    for order in permutations(cohorts, 3):
        released = Released("someone")
        opened = [[ord(x) - 97 for x in c] for i, c in enumerate(order) if not released.take(i, "g", ONE, c)]
        if len(opened) > 1:
            tried += 1
            known = range(corrupt)
            fewest = [smallest_exposed(opened, clients, known, modulus) for modulus in (0, 2**64)]
            assert min(fewest) >= least - corrupt
    assert tried > 100


def test_cohorts_are_disjoint_at_a_round_whatever_the_model_and_at_a_model_whatever_the_round(tmp_path: Path) -> None:
    released = Released("holder", FileJournal(tmp_path / "journal"))
    assert not released.take(0, "g", ONE, "abc")
    assert "round 0" in released.take(0, "g", TWO, "cd")
    assert "this model" in released.take(1, "g", ONE, "cd")
    assert not released.take(0, "g", ONE, "de")
    assert not released.take(1, "g", TWO, "abc")
    assert not released.take(1, "h", TWO, "abc")
    assert not released.take(2, "g", b"", "abc")
    assert not released.take(3, "g", b"", "abc")
    assert "round 3" in released.take(3, "g", ONE + b"!", "ax")


def test_a_later_session_remembers_the_cohorts(tmp_path: Path) -> None:
    for session, refused in ((0, False), (1, True)):
        journal = FileJournal(tmp_path / "journal")
        released = Released("holder", journal)
        assert bool(released.take(session, "g", ONE, "bc" if refused else "abc")) is refused
        assert not released.take(5 + session, "g", TWO + bytes([session]), "abc")
        journal.close()


@pytest.mark.parametrize("protocol", ["bfv", "secagg"])
def test_a_journal_outlives_the_session_of_whoever_opens_sums(protocol: str, tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    for _ in range(2):
        made = plan(protocol, NAMES, (Upload(name="g", length=3, bound=10**5),), 10, max_dropouts=2)
        journals = {name: FileJournal(tmp_path / name) for name in (*NAMES, *plan_roles(made))}
        parties: dict[str, Party] = {name: open_client(made, name, journal=journals[name]) for name in NAMES}
        parties |= {role: open_party(made, role, journal=journals[role]) for role in plan_roles(made)}
        set_up(parties)
        outcomes += [run(parties, 0, at(ONE)), run(parties, 1, at(TWO + bytes([len(outcomes)])))]
        for journal in journals.values():
            journal.close()
    assert [type(outcome) for outcome in outcomes] == [Aggregate, Aggregate, Abort, Aggregate]


def test_without_a_digest_the_difference_is_there(parties: Parties) -> None:
    first, second = run(parties, 0, at(b"")), run(parties, 1, at(b"", "cyd"))
    assert isinstance(first, Aggregate)
    assert isinstance(second, Aggregate)
    assert (first.total - second.total).tolist() == [100] * 3


def test_vectors_of_two_models_are_never_added(parties: Parties) -> None:
    outcome = run(parties, 0, at(ONE) | {"bob": TWO})
    if isinstance(outcome, Aggregate):
        assert outcome.contributors == ("ada", "cyd", "dan", "eve")
        assert outcome.total.tolist() == [11101] * 3
    # A key holder opens what is listed or nothing: it refuses.
    else:
        assert "models" in outcome.reason


def test_a_plain_sum_refuses_nothing() -> None:
    (parties,) = parties_of("plain")
    assert isinstance(run(parties, 0, at(ONE)), Aggregate)
    assert isinstance(run(parties, 1, at(ONE, "cyd")), Aggregate)


def test_it_holds_in_processes_of_their_own() -> None:
    made = plan("mpc", NAMES, (Upload(name="g", length=3, bound=10**5),), 4, max_dropouts=2)
    with host_parties(made) as hosted:
        parties: dict[str, Party] = {name: open_client(made, name) for name in NAMES}
        parties |= hosted.parties
        set_up(parties)
        assert isinstance(run(parties, 0, at(ONE)), Aggregate)
        assert isinstance(run(parties, 1, at(ONE, "cyd")), Abort)
        assert isinstance(run(parties, 2, at(TWO, "cyd")), Aggregate)


@pytest.mark.parametrize("protocol", ["plain", "bfv", "mpc", "secagg", "secagg+"])
def test_a_long_digest_is_refused(protocol: str) -> None:
    (parties,) = parties_of(protocol)
    client = parties["ada"]
    assert isinstance(client, ClientSession)
    with pytest.raises(SubmissionRefused, match="65 bytes"):
        client.submit(0, "g", np.ones(3, dtype=np.int64), model=bytes(65))
