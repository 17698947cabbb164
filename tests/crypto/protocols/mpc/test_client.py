from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import Abort, Aggregate, Begin, Deadline, Message, Plan, Upload, open_client, plan
from crypto.errors import SealError, SubmissionRefused
from crypto.keys.randomness import KeyedStream, system_random
from crypto.keys.sealed import BoxKey
from crypto.protocols.envelope import SharedPublic
from crypto.protocols.mpc.client import MpcClient, expand
from crypto.protocols.mpc.servers import EARLY, ComputeServer, MpcServer
from crypto.protocols.session import ClientSession, Opened
from crypto.running.driver import deliver, set_up
from crypto.running.rehearsal import OpenerEnd, OpenerPair, rehearse
from crypto.wire.messages import Item
from crypto.wire.values import pack_value

Vector = npt.NDArray[np.int64]


@dataclass
class Counted:
    """One end of a pair of openers, counting how often a sum was opened."""

    inner: OpenerEnd
    calls: int = 0

    def offer(self, digest: bytes, shares: Vector) -> None:
        self.inner.offer(digest, shares)

    def withdraw(self, digest: bytes) -> None:
        self.inner.withdraw(digest)

    def open(self, digest: bytes, norm_bounds: tuple[int, ...], least: int) -> Opened | None:
        self.calls += 1
        return self.inner.open(digest, norm_bounds, least)


@dataclass
class Set:
    plan: Plan
    clients: dict[str, MpcClient]
    server: MpcServer
    compute: tuple[ComputeServer, ComputeServer]
    ends: tuple[Counted, Counted]

    def reveal(self, *messages: Message) -> list[Message]:
        """Deliver the "reveal" messages and the "ready" ones that follow; return the answers for the server."""
        first = [
            as_message(item)
            for party, message in zip(self.compute, messages, strict=True)
            for item in party.on(message)
        ]
        ready = [message for message in first if message.kind == "ready"]
        other = {"compute0": self.compute[0], "compute1": self.compute[1]}
        then = [as_message(item) for message in ready for item in other[message.receiver].on(message)]
        return [message for message in (*first, *then) if message.receiver == "server"]

    def share(self, name: str, vector: Vector, only: tuple[int, ...] = (0, 1)) -> tuple[Item, ...]:
        """Deliver one client's shares to the computing servers `only`; return what the server then says."""
        return self.deliver(self.clients[name].submit(0, "g", vector), only)

    def deliver(self, messages: tuple[Message, ...], only: tuple[int, ...] = (0, 1)) -> tuple[Item, ...]:
        out: tuple[Item, ...] = ()
        for rank, message in enumerate(messages):
            if rank in only:
                (have,) = self.compute[rank].on(message)
                out = self.server.on(as_message(have))
        return out

    def finish(self, asks: tuple[Item, ...]) -> Item:
        """Reveal and return the server's outcome."""
        said = [item for answer in self.reveal(*map(as_message, asks)) for item in self.server.on(answer)]
        return said[-1]


def as_message(item: Item) -> Message:
    assert isinstance(item, Message)
    return item


def make_kit(upload: Upload) -> Set:
    made = plan("mpc", ("a", "b", "c"), (upload,), 3, max_dropouts=1)
    pair = OpenerPair()
    ends = (Counted(pair.end(0)), Counted(pair.end(1)))
    compute = (
        ComputeServer(made, "compute0", system_random, ends[0]),
        ComputeServer(made, "compute1", system_random, ends[1]),
    )
    clients = {name: MpcClient(made, name, system_random) for name in made.clients}
    for party in compute:
        for client in clients.values():
            client.on(as_message(party.start()[0]))
    server = MpcServer(made)
    server.on(Begin(0, "g"))
    return Set(made, clients, server, compute, ends)


@pytest.fixture
def kit() -> Set:
    return make_kit(Upload(name="g", length=4, bound=2**40))


def ones(factor: int = 1) -> Vector:
    return np.full(4, factor, dtype=np.int64)


def test_three_clients_are_summed(kit: Set) -> None:
    assert kit.share("a", ones(-(2**40))) == ()
    assert kit.share("b", ones(5)) == ()
    asks = [as_message(item) for item in kit.share("c", ones(7))]
    assert [ask.receiver for ask in asks] == ["compute0", "compute1"]
    answers = kit.reveal(*asks)
    assert kit.server.on(answers[0]) == ()
    (outcome,) = kit.server.on(answers[1])
    assert isinstance(outcome, Aggregate)
    assert outcome.total.tolist() == [12 - 2**40] * 4


