"""Two sums at one model, the second without one client: refused by whoever opens sums, whatever the protocol."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from crypto import Abort, Aggregate, Begin, Deadline, Upload, host_parties, open_client, plan, set_up
from crypto.errors import SubmissionRefused
from crypto.protocols.session import ClientSession
from crypto.running.driver import MAX_DEADLINES, Outcome, Party, deliver
from crypto.running.rehearsal import rehearse

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
    parties = rehearse(made)
    set_up(parties)
    yield parties


@pytest.fixture(params=["bfv", "mpc", "secagg", "secagg+"])
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
