"""Clients vanish at every phase: nobody else's vector is lost, and who returns takes part again."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crypto import Abort, Aggregate, Deadline
from crypto.planning.masks import Mode
from crypto.wire.messages import Message

SET_UP = Deadline(0, "-")
MODES: tuple[Mode, ...] = ("semi-honest", "active")


def vanish(cohort: Any, names: tuple[str, ...], kind: str) -> None:
    """From its first message of this kind on, each of `names` is cut off."""

    def lose(message: Message) -> bool:
        if message.sender in names and message.kind == kind:
            cohort.cut.add(message.sender)
            return True
        return False

    cohort.lose = lose


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["hello", "open", "offer", "masked", "confirmed", "shares"])
def test_two_clients_vanish(kind: str, mode: Mode, make_masks: Callable[..., Any]) -> None:
    if kind == "confirmed" and mode == "semi-honest":
        pytest.skip("nothing is confirmed in semi-honest mode")
    cohort = make_masks(mode=mode, ready=False)
    names = cohort.plan.clients
    gone = (names[0], names[5])
    vanish(cohort, gone, kind)
    cohort.set_up()
    for _ in range(3):
        cohort.give("server", SET_UP)
    staying = [name for name in names if name not in gone]
    for number in range(4):
        vectors = cohort.vectors(f"{kind} {number}")
        outcome = cohort.run(number, vectors)
        sent_first = number == 0 and kind in ("confirmed", "shares")
        back = number >= 2 and kind not in ("hello", "open")
        cohort.expect(outcome, vectors, names if sent_first or back else staying)
        if number == 0:
            cohort.cut.clear()
            cohort.lose = lambda message: False


def test_a_client_that_never_said_hello_is_excluded_not_dead(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(ready=False)
    late = cohort.plan.clients[3]
    cohort.cut = {late}
    cohort.set_up()
    cohort.give("server", SET_UP)
    vectors = cohort.vectors("excluded")
    outcome = cohort.run(0, vectors)
    cohort.expect(outcome, vectors, set(cohort.plan.clients) - {late})
    requests = [message for message in cohort.sent if message.kind == "unmask"]
    assert len(requests) == 7
    answers = [message for message in cohort.sent if message.kind == "shares"]
    # Seven holders each answer for seven dealers: nobody looks for shares of the eighth.
    from crypto.protocols.masks.requests import Shares

    assert {len(Shares.from_bytes(message.payload).triples) for message in answers} == {7}


@pytest.mark.parametrize("mode", MODES)
def test_too_many_vanish_and_the_next_sum_is_right(mode: Mode, make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(mode=mode)
    names = cohort.plan.clients
    for number, kind in enumerate(("masked", "shares")):
        vanish(cohort, names[:4], kind)
        outcome = cohort.run(2 * number, cohort.vectors(f"too many {kind}"))
        assert isinstance(outcome, Abort)
        assert outcome.reason
        cohort.cut.clear()
        cohort.lose = lambda message: False
        vectors = cohort.vectors(f"after {kind}")
        cohort.expect(cohort.run(2 * number + 1, vectors), vectors, names)


def test_set_up_without_enough_clients_aborts(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(ready=False)
    cohort.cut = set(cohort.plan.clients[:3])
    cohort.set_up()
    cohort.give("server", SET_UP)
    outcome = cohort.run(0, cohort.vectors("none"))
    assert isinstance(outcome, Abort)
    assert "5 clients after 0 attempts, the plan demands 6" in outcome.reason


def test_a_sum_begun_during_another_waits_for_it(make_masks: Callable[..., Any]) -> None:
    from crypto import Begin

    cohort = make_masks()
    first, second = cohort.vectors("first"), cohort.vectors("second", 1)
    assert not cohort.give("server", Begin(0, "update"))
    assert not cohort.give("server", Begin(0, "counts"))
    outcomes = [outcome for name, vector in first.items() for outcome in cohort.submit(0, "update", name, vector)]
    outcomes += [outcome for name, vector in second.items() for outcome in cohort.submit(0, "counts", name, vector)]
    cohort.expect(outcomes[0], first, first)
    cohort.expect(outcomes[1], second, second)
    assert isinstance(outcomes[1], Aggregate)
    assert outcomes[1].upload == "counts"


@pytest.mark.parametrize(
    ("protocol", "mode", "n"),
    [
        ("secagg", "active", 10),
        pytest.param("secagg", "active", 30, marks=pytest.mark.slow),
        pytest.param("secagg+", "semi-honest", 50, marks=pytest.mark.slow),
    ],
)
def test_twenty_rounds_of_coming_and_going(protocol: str, mode: Mode, n: int, make_masks: Callable[..., Any]) -> None:
    """Each round a tenth is away, another tenth than before, at a phase of its own; all sums are exact."""
    cohort = make_masks(protocol, mode, n=n, dropouts=n // 5, corrupt=n // 50)
    assert cohort.plan.masks.complete is (protocol == "secagg")
    names, tenth = cohort.plan.clients, n // 10
    rng = np.random.default_rng(7)
    away: set[str] = set()
    for number in range(20):
        leaving = tuple(rng.choice([name for name in names if name not in away], tenth, replace=False).tolist())
        kind = ("masked", "shares", "keys")[number % 3]
        cohort.cut.clear()
        cohort.lose = lambda message: False
        if kind == "keys":
            cohort.cut |= set(leaving)
        else:
            vanish(cohort, leaving, kind)
        vectors = cohort.vectors(f"round {number}")
        ready = {name for name in names if cohort.parties[name].ready}
        outcome = cohort.run(number, vectors)
        assert isinstance(outcome, Aggregate), outcome
        expected = ready if kind == "shares" else ready - set(leaving)
        cohort.expect(outcome, vectors, expected)
        assert len(expected) >= n - 2 * tenth
        away = set(leaving)


def test_a_regular_graph_of_fewer_members(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks("secagg+", n=60, dropouts=5, ready=False)
    cohort.cut = {"client007", "client011", "client013"}
    cohort.set_up()
    cohort.give("server", SET_UP)
    vectors = cohort.vectors("fewer")
    cohort.expect(cohort.run(0, vectors), vectors, set(vectors) - cohort.cut)
    ((_, setup),) = cohort.parties["client000"].public.of.setups.items()
    assert {len(row) for row in setup.neighbours.values()} == {cohort.plan.masks.neighbours}