def test_a_client_that_reached_one_computing_server_is_left_out(kit: Set) -> None:
    kit.share("a", ones(1))
    kit.share("b", ones(2), only=(1,))
    kit.share("c", ones(4))
    asks = [as_message(item) for item in kit.server.on(Deadline(0, "g"))]
    answers = kit.reveal(*asks)
    (outcome,) = (*kit.server.on(answers[0]), *kit.server.on(answers[1]))
    assert isinstance(outcome, Aggregate)
    assert outcome.contributors == ("a", "c")
    assert outcome.total.tolist() == [5] * 4


def test_different_lists_open_nothing(kit: Set) -> None:
    for name in ("a", "b"):
        kit.share(name, ones())
    asks = [as_message(item) for item in kit.share("c", ones())]
    answers = kit.reveal(asks[0], replace(asks[1], payload=pack_value(["a", "b"])))
    assert [answer.kind for answer in answers] == ["refused", "refused"]
    assert [end.calls for end in kit.ends] == [0, 0]
    *tells, outcome = kit.server.on(answers[0])
    assert isinstance(outcome, Abort)
    assert "different shares or lists" in outcome.reason
    assert [as_message(item).kind for item in tells] == ["forget", "forget"]


def test_a_missing_share_opens_nothing(kit: Set) -> None:
    kit.share("a", ones())
    kit.share("b", ones(), only=(0,))
    lists = Message(
        sender="server",
        receiver="",
        kind="reveal",
        session=kit.plan.session,
        round=0,
        upload="g",
        payload=pack_value(["a", "b"]),
    )
    answers = kit.reveal(replace(lists, receiver="compute0"), replace(lists, receiver="compute1"))
    assert [(answer.sender, answer.kind) for answer in answers] == [("compute1", "refused")]
    assert [end.calls for end in kit.ends] == [0, 0]


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "z"], [], "ab", [1, 2], None])
def test_bad_lists_never_reach_the_opening(kit: Set, names: object) -> None:
    for name in ("a", "b"):
        kit.share(name, ones())
    ask = Message(
        sender="server",
        receiver="compute0",
        kind="reveal",
        session=kit.plan.session,
        round=0,
        upload="g",
        payload=pack_value(names),
    )
    for party in kit.compute:
        (answer,) = party.on(ask)
        assert as_message(answer).kind == "refused"
    assert [end.calls for end in kit.ends] == [0, 0]


def test_a_sum_is_opened_once(kit: Set) -> None:
    for name in ("a", "b"):
        kit.share(name, ones())
    asks = [as_message(item) for item in kit.share("c", ones())]
    kit.reveal(*asks)
    assert [party.on(ask) for party, ask in zip(kit.compute, asks, strict=True)] == [(), ()]
    for rank, party in enumerate(kit.compute):
        ready = Message(
            sender=f"compute{1 - rank}",
            receiver=party.name,
            kind="ready",
            session=kit.plan.session,
            round=0,
            upload="g",
            payload=bytes(32),
        )
        assert party.on(ready) == ()
    assert [end.calls for end in kit.ends] == [1, 1]


def test_sums_that_differ_between_the_servers_abort(kit: Set) -> None:
    for name in ("a", "b"):
        kit.share(name, ones())
    asks = [as_message(item) for item in kit.share("c", ones())]
    first, second = kit.reveal(*asks)
    kit.server.on(replace(first, payload=bytes(32)))
    *_, outcome = kit.server.on(second)
    assert isinstance(outcome, Abort)
    assert "different sums" in outcome.reason


def test_forget_drops_the_shares(kit: Set) -> None:
    kit.share("a", ones())
    *tells, outcome = kit.server.on(Deadline(0, "g"))
    assert isinstance(outcome, Abort)
    for party, tell in zip(kit.compute, tells, strict=True):
        assert party.on(as_message(tell)) == ()
        assert party._shares == {}


