"""Faulty networks: the driver itself, a state machine that plays the network, and many schedules and mutations."""

import pickle
from collections.abc import Callable
from dataclasses import fields

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from crypto import Abort, Aggregate, Begin, Deadline, Message, Upload, plan, set_up
from crypto.errors import MessageError, SecretExposed, SubmissionRefused
from crypto.keys.roster import Roster, make_identities
from crypto.planning.masks import Mode
from crypto.planning.plans import Plan
from crypto.protocols.session import Session, hiding
from crypto.running.driver import MAX_DEADLINES
from crypto.running.rehearsal import rehearse
from crypto.testing import (
    Bench,
    Faults,
    FaultyNetwork,
    Schedule,
    check_faults,
    check_mutations,
    check_set_up_mutations,
    expect_sum,
    random_vectors,
)
from crypto.testing.faults import Draws, draw_faults, flipped
from crypto.wire.messages import Item, decode, encode

NAMES = ("ada", "bob", "cyd", "dan")
UPLOAD = Upload(name="g", length=5, bound=1000)
NORMED = Upload(name="g", length=5, bound=1000, noise_bound=0, noise_excess=0.0, norm_bound=3000)
IN_PROCESS: tuple[str, ...] = ("plain", "bfv", "mpc", "secagg", "secagg+", "helper", "helper-2-of-3")


def make(protocol: str, rounds: int, normed: bool = False) -> Plan:
    return plan(protocol, NAMES, (NORMED if normed else UPLOAD,), rounds, max_dropouts=1)


def opened(made: Plan) -> Bench:
    """All parties, not set up yet; with a roster where there must be one."""
    if made.rules.hiding != "pads":
        return Bench(made, rehearse(made))
    identities = make_identities((*NAMES, *made.roles))
    pinned = made.pinned(Roster.of(identities.values()))
    return Bench(pinned, rehearse(pinned, identities))


def make_pinned(protocol: str, rounds: int, mode: Mode, n: int = 4, dropouts: int = 1) -> Bench:
    """Not set up yet, with a roster."""
    names = [f"client{i:02}" for i in range(n)]
    identities = make_identities((*names, *ROLES))
    roster = Roster.of(identities.values())
    made = plan(protocol, names, (UPLOAD,), rounds, dropouts, roster=roster, mode=mode)
    return Bench(made, rehearse(made, identities))


def network(protocol: str, faults: Faults, seed: str) -> FaultyNetwork:
    made = plan(protocol, NAMES, (UPLOAD,), 20, max_dropouts=1, session="s")
    found = FaultyNetwork(made, rehearse(made), faults, Draws(seed))
    found.set_up()
    return found


def run(net: FaultyNetwork, number: int) -> Schedule:
    return net.run(number, "g", random_vectors(net.plan, UPLOAD, f"round {number}"))


def test_without_faults_all_arrive() -> None:
    schedule = run(network("plain", Faults(), "none"), 0)
    assert isinstance(schedule.outcome, Aggregate)
    assert schedule.outcome.contributors == schedule.submitted == NAMES
    assert set(schedule.struck.values()) == {0}


@pytest.mark.parametrize(
    ("fault", "aborts"),
    [("drop", True), ("duplicate", False), ("delay", True), ("truncate", True), ("flip", True), ("replay", False)],
)
def test_a_fault_that_always_strikes(fault: str, aborts: bool) -> None:
    net = network("plain", Faults(), fault)
    # A message that is duplicated with certainty never ends.
    net.faults = Faults(**{fault: 0.9 if fault == "duplicate" else 1.0})
    schedule = run(net, 0)
    assert schedule.struck[fault] >= len(NAMES) - 1
    assert isinstance(schedule.outcome, Abort if aborts else Aggregate)


def test_delayed_messages_arrive_later_and_are_stale() -> None:
    net = network("plain", Faults(delay=1.0), "late")
    assert isinstance(run(net, 0).outcome, Abort)
    assert net._late
    net.faults = Faults()
    outcome = run(net, 1).outcome
    assert isinstance(outcome, Aggregate)
    assert outcome.contributors == NAMES


def test_the_same_seed_gives_the_same_schedule() -> None:
    def outcomes(seed: str) -> list[object]:
        net = network("plain", Faults(), seed)
        found: list[object] = []
        for number in range(10):
            net.faults = draw_faults(net.draws)
            schedule = run(net, number)
            names = schedule.outcome.contributors if isinstance(schedule.outcome, Aggregate) else None
            found += [dict(schedule.struck), names, net.faults]
        return found

    assert outcomes("one") == outcomes("one")
    assert outcomes("one") != outcomes("two")


