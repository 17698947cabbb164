"""The grid as `Parties`: who is let in, who is missing, and what a node can make of it."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import pytest

pytest.importorskip("flwr", reason="flwr is not installed; pip install '.[flower]'")

from flwr.app import ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from httpx import ConnectError

from crypto.keys.roster import Identity, Roster, make_identities
from secure_fcl.engines.commands import Answered, Ask, Close, Done, Failed, GiveCoins, Sent
from secure_fcl.engines.flower.contents import ASK, INLINE, from_content, to_content
from secure_fcl.engines.flower.greeting import greeted, greeting, new_challenge
from secure_fcl.engines.flower.grid import GridParties
from secure_fcl.engines.flower.node import Node
from secure_fcl.engines.frames import from_frame, to_frame
from secure_fcl.engines.parties import Answer, Party
from secure_fcl.errors import CarrierLost, FrameRefused

NAMES = ("client0", "client1", "client2")
CLOSE = Close(slot=0, state={})
Reply = Callable[[Message], Message]


class Answering:
    """A host that answers every ask with the same."""

    def __init__(self, reply: Any = None) -> None:
        self.reply = reply or Done()
        self.asked: list[Ask] = []

    def answer(self, asks: Mapping[Party, Ask]) -> Iterator[Answer]:
        for party, ask in asks.items():
            self.asked.append(ask)
            if isinstance(self.reply, Exception):
                raise self.reply
            yield Answer(party=party, reply=self.reply)


@pytest.fixture(autouse=True)
def inside_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower makes messages only where it runs an app."""
    monkeypatch.setattr(TaskIdentity, "_run_id", 1)
    monkeypatch.setattr(TaskIdentity, "_node_id", 1)
    monkeypatch.setattr(TaskIdentity, "_task_id", 1)


@pytest.fixture(scope="module")
def identities() -> dict[str, Identity]:
    return make_identities(NAMES)


def node(name: Party, identity: Identity, host: Any = None, code: Any = "own") -> Reply:
    return Node(party=name, identity=identity, host=lambda: nullcontext(host or Answering()), code=code).reply


def parties_over(grid: Any, identities: Mapping[str, Identity], code: Any = None) -> GridParties:
    return GridParties(grid, Roster.of(identities.values()), 3, deadline=0.3, code=code)


def greet(parties: GridParties) -> tuple[Party, ...]:
    """Two looks: the first sends challenges, the second takes the answers."""
    parties.present()
    return parties.present()


@pytest.mark.parametrize("size", [0, 1, INLINE, INLINE + 1, 6_000_000])
def test_a_frame_is_the_same_after_its_way(size: int) -> None:
    frame = os.urandom(size)
    assert from_content(to_content(frame)) == frame


def test_contents_of_another_form_are_refused() -> None:
    large = to_content(bytes(INLINE + 1))
    cut = RecordDict({"frame": ConfigRecord({"size": INLINE + 2}), "large": large.array_records["large"]})
    empty = RecordDict({"frame": ConfigRecord({"size": 9}), "large": ArrayRecord()})
    long = RecordDict({"frame": ConfigRecord({"bytes": bytes(INLINE + 1)})})
    more = RecordDict({"frame": ConfigRecord({"bytes": b"", "more": 1})})
    beside = RecordDict({"frame": ConfigRecord({"bytes": b""}), "more": ConfigRecord()})
    text = RecordDict({"frame": ConfigRecord({"bytes": "text"})})
    for content in (RecordDict(), cut, empty, long, more, beside, text):
        with pytest.raises(FrameRefused):
            from_content(content)


def test_a_greeting_proves_one_party_for_one_challenge(identities: Mapping[str, Identity]) -> None:
    roster = Roster.of(identities.values())
    from crypto.keys.roster import Trust

    trust, challenge = Trust(roster), new_challenge()
    said = greeting("client0", identities["client0"], "own", challenge)
    assert greeted(said, challenge, trust) == ("client0", "own")
    assert greeted(said, new_challenge(), trust) is None
    assert greeted(greeting("client1", identities["client0"], "own", challenge), challenge, trust) is None
    assert greeted(said.replace(b"client0", b"client1"), challenge, trust) is None
    assert greeted(b"nonsense", challenge, trust) is None
    with pytest.raises(FrameRefused, match="31 bytes"):
        greeting("client0", identities["client0"], "own", bytes(31))