def test_lost_answers_end_in_an_abort(kit: Set) -> None:
    for name in kit.plan.clients:
        asks = kit.share(name, ones())
    assert kit.server.on(Deadline(0, "g")) == ()
    (ready,) = kit.compute[0].on(as_message(asks[0]))
    *tells, outcome = kit.server.on(Deadline(0, "g"))
    assert isinstance(outcome, Abort)
    assert "did not answer" in outcome.reason
    for party, tell in zip(kit.compute, tells, strict=True):
        assert party.on(as_message(tell)) == ()
    assert kit.compute[1].on(as_message(ready)) == ()
    assert kit.compute[0].on(replace(as_message(ready), sender="compute1")) == ()
    assert [end.calls for end in kit.ends] == [0, 0]


def poison(kit: Set, name: str, vector: Vector, noise: Vector) -> tuple[Message, ...]:
    """What a client sends that does not clip: its own session would refuse."""
    return kit.clients[name]._split(0, "g", np.concatenate([vector, noise]), b"")


WRAPPING = np.array([2**32, 0, 0, 0])
BOUNDED = Upload(name="g", length=4, bound=1000, noise_bound=300, norm_bound=1000, noise_norm_bound=300)


@pytest.mark.parametrize(
    ("vector", "noise"),
    [
        (ones(50_000), ones(0)),
        (WRAPPING, ones(0)),
        (ones(0), ones(50_000)),
        (ones(0), WRAPPING),
        (ones(-(2**63)), ones(0)),
    ],
    ids=["100-times", "wraps", "in-the-noise", "wraps-in-the-noise", "extreme"],
)
def test_poisoned_updates_do_not_move_the_sum(vector: Vector, noise: Vector) -> None:
    kit = make_kit(BOUNDED)
    kit.deliver(kit.clients["a"].submit_apart(0, "g", ones(500), ones(-7)))
    kit.deliver(poison(kit, "b", vector, noise))
    asks = kit.deliver(kit.clients["c"].submit_apart(0, "g", ones(-500), ones(150)))
    outcome = kit.finish(asks)
    assert isinstance(outcome, Aggregate)
    assert outcome.contributors == ("a", "c")
    assert outcome.total.tolist() == [143] * 4


def test_too_few_accepted_vectors_abort() -> None:
    kit = make_kit(BOUNDED)
    kit.share("a", ones(5))
    for name in ("b", "c"):
        asks = kit.deliver(poison(kit, name, ones(50_000), ones(0)))
    outcome = kit.finish(asks)
    assert isinstance(outcome, Abort)
    assert "1 of 3 vectors keep the norm's bound" in outcome.reason


def test_clients_refuse_what_would_not_be_accepted() -> None:
    kit = make_kit(BOUNDED)
    client = kit.clients["a"]
    with pytest.raises(SubmissionRefused, match="vector has norm 1002"):
        client.submit(0, "g", ones(501))
    with pytest.raises(SubmissionRefused, match="noise share has norm 302"):
        client.submit_apart(1, "g", ones(1), ones(151))
    with pytest.raises(SubmissionRefused, match="int64"):
        client.submit_apart(1, "g", ones(1), np.ones(4))  # type: ignore[arg-type]
    assert len(client.submit_apart(1, "g", ones(500), ones(150))) == 2


@pytest.mark.parametrize("edit", [{"sender": "b"}, {"round": 1}, {"payload": b""}, {"payload": bytes(96)}])
def test_relabelled_or_altered_shares_are_refused(kit: Set, edit: dict[str, object]) -> None:
    seed, _ = kit.clients["a"].submit(0, "g", ones())
    (answer,) = kit.compute[0].on(replace(seed, **edit))  # type: ignore[arg-type]
    assert as_message(answer).kind == "bad"
    assert [as_message(item).kind for item in kit.compute[1].on(seed)] == ["bad"]
    assert len(kit.compute[0].on(seed)) == 1


@given(st.lists(st.integers(-(2**40), 2**40), min_size=4, max_size=4))
def test_shares_add_up_to_the_vector(values: list[int]) -> None:
    made = plan("mpc", ("a", "b"), (Upload(name="g", length=4, bound=2**40),), 1)
    keys = {role: BoxKey(system_random) for role in ("compute0", "compute1")}
    client = open_client(made, "a", public=SharedPublic(made.digest, {role: key.public for role, key in keys.items()}))
    vector = np.array(values)
    opened = {}
    for message in client.submit(0, "g", vector, model=b"model"):
        context = (made.session, 0, "g", b"model", "a", message.receiver)
        assert message.payload[:6] == b"\x05model"
        opened[message.receiver] = keys[message.receiver].open(message.payload[6:], context)
        other = "compute1" if message.receiver == "compute0" else "compute0"
        with pytest.raises(SealError):
            keys[other].open(message.payload[6:], context)
        with pytest.raises(SealError):
            keys[message.receiver].open(message.payload[6:], (*context[:3], b"other", *context[4:]))
    total = expand(opened["compute0"], 4) + np.frombuffer(opened["compute1"], dtype="<i8")
    assert total.tolist() == values


