"""Checks of the conformance suite (`checks`) that need all parties in one process: faults and mutations."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from crypto.errors import MessageError
from crypto.planning.plans import Plan
from crypto.planning.upload import Upload
from crypto.protocols.session import Session
from crypto.running.driver import MAX_DEADLINES
from crypto.testing.bench import Bench, ConformanceError, Vectors, expect, expect_sum, random_vectors
from crypto.testing.faults import Draws, FaultyNetwork, Schedule, draw_faults, flipped
from crypto.wire.messages import Abort, Aggregate, Begin, Deadline, Item, Message, decode, encode

SCHEDULES = 24
MUTATIONS = 200


def check_faults(bench: Bench, schedules: int = SCHEDULES, seed: str = "faults") -> None:
    """Whatever the network does: the exact sum of enough clients, or an Abort with a reason; once, and no exception.

    One round for each of `schedules`. Does nothing if a party is in another process.
    """
    sessions = bench.sessions
    if sessions is None:
        return
    draws = Draws(seed, bench.plan.protocol)
    network = FaultyNetwork(bench.plan, sessions, draw_faults(draws), draws)
    for _ in range(schedules):
        network.faults = draw_faults(draws)
        number, upload = bench.fresh(), bench.plan.uploads[draws.below(len(bench.plan.uploads))]
        vectors = random_vectors(bench.plan, upload, f"{seed} {number}")
        schedule = network.run(number, upload.name, vectors)
        try:
            judge(bench.plan, upload, number, vectors, schedule)
        except ConformanceError as error:
            raise ConformanceError(f"{error}; seed {seed!r}, faults {network.faults}") from error


def judge(plan: Plan, upload: Upload, number: int, vectors: Vectors, schedule: Schedule) -> None:
    """Raise ConformanceError unless a schedule ended as it must."""
    outcome = schedule.outcome
    expect(not schedule.surplus, f"round {number} of {upload.name} had several outcomes: {schedule.surplus}")
    if isinstance(outcome, Abort):
        expect(bool(outcome.reason), f"round {number} of {upload.name} was aborted without a reason")
        expect((outcome.round, outcome.upload) == (number, upload.name), "the Abort names another sum")
        return
    if not isinstance(outcome, Aggregate):
        raise ConformanceError(f"round {number} of {upload.name} has no outcome after {MAX_DEADLINES} deadlines")
    names = outcome.contributors
    expect(set(names) <= set(schedule.submitted), f"round {number}: {names} are said to be in the sum")
    expect(len(names) >= plan.min_clients, f"round {number}: a sum of {len(names)} clients was opened")
    expect_sum(plan, outcome, {name: vectors[name] for name in plan.clients if name in names}, number, upload.name)


def check_mutations(bench: Bench, count: int = MUTATIONS, seed: str = "mutations") -> int:
    """Altered copies of every message reach its receiver before the message itself: none is answered, none crashes,
    and the sum is that of all clients.

    Runs rounds until `count` copies were delivered, and returns how many there were. Does nothing if a party is in
    another process, and little if the receiver is not `crypto.protocols.envelope`'s: then it may answer.
    """
    sessions = bench.sessions
    delivered = 0
    draws = Draws(seed, bench.plan.protocol)
    copies = max(1, min(64, count // 16))
    while sessions is not None and delivered < count:
        delivered += _mutated_round(bench, sessions, copies, draws)
    return delivered


def check_set_up_mutations(bench: Bench, copies: int = 16, seed: str = "set-up") -> int:
    """Set up parties that were opened but not set up, with altered copies of every message before the message itself.

    None is answered, none crashes, and afterwards all clients are ready and a sum is exact. Returns how many copies
    were delivered; does nothing if a party is in another process.
    """
    sessions, draws = bench.sessions, Draws(seed, bench.plan.protocol)
    if sessions is None:
        return 0
    queue: deque[Item] = deque(item for party in sessions.values() for item in party.start())
    delivered, outcomes = _carry_mutated(bench, sessions, queue, copies, draws)
    expect(not outcomes, f"the set-up among mutated messages had outcomes: {outcomes}")
    waiting = [name for name in bench.plan.clients if not bench.client(name).ready]
    expect(not waiting, f"{waiting} have no keys after a set-up among mutated messages")
    return delivered + _mutated_round(bench, sessions, 1, draws)


def _carry_mutated(
    bench: Bench, sessions: dict[str, Session], queue: deque[Item], copies: int, draws: Draws
) -> tuple[int, list[Item]]:
    """Deliver everything, altered copies first; returns how many copies, and the outcomes."""
    delivered, outcomes = 0, list[Item]()
    earlier: list[Message] = []
    while queue:
        item = queue.popleft()
        if not isinstance(item, Message):
            outcomes.append(item)
            continue
        for receiver in bench.plan.clients if item.receiver == "clients" else (item.receiver,):
            for _ in range(copies):
                delivered += _deliver_mutated(sessions[receiver], item, earlier, draws)
            queue.extend(sessions[receiver].on(item))
        earlier.append(item)
    return delivered, outcomes


def _mutated_round(bench: Bench, sessions: dict[str, Session], copies: int, draws: Draws) -> int:
    number, upload, delivered = bench.fresh(), bench.plan.uploads[0], 0
    vectors = random_vectors(bench.plan, upload, f"mutations {number}")
    queue: deque[Item] = deque(sessions["server"].on(Begin(number, upload.name)))
    for name in vectors:
        queue.extend(bench.client(name).submit(number, upload.name, vectors[name]))
    outcomes: list[Item] = []
    for _ in range(MAX_DEADLINES):
        count, found = _carry_mutated(bench, sessions, queue, copies, draws)
        delivered, outcomes = delivered + count, outcomes + found
        if outcomes:
            break
        queue.extend(sessions["server"].on(Deadline(number, upload.name)))
    expect(len(outcomes) == 1, f"round {number} among mutated messages had {len(outcomes)} outcomes")
    if not isinstance(outcomes[0], Aggregate):
        raise ConformanceError(f"round {number} among mutated messages: {outcomes[0]}")
    expect_sum(bench.plan, outcomes[0], vectors, number, upload.name)
    return delivered


def _deliver_mutated(party: Session, genuine: Message, earlier: list[Message], draws: Draws) -> int:
    """Deliver one altered copy; 1 if it differed from the genuine message and could be read at all, or was refused
    as unreadable.
    """
    try:
        item = decode(_mutated(genuine, earlier, draws))
    except MessageError:
        return 1
    if item == genuine or not isinstance(item, Message):
        return 0
    answer = party.on(item)
    expect(not answer, f"{party.name} answered {answer} to the altered message {item}, which was {genuine}")
    return 1


def _mutated(genuine: Message, earlier: list[Message], draws: Draws) -> bytes:
    other = earlier[draws.below(len(earlier))] if earlier else genuine
    data = encode(genuine)
    # Long payloads would take nearly every flip: half of the flips go to the last 300 bytes and the first 300.
    head, tail = data[:300], data[-300:]
    match draws.below(12):
        case 0:
            return flipped(data, draws)
        case 1:
            return flipped(head, draws) + data[300:]
        case 2:
            return data[: -len(tail)] + flipped(tail, draws)
        case 3:
            return data[: draws.below(len(data))]
        case 4:
            return data + bytes(1 + draws.below(8))
        case 5:
            return encode(replace(genuine, proof=b""))
        case 6:
            return encode(replace(genuine, sender=other.sender, kind=other.kind))
        case 7:
            return encode(replace(genuine, payload=other.payload))
        case 8:
            return encode(replace(genuine, round=genuine.round + 1, sequence=genuine.sequence + draws.below(3)))
        case 9:
            return encode(replace(genuine, proof=other.proof, sequence=other.sequence))
        case 10:
            return encode(replace(other, round=genuine.round, upload=genuine.upload))
        case _:
            return encode(replace(genuine, sequence=draws.below(1 << 40)))