def test_set_up_may_fail_and_is_answered_with_aborts() -> None:
    for protocol in ("bfv", "mpc"):
        net = network(protocol, Faults(drop=1.0), "no keys")
        net.faults = Faults()
        schedule = run(net, 0)
        assert schedule.submitted == ()
        assert isinstance(schedule.outcome, Abort)


def test_drawn_faults_cover_every_kind() -> None:
    draws = Draws("kinds")
    drawn = [draw_faults(draws) for _ in range(100)]
    for entry in fields(Faults):
        rates = {getattr(faults, entry.name) for faults in drawn}
        assert 0.0 in rates
        assert max(rates) > 0.1


def test_a_flip_changes_one_bit() -> None:
    draws = Draws("flip")
    changes = set()
    for _ in range(500):
        value = int.from_bytes(flipped(bytes(4), draws), "big")
        assert value.bit_count() == 1
        changes.add(value)
    assert len(changes) == 32


class PlaysTheNetwork(RuleBasedStateMachine):
    """Hypothesis chooses what happens to every message; the outcomes must be right whatever it does."""

    protocol: str = "plain"
    normed = False
    ended = 0
    mode: Mode = "semi-honest"

    def __init__(self) -> None:
        super().__init__()
        identities = make_identities((*NAMES, *ROLES))
        roster, upload = Roster.of(identities.values()), NORMED if self.normed else UPLOAD
        self.plan = plan(self.protocol, NAMES, (upload,), 1000, 1, roster=roster, mode=self.mode)
        self.parties: dict[str, Session] = rehearse(self.plan, identities)
        set_up(self.parties)
        self.bench = Bench(self.plan, self.parties)
        self.flight: list[Message] = []
        self.past: list[Message] = []
        self.number = -1
        self.submitted: set[str] = set()
        self.outcomes: list[Item] = []
        self.deadlines = 0
        self.running = False

    def take(self, items: tuple[Item, ...]) -> None:
        for item in items:
            if isinstance(item, Message):
                self.flight.append(item)
            else:
                self.outcomes.append(item)

    @precondition(lambda self: not self.running)
    @rule()
    def begin(self) -> None:
        self.number += 1
        self.submitted, self.outcomes, self.deadlines, self.running = set(), [], 0, True
        self.vectors = random_vectors(self.plan, self.plan.uploads[0], str(self.number))
        self.take(self.parties["server"].on(Begin(self.number, "g")))

    @precondition(lambda self: self.running)
    @rule(name=st.sampled_from(NAMES))
    def submit(self, name: str) -> None:
        if name in self.submitted:
            return
        try:
            self.take(self.bench.client(name).submit(self.number, "g", self.vectors[name]))
        except SubmissionRefused:
            # Under masks, a client that missed the last sum has no keys for this one.
            assert hiding(self.plan) == "masks"
            return
        self.submitted.add(name)

    @precondition(lambda self: self.flight)
    @rule(at=st.integers(0, 1000), keep=st.booleans())
    def deliver(self, at: int, keep: bool) -> None:
        message = self.flight[at % len(self.flight)] if keep else self.flight.pop(at % len(self.flight))
        self.past.append(message)
        self.arrive(message)

    @precondition(lambda self: self.flight)
    @rule()
    def deliver_all(self) -> None:
        while self.flight:
            message = self.flight.pop(0)
            self.past.append(message)
            self.arrive(message)

    @precondition(lambda self: self.flight)
    @rule(at=st.integers(0, 1000))
    def lose(self, at: int) -> None:
        self.flight.pop(at % len(self.flight))

    @precondition(lambda self: self.past)
    @rule(at=st.integers(0, 1000))
    def replay(self, at: int) -> None:
        self.arrive(self.past[at % len(self.past)])

    @precondition(lambda self: self.flight)
    @rule(at=st.integers(0, 1000), bit=st.integers(0, 10**6))
    def alter(self, at: int, bit: int) -> None:
        message = self.flight[at % len(self.flight)]
        data = bytearray(encode(message))
        data[bit // 8 % len(data)] ^= 1 << bit % 8
        try:
            item = decode(data)
        except MessageError:
            return
        if isinstance(item, Message) and item != message:
            before = len(self.flight), len(self.outcomes)
            self.arrive(item)
            assert (len(self.flight), len(self.outcomes)) == before

    @precondition(lambda self: self.running)
    @rule()
    def deadline(self) -> None:
        self.take(self.parties["server"].on(Deadline(self.number, "g")))
        self.deadlines += 1

    def arrive(self, message: Message) -> None:
        for name in NAMES if message.receiver == "clients" else (message.receiver,):
            if name in self.parties:
                self.take(self.parties[name].on(message))

    @invariant()
    def outcomes_are_right(self) -> None:
        assert len(self.outcomes) <= 1
        if self.outcomes:
            (outcome,) = self.outcomes
            if isinstance(outcome, Aggregate):
                assert set(outcome.contributors) <= self.submitted
                assert len(outcome.contributors) >= self.plan.min_clients
                summed = {name: self.vectors[name] for name in NAMES if name in outcome.contributors}
                expect_sum(self.plan, outcome, summed, self.number, "g")
            else:
                assert isinstance(outcome, Abort)
                assert outcome.reason
            self.running = False
            type(self).ended += 1
        assert self.deadlines < MAX_DEADLINES or not self.running

    def teardown(self) -> None:
        for party in self.parties.values():
            assert "secrets not shown" in repr(party)
            with pytest.raises(SecretExposed):
                pickle.dumps(party)


ROLES = ("server", "keyholder", "compute0", "compute1", "dealer", "helper", "helper0", "helper1", "helper2")


@pytest.mark.parametrize(
    ("protocol", "change", "examples"),
    [
        ("plain", {}, 40),
        ("bfv", {}, 8),
        ("mpc", {}, 25),
        ("mpc", {"normed": True}, 15),
        ("secagg", {}, 15),
        ("secagg", {"mode": "active"}, 15),
        ("helper", {}, 15),
        ("helper-2-of-3", {}, 8),
    ],
    ids=["plain", "bfv", "mpc", "mpc-norms", "secagg", "secagg-active", "helper", "helper-2-of-3"],
)
def test_whatever_the_network_does(protocol: str, change: dict[str, object], examples: int) -> None:
    machine: type[PlaysTheNetwork] = type("Machine", (PlaysTheNetwork,), {"protocol": protocol, **change})
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))
    assert machine.ended > 0


