from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import Aggregate, Begin, Deadline, Message, Plan, Upload, open_client, open_party, plan, run_round, set_up
from crypto.errors import PlanRefused, SubmissionRefused
from crypto.keys.roster import Identity, Roster, Trust, make_identities
from crypto.protocols.envelope import WINDOW, Envelope, SealedParty, Seen, is_signed
from crypto.protocols.plans import plan_from_bytes
from crypto.running.rehearsal import rehearse
from crypto.testing import Bench
from crypto.wire.messages import Input, Item

OWN = make_identities(("a", "b", "server", "keyholder"))
ROSTER = Roster.of(OWN.values())


def pinned(**change: Any) -> Plan:
    given: dict[str, Any] = {"rounds": 3, "session": "s", "roster": ROSTER}
    return plan("plain", ("a", "b"), (Upload(name="g", length=2, bound=10),), **(given | change))


def envelope(name: str, made: Plan) -> Envelope:
    return Envelope(made, OWN[name], Trust(made.roster))


def signed(made: Plan, *rounds: int) -> list[Message]:
    sender = envelope("a", made)
    items = sender.sign(
        Message(
            sender="a", receiver="server", kind="vector", session=made.session, round=number, upload="g", payload=b"xy"
        )
        for number in rounds
    )
    return [item for item in items if isinstance(item, Message)]


def test_each_message_is_taken_once_in_any_order() -> None:
    made = pinned()
    first, second, third = signed(made, 0, 1, 2)
    receiver = envelope("server", made)
    order = (second, first, second, third, first)
    assert [receiver.authentic(message) for message in order] == [True, True, False, True, False]


@pytest.mark.parametrize(
    "edit",
    [
        {"sender": "b"},
        {"receiver": "b"},
        {"kind": "share"},
        {"session": "t"},
        {"round": 1},
        {"upload": "h"},
        {"payload": b"xz"},
        {"payload": b""},
        {"sequence": 1},
        {"sequence": -1},
        {"sequence": 2**63},
        {"proof": b""},
        {"proof": bytes(96)},
        # Named, since its bytes are new in every process, and workers must collect equal names.
        pytest.param({"proof": OWN["b"].prove(b"")}, id="proof of another"),
    ],
    ids=str,
)
def test_everything_is_bound(edit: dict[str, Any]) -> None:
    made = pinned()
    (message,) = signed(made, 0)
    receiver = envelope("server", made)
    assert not receiver.authentic(replace(message, **edit))
    assert receiver.authentic(message)


def test_plans_protocols_and_receivers_do_not_mix() -> None:
    made = pinned()
    (message,) = signed(made, 0)
    for other in (pinned(rounds=4), pinned(roster=None), plan("bfv", ("a", "b"), made.uploads, 3, 0, "s", ROSTER)):
        assert envelope("server", made).authentic(message)
        assert not envelope("server", other).authentic(message)
    assert not envelope("b", made).authentic(message)


def test_messages_for_all_clients_reach_clients_only() -> None:
    made = pinned()
    (item,) = envelope("server", made).sign(
        [Message(sender="server", receiver="clients", kind="key", session="s", round=0, upload="-", payload=b"")]
    )
    assert isinstance(item, Message)
    assert envelope("a", made).authentic(item)
    assert envelope("b", made).authentic(item)
    assert not envelope("server", made).authentic(item)


def test_strangers_are_ignored_even_on_first_use() -> None:
    made = pinned(roster=None)
    stranger = Envelope(made, Identity.new("mallory"), Trust())
    (item,) = stranger.sign(
        [Message(sender="mallory", receiver="server", kind="vector", session="s", round=0, upload="g", payload=b"")]
    )
    assert isinstance(item, Message)
    assert not Envelope(made, OWN["server"], Trust()).authentic(item)


@given(st.lists(st.integers(0, 40), max_size=60))
def test_running_numbers_are_taken_once(numbers: list[int]) -> None:
    seen, taken = Seen(), []
    for number in numbers:
        if seen.fresh(number):
            seen.take(number)
            taken.append(number)
    assert sorted(taken) == sorted(set(numbers))


def test_old_numbers_are_refused_and_memory_is_bounded() -> None:
    seen = Seen()
    for number in range(5 * WINDOW):
        seen.take(number)
    assert len(seen._recent) <= 2 * WINDOW
    assert not any(seen.fresh(number) for number in (0, WINDOW, 4 * WINDOW - 1, 5 * WINDOW - 1))
    assert seen.fresh(5 * WINDOW)


def test_a_roster_travels_with_the_plan_and_is_demanded() -> None:
    made = pinned()
    assert plan_from_bytes(made.to_bytes()) == made
    assert "roster pins" in made.assumption
    assert "first key" in pinned(roster=None).assumption
    with pytest.raises(PlanRefused, match="needs its own identity"):
        open_client(made, "a")
    with pytest.raises(PlanRefused, match="needs its own identity"):
        open_client(made, "a", identity=OWN["b"])
    with pytest.raises(PlanRefused, match="pins another key"):
        open_party(made, "server", identity=Identity.new("server"))
    with pytest.raises(PlanRefused, match="pins another key"):
        open_client(pinned(roster=Roster.of([OWN["a"], OWN["b"]])), "a", identity=OWN["a"])
    with pytest.raises(PlanRefused, match="lacks 1 clients"):
        pinned(roster=Roster.of([OWN["a"]]))
    assert open_client(made, "a", identity=OWN["a"]).ready