def test_who_proves_its_name_is_present_and_asked(nodes_here: Any, identities: Mapping[str, Identity]) -> None:
    hosts = {name: Answering() for name in NAMES}
    grid = nodes_here({k: node(name, identities[name], hosts[name]) for k, name in enumerate(NAMES, start=7)})
    parties = parties_over(grid, identities)
    assert parties.wait(5.0) == NAMES
    answers = list(parties.ask(dict.fromkeys(NAMES, CLOSE)))
    assert {answer.party: answer.reply for answer in answers} == dict.fromkeys(NAMES, Done())
    assert [[type(ask) for ask in host.asked] for host in hosts.values()] == [[Close]] * 3
    # An ask lives as long as its deadline: Flower would keep it for twelve hours.
    assert {message.metadata.ttl for message in grid.sent if message.metadata.message_type == ASK} == {0.3}


def test_a_node_cannot_take_anothers_place(nodes_here: Any, identities: Mapping[str, Identity]) -> None:
    stranger = Identity.new("client1")
    replayed: list[Message] = []

    def replays(message: Message) -> Message:
        """Answers with what client2 answered to another challenge."""
        replayed[:] = replayed or [node("client2", identities["client2"])(message)]
        return Message(replayed[0].content, reply_to=message)

    grid = nodes_here({1: node("client0", identities["client0"]), 2: node("client1", stranger), 3: replays})
    parties = parties_over(grid, identities)
    assert "client0" in greet(parties)
    assert "client1" not in parties.present()
    grid.lost.add(3)
    assert parties.present() == ("client0",)
    grid.lost.clear()
    assert greet(parties) == ("client0",)


def test_nodes_with_other_code_are_left_out(nodes_here: Any, identities: Mapping[str, Identity]) -> None:
    own, other = node("client0", identities["client0"]), node("client1", identities["client1"], code="shipped")
    grid = nodes_here({1: own, 2: other})
    assert greet(parties_over(grid, identities, "own")) == ("client0",)
    assert greet(parties_over(grid, identities)) == ("client0", "client1")


def test_a_silent_node_is_missing_and_costs_one_deadline(nodes_here: Any, identities: Mapping[str, Identity]) -> None:
    grid = nodes_here({k: node(name, identities[name]) for k, name in enumerate(NAMES)})
    parties = parties_over(grid, identities)
    greet(parties)
    grid.silent.add(1)
    begun = time.monotonic()
    assert {answer.party for answer in parties.ask(dict.fromkeys(NAMES, CLOSE))} == {"client0", "client2"}
    assert 0.3 <= time.monotonic() - begun < 2.0
    assert parties.present() == ("client0", "client2")
    grid.silent.clear()
    # Its challenge went unanswered while it was away; it is asked again when that has expired.
    assert parties.wait(5.0) == NAMES


def test_wrong_answers_are_missing_and_end_nothing(nodes_here: Any, identities: Mapping[str, Identity]) -> None:
    def says(name: Party, content: Callable[[Message], Message]) -> Reply:
        good = node(name, identities[name])
        return lambda message: content(message) if message.metadata.message_type == ASK else good(message)

    grid = nodes_here({
        0: says("client0", lambda m: Message(RecordDict(), reply_to=m)),
        1: says("client1", lambda m: Message(Error(2, "<'a value of the data'>"), reply_to=m)),
        2: says("client2", lambda m: Message(to_content(to_frame(Sent(items=(), train=0.0, encrypt=0.0))), reply_to=m)),
    })  # fmt: skip
    parties = parties_over(grid, identities)
    assert greet(parties) == NAMES
    assert list(parties.ask(dict.fromkeys(NAMES, CLOSE))) == []
    assert parties.present() == NAMES


def test_of_an_error_only_its_class_leaves(nodes_here: Any, identities: Mapping[str, Identity]) -> None:
    grid = nodes_here({0: node("client0", identities["client0"], Answering(ValueError("a value of the data")))})
    parties = parties_over(grid, identities)
    greet(parties)
    (answer,) = parties.ask({"client0": CLOSE})
    assert answer.reply == Failed(error="ValueError", text="", trace="")


@pytest.mark.parametrize("command", [GiveCoins(), Answered(items=(), ready=True)])
def test_what_no_deployed_device_is_asked_reaches_no_host(identities: Mapping[str, Identity], command: Any) -> None:
    host = Answering()
    asked = Message(to_content(to_frame(command)), 1, ASK, ttl=1.0)
    reply = node("client0", identities["client0"], host)(asked)
    assert from_frame(from_content(reply.content)) == Failed(error="FrameRefused", text="", trace="")
    assert host.asked == []


def test_a_superlink_that_is_gone_is_one_sentence(nodes_here: Any, identities: Mapping[str, Identity]) -> None:
    class Gone(nodes_here):  # type: ignore[misc, valid-type]
        def get_node_ids(self) -> Any:
            raise ConnectError("refused")

    with pytest.raises(CarrierLost, match="SuperLink does not answer"):
        parties_over(Gone({}), identities).present()