def test_each_share_alone_is_a_mask_independent_of_the_vector() -> None:
    # The same random bytes, two vectors: compute0's shares are equal, compute1's differ by the vectors only.
    made = plan("mpc", ("a", "b"), (Upload(name="g", length=4, bound=100),), 1)
    keys = {role: BoxKey(system_random) for role in ("compute0", "compute1")}
    public = {role: key.public for role, key in keys.items()}
    shares = []
    for vector in (ones(3), ones(-50)):
        client = open_client(made, "a", random=KeyedStream(bytes(32)), public=SharedPublic(made.digest, public))
        sent = client.submit(0, "g", vector)
        shares.append(
            [keys[m.receiver].open(m.payload[1:], (made.session, 0, "g", b"", "a", m.receiver)) for m in sent]
        )
    assert shares[0][0] == shares[1][0]
    rest = [np.frombuffer(pair[1], dtype="<i8") for pair in shares]
    assert (rest[0] - rest[1]).tolist() == [53] * 4


def test_submitting_before_the_keys_is_refused() -> None:
    made = plan("mpc", ("a", "b"), (Upload(name="g", length=4, bound=100),), 1)
    client = open_client(made, "a")
    assert client.public is None
    with pytest.raises(SubmissionRefused, match="keys have not arrived"):
        client.submit(0, "g", ones())


@pytest.mark.parametrize("rank", [0, 1])
def test_who_sends_a_share_that_cannot_be_used_is_named_and_left_out(kit: Set, rank: int) -> None:
    sent = list(kit.clients["b"].submit(0, "g", ones()))
    sent[rank] = replace(sent[rank], payload=sent[rank].payload[:-1])
    assert kit.deliver(tuple(sent)) == ()
    kit.share("a", ones())
    outcome = kit.finish(kit.share("c", ones(5)))
    assert isinstance(outcome, Aggregate)
    assert outcome.total.tolist() == [6] * 4
    assert (outcome.contributors, outcome.blamed) == (("a", "c"), ("b",))
    assert "cannot use" in kit.server.faults["b"].reason


def test_who_names_two_models_is_named_and_left_out(kit: Set) -> None:
    one, _ = kit.clients["b"].submit(0, "g", ones(), b"one")
    kit.clients["b"]._submissions._done.clear()
    _, other = kit.clients["b"].submit(0, "g", ones(), b"other")
    assert kit.deliver((one, other)) == ()
    kit.share("a", ones())
    outcome = kit.finish(kit.share("c", ones(5)))
    assert isinstance(outcome, Aggregate)
    assert (outcome.contributors, outcome.blamed) == (("a", "c"), ("b",))


def test_shares_of_sums_that_never_begin_are_bounded() -> None:
    """Of what has not begun the newest few are kept, and count once it begins."""
    made = plan("mpc", ("a", "b", "c"), (Upload(name="g", length=4, bound=9),), 1000, max_dropouts=1)
    parties = rehearse(made)
    set_up(parties)
    inner = parties["compute1"]._inner  # type: ignore[attr-defined]
    client = parties["a"]
    assert isinstance(client, ClientSession)
    for number in range(100):
        deliver(parties, client.submit(number, "g", ones()))
        kept = [key for key, shares in inner._shares.items() if shares]
        assert kept == [(at, "g") for at in range(max(0, number + 1 - EARLY), number + 1)]
    for number in (98, 200):
        outcomes = deliver(parties, (), inputs={"server": (Begin(number, "g"),)})
        for name in made.clients:
            other = parties[name]
            assert isinstance(other, ClientSession)
            if (name, number) != ("a", 98):
                outcomes += deliver(parties, other.submit(number, "g", ones()))
        (outcome,) = outcomes
        assert isinstance(outcome, Aggregate)
        assert outcome.total.tolist() == [3] * 4