def test_noise_is_added_where_it_does_not_travel_apart() -> None:
    made = plan("plain", ("a", "b"), (Upload(name="g", length=2, bound=10, noise_bound=3),), 3)
    client = open_client(made, "a")
    (message,) = client.submit(0, "g", np.array([1, 2]), np.array([3, -3]))
    assert np.frombuffer(message.payload, dtype="<i8").tolist() == [4, -1]
    with pytest.raises(SubmissionRefused, match="the noise share is int64"):
        client.submit(1, "g", np.array([1, 2]), np.array([3]))
    for vector, noise in (([11, 0], None), ([-11, 3], [3, -3]), ([10, 10], [4, 0]), ([0, 0], [0, -4])):
        share = None if noise is None else np.array(noise)
        with pytest.raises(SubmissionRefused, match="plan's bound"):
            client.submit(1, "g", np.array(vector), share)
    (message,) = client.submit(1, "g", np.array([10, -10]), np.array([3, -3]))
    assert np.frombuffer(message.payload, dtype="<i8").tolist() == [13, -13]


@pytest.mark.parametrize("item", [Begin(0, "g"), Deadline(0, "g"), None])
def test_a_party_that_stumbles_answers_nothing_and_says_where(
    item: Begin | Deadline | None, caplog: pytest.LogCaptureFixture
) -> None:
    made = pinned()

    class Stumbles:
        name = "server"

        def start(self) -> tuple[Item, ...]:
            return ()

        def on(self, item: Input) -> tuple[Item, ...]:
            raise KeyError("a secret value")

    party = SealedParty(Stumbles(), envelope("server", made))
    assert party.on(item or signed(made, 0)[0]) == ()
    assert "KeyError" in caplog.text
    assert "test_envelope.py" in caplog.text
    assert "secret value" not in caplog.text


def test_a_third_party_can_check_who_sealed_a_message() -> None:
    made = pinned()
    (message,) = signed(made, 0)
    assert is_signed(made, message)
    for edit in ({"payload": b"xz"}, {"sender": "b"}, {"round": 1}, {"sequence": 3}, {"session": "t"}, {"proof": b""}):
        assert not is_signed(made, replace(message, **edit))  # type: ignore[arg-type]
    assert not is_signed(pinned(roster=None), message)
    assert not is_signed(pinned(rounds=4), message)


def test_more_bytes_than_the_plan_gives_rise_to_are_refused_before_they_are_hashed(
    make_bench: Callable[[Plan], Bench], make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    for protocol in ("plain", "bfv", "mpc", "secagg", "secagg+"):
        bench = make_bench(make_plan(protocol))
        largest = bench.plan.largest_payload
        (first, *_) = bench.client("ada").submit(0, "update", np.zeros(9001, dtype=np.int64))
        receiver: Any = bench.parties[first.receiver]
        asked: list[int] = []
        real = receiver._envelope._proved
        monkeypatch.setattr(receiver._envelope, "_proved", lambda m, real=real, asked=asked: asked.append(1) or real(m))
        assert not receiver._envelope.authentic(replace(first, payload=bytes(largest + 1)))
        assert asked == []
        assert not receiver._envelope.authentic(replace(first, payload=bytes(largest)))
        assert asked == [1]
        assert receiver._envelope.authentic(first)


@pytest.mark.parametrize("protocol", ["plain", "bfv", "mpc", "secagg", "secagg+", "helper", "helper-2-of-3"])
@pytest.mark.parametrize("length", [1, 20_000])
def test_every_honest_payload_fits_the_plan(protocol: str, length: int) -> None:
    clients = [f"c{i}" for i in range(12)]
    own = make_identities([*clients, "server", "helper", "helper0", "helper1", "helper2"])
    roster = Roster.of(own.values()) if protocol.startswith("helper") else None
    made = plan(protocol, clients, [Upload(name="g", length=length, bound=1 << 20)], 2, 1, roster=roster)
    sizes: list[int] = []
    parties: dict[str, Any] = {**rehearse(made, own if roster else None)}
    for party in parties.values():
        envelope: Any = party._envelope

        def signed(items: Any, real: Any = envelope.sign) -> Any:
            sealed = real(items)
            sizes.extend(len(item.payload) for item in sealed if isinstance(item, Message))
            return sealed

        envelope.sign = signed
    set_up(parties)
    outcome = run_round(parties, 0, "g", {name: np.ones(length, dtype=np.int64) for name in made.clients[1:]})
    assert isinstance(outcome, Aggregate)
    assert max(sizes) <= made.largest_payload
    # Not far above what there is, where vectors are long.
    assert length == 1 or made.largest_payload < 8 * max(sizes) + (1 << 21)
