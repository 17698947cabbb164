from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Barrier

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import Abort, Aggregate, Begin, Deadline, Message, Plan, Upload, open_client, plan
from crypto.errors import SealError, SubmissionRefused
from crypto.messages import Item
from crypto.mpc import ComputeServer, MpcServer, expand
from crypto.protocol import ClientSession
from crypto.randomness import KeyedStream, system_random
from crypto.sealed import BoxKey
from crypto.wire import pack_value

Vector = npt.NDArray[np.int64]


@dataclass
class ThreadPair:
    """Two openers in two threads that meet at a barrier, in place of CrypTen's two processes."""

    barrier: Barrier = field(default_factory=lambda: Barrier(2, timeout=10))
    slots: dict[int, tuple[Vector, bytes]] = field(default_factory=dict)
    calls: int = 0

    def open_with(self, rank: int, share: Vector, digest: bytes) -> Vector | None:
        self.calls += 1
        self.slots[rank] = (share, digest)
        self.barrier.wait()
        (mine, one), (other, two) = self.slots[0], self.slots[1]
        self.barrier.wait()
        return mine + other if one == two else None


@dataclass
class End:
    pair: ThreadPair
    rank: int

    def open_sum(self, share: Vector, digest: bytes) -> Vector | None:
        return self.pair.open_with(self.rank, share, digest)


@dataclass
class Set:
    plan: Plan
    clients: dict[str, ClientSession]
    server: MpcServer
    compute: tuple[ComputeServer, ComputeServer]
    pair: ThreadPair

    def reveal(self, *messages: Message) -> list[Message]:
        with ThreadPoolExecutor(2) as pool:
            answers = pool.map(lambda at: at[0].on(at[1]), zip(self.compute, messages, strict=True))
            return [as_message(item) for items in answers for item in items]

    def share(self, name: str, vector: Vector, only: tuple[int, ...] = (0, 1)) -> tuple[Item, ...]:
        """Deliver one client's shares to the computing servers `only`; return what the server then says."""
        out: tuple[Item, ...] = ()
        for rank, message in enumerate(self.clients[name].submit(0, "g", vector)):
            if rank in only:
                (have,) = self.compute[rank].on(message)
                out = self.server.on(as_message(have))
        return out


def as_message(item: Item) -> Message:
    assert isinstance(item, Message)
    return item


@pytest.fixture
def kit() -> Set:
    made = plan("mpc", ("a", "b", "c"), (Upload("g", 4, 2**40),), 3, max_dropouts=1)
    pair = ThreadPair()
    compute = (
        ComputeServer(made, "compute0", system_random, End(pair, 0)),
        ComputeServer(made, "compute1", system_random, End(pair, 1)),
    )
    clients = {name: open_client(made, name) for name in made.clients}
    for party in compute:
        for client in clients.values():
            client.on(as_message(party.start()[0]))
    server = MpcServer(made)
    server.on(Begin(0, "g"))
    return Set(made, clients, server, compute, pair)


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
    assert kit.server.on(Deadline(0, "g")) == ()
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
    *tells, outcome = kit.server.on(answers[0])
    assert isinstance(outcome, Abort)
    assert "different shares or lists" in outcome.reason
    assert [as_message(item).kind for item in tells] == ["forget", "forget"]


def test_a_missing_share_opens_nothing(kit: Set) -> None:
    kit.share("a", ones())
    kit.share("b", ones(), only=(0,))
    lists = Message("server", "", "reveal", kit.plan.session, 0, "g", pack_value(["a", "b"]))
    answers = kit.reveal(replace(lists, receiver="compute0"), replace(lists, receiver="compute1"))
    assert [answer.kind for answer in answers] == ["refused", "refused"]


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "z"], [], "ab", [1, 2], None])
def test_bad_lists_never_reach_the_opening(kit: Set, names: object) -> None:
    for name in ("a", "b"):
        kit.share(name, ones())
    ask = Message("server", "compute0", "reveal", kit.plan.session, 0, "g", pack_value(names))
    for party in kit.compute:
        (answer,) = party.on(ask)
        assert as_message(answer).kind == "refused"
    assert kit.pair.calls == 0


def test_a_sum_is_opened_once(kit: Set) -> None:
    for name in ("a", "b"):
        kit.share(name, ones())
    asks = [as_message(item) for item in kit.share("c", ones())]
    kit.reveal(*asks)
    assert [party.on(ask) for party, ask in zip(kit.compute, asks, strict=True)] == [(), ()]
    assert kit.pair.calls == 2


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


@pytest.mark.parametrize("edit", [{"sender": "b"}, {"round": 1}, {"payload": b""}, {"payload": bytes(96)}])
def test_relabelled_or_altered_shares_are_ignored(kit: Set, edit: dict[str, object]) -> None:
    seed, _ = kit.clients["a"].submit(0, "g", ones())
    assert kit.compute[0].on(replace(seed, **edit)) == ()  # type: ignore[arg-type]
    assert kit.compute[1].on(seed) == ()
    assert len(kit.compute[0].on(seed)) == 1


@given(st.lists(st.integers(-(2**40), 2**40), min_size=4, max_size=4))
def test_shares_add_up_to_the_vector(values: list[int]) -> None:
    made = plan("mpc", ("a", "b"), (Upload("g", 4, 2**40),), 1)
    keys = {role: BoxKey(system_random) for role in ("compute0", "compute1")}
    client = open_client(made, "a", public={role: key.public for role, key in keys.items()})
    vector = np.array(values)
    opened = {}
    for message in client.submit(0, "g", vector):
        context = (made.session, 0, "g", "a", message.receiver)
        opened[message.receiver] = keys[message.receiver].open(message.payload, context)
        other = "compute1" if message.receiver == "compute0" else "compute0"
        with pytest.raises(SealError):
            keys[other].open(message.payload, context)
    total = expand(opened["compute0"], 4) + np.frombuffer(opened["compute1"], dtype="<i8")
    assert total.tolist() == values


def test_each_share_alone_is_a_mask_independent_of_the_vector() -> None:
    # The same random bytes, two vectors: compute0's shares are equal, compute1's differ by the vectors only.
    made = plan("mpc", ("a", "b"), (Upload("g", 4, 100),), 1)
    keys = {role: BoxKey(system_random) for role in ("compute0", "compute1")}
    public = {role: key.public for role, key in keys.items()}
    shares = []
    for vector in (ones(3), ones(-50)):
        client = open_client(made, "a", random=KeyedStream(bytes(32)), public=public)
        sent = client.submit(0, "g", vector)
        shares.append([keys[m.receiver].open(m.payload, (made.session, 0, "g", "a", m.receiver)) for m in sent])
    assert shares[0][0] == shares[1][0]
    rest = [np.frombuffer(pair[1], dtype="<i8") for pair in shares]
    assert (rest[0] - rest[1]).tolist() == [53] * 4


def test_submitting_before_the_keys_is_refused() -> None:
    made = plan("mpc", ("a", "b"), (Upload("g", 4, 100),), 1)
    client = open_client(made, "a")
    assert client.public is None
    with pytest.raises(SubmissionRefused, match="keys have not arrived"):
        client.submit(0, "g", ones())