@pytest.mark.parametrize("protocol", IN_PROCESS)
def test_a_set_up_among_mutated_messages(protocol: str) -> None:
    delivered = check_set_up_mutations(opened(make(protocol, 4)))
    # The plain protocol has no set-up.
    assert delivered >= (1 if protocol == "plain" else 50)


@pytest.mark.parametrize("mode", ["semi-honest", "active"])
def test_a_pinned_set_up_among_mutated_messages(mode: Mode) -> None:
    assert check_set_up_mutations(make_pinned("secagg", 4, mode)) > 300


SHARE = {"plain": 3000, "bfv": 1500, "mpc": 3000, "secagg": 1500, "secagg+": 1000, "helper": 1500, "helper-2-of-3": 500}


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("protocol", IN_PROCESS)
def test_ten_thousand_schedules(protocol: str, campaign: Callable[[int, int], list[int]]) -> None:
    part = 100
    count = SHARE[protocol] // part
    # The first of ten batches has faults in its set-up as well.
    for batch in sorted({0, *campaign(count, count // 3)}):
        bench = opened(make(protocol, part, normed=protocol == "mpc" and batch % 2 == 1))
        if batch % 10:
            set_up(bench.parties)
        else:
            draws = Draws("set-up", protocol, batch)
            FaultyNetwork(bench.plan, bench.sessions or {}, draw_faults(draws), draws).set_up()
        check_faults(bench, part, f"{protocol} {batch}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_thousand_schedules_against_an_active_server() -> None:
    for batch in range(10):
        bench = make_pinned("secagg", 100, "active")
        set_up(bench.parties)
        check_faults(bench, 100, f"active {batch}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", ["semi-honest", "active"])
def test_schedules_on_a_sparse_graph(mode: Mode) -> None:
    bench = make_pinned("secagg+", 20, mode, n=60, dropouts=8)
    assert bench.plan.masks is not None
    assert not bench.plan.masks.complete
    set_up(bench.parties)
    check_faults(bench, 20, f"sparse {mode}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("protocol", IN_PROCESS)
def test_a_hundred_thousand_mutated_messages(protocol: str) -> None:
    bench = opened(make(protocol, 2000))
    set_up(bench.parties)
    assert check_mutations(bench, 20_000) >= 20_000
