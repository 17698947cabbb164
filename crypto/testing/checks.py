"""The conformance suite: what every secure-sum protocol must do, ours or a user's own.

Give `check_protocol` a function that returns a `Bench`, or run the functions of `CHECKS` one by one (for
example through pytest's parametrize). A failed check raises ConformanceError.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from crypto.errors import SecretExposed, SubmissionRefused
from crypto.keys.randomness import KeyedStream, derive_key
from crypto.protocols.session import ClientSession, Session
from crypto.running.driver import Outcome, deliver, run_round
from crypto.testing.bench import Bench, ConformanceError, Vectors, expect, expect_sum, random_vectors
from crypto.testing.differencing import check_differencing
from crypto.testing.fault_checks import check_faults, check_mutations
from crypto.wire.messages import Abort, Begin, Deadline, Message


def check_exact(bench: Bench) -> None:
    """All clients arrive: the sum is exact, bit for bit, for every upload of two rounds."""
    for number in (bench.fresh(), bench.fresh()):
        for upload in bench.plan.uploads:
            vectors = random_vectors(bench.plan, upload, f"exact {number} {upload.name}")
            outcome = run_round(bench.parties, number, upload.name, vectors)
            expect_sum(bench.plan, outcome, vectors, number, upload.name)


def check_dropouts(bench: Bench) -> None:
    """As many clients drop out as the plan allows: the survivors' sum is exact."""
    for missing in range(1, bench.plan.max_dropouts + 1):
        upload, number = bench.plan.uploads[0], bench.fresh()
        vectors = random_vectors(bench.plan, upload, f"dropouts {missing}")
        gone = bench.plan.clients[missing - 1 :: -1][:missing]
        outcome = run_round(bench.parties, number, upload.name, vectors, drop=gone)
        remaining = {name: vector for name, vector in vectors.items() if name not in gone}
        expect_sum(bench.plan, outcome, remaining, number, upload.name)


def check_too_few(bench: Bench) -> None:
    """One client fewer than the plan demands, and none at all: an Abort with a reason, and the next sum is
    right.
    """
    upload = bench.plan.uploads[0]
    for present in (bench.plan.min_clients - 1, 0):
        number = bench.fresh()
        vectors = random_vectors(bench.plan, upload, f"too few {present}")
        outcome = run_round(bench.parties, number, upload.name, vectors, drop=bench.plan.clients[present:])
        expect(isinstance(outcome, Abort) and bool(outcome.reason), f"{present} clients gave {outcome}, no Abort")
        expect((outcome.round, outcome.upload) == (number, upload.name), "the Abort names another sum")
    _expect_next_sum(bench, "after too few")


def check_replays(bench: Bench) -> None:
    """Duplicates, messages of past rounds, of other sessions and of strangers never change a sum."""
    upload, past, number = bench.plan.uploads[0], bench.fresh(), bench.fresh()
    old = random_vectors(bench.plan, upload, "replays, old")
    old_messages = _submit_all(bench, past, upload.name, old)
    expect_sum(bench.plan, _only(_run(bench, past, upload.name, old_messages)), old, past, upload.name)
    vectors = random_vectors(bench.plan, upload, "replays, new")
    messages = _submit_all(bench, number, upload.name, vectors)
    crowd: list[Message] = []
    for message, before in zip(messages, old_messages, strict=True):
        foreign = replace(before, session="another session", round=number)
        crowd += [foreign, replace(before, sender="stranger", round=number), message, message, foreign]
    outcome = _only(_run(bench, number, upload.name, [*old_messages, *crowd, *old_messages, *messages]))
    expect_sum(bench.plan, outcome, vectors, number, upload.name)
    late = _run(bench, number, upload.name, messages)
    expect(not late, f"a closed sum was reopened: {late}")


def check_unopened(bench: Bench) -> None:
    """Messages and deadlines of rounds that were not begun, or lie outside the plan, have no outcome."""
    upload, unopened = bench.plan.uploads[0], bench.fresh()
    vectors = random_vectors(bench.plan, upload, "unopened")
    messages = _submit_all(bench, unopened, upload.name, vectors)
    beyond = [replace(message, round=bench.plan.rounds) for message in messages]
    unknown = [replace(message, upload="no such upload") for message in messages]
    inputs = (
        Deadline(unopened, upload.name),
        Begin(bench.plan.rounds, upload.name),
        Begin(unopened, "no such upload"),
        Deadline(bench.plan.rounds, upload.name),
    )
    outcomes = deliver(bench.parties, [*messages, *beyond, *unknown], inputs={"server": inputs})
    expect(not outcomes, f"a sum that was never begun gave {outcomes}")
    _expect_next_sum(bench, "after unopened")


def check_submissions(bench: Bench) -> None:
    """A client refuses wrong types and shapes, entries of the vector or of its noise beyond the bound of each, rounds
    outside the plan, and a second vector.
    """
    upload, number = bench.plan.uploads[0], bench.fresh()
    client = bench.client(bench.plan.clients[0])
    good = random_vectors(bench.plan, upload, "submissions")[bench.plan.clients[0]]
    over = good.copy()
    over[-1] = upload.bound + 1
    wrong: list[npt.NDArray[np.int64]] = [good[:-1], good.reshape(1, -1), over, -over]
    wrong.append(good.astype(np.float64))
    for vector in wrong:
        _expect_refusal(client, number, upload.name, vector)
    for share in (upload.noise_bound + 1, -upload.noise_bound - 1):
        _expect_refusal(client, number, upload.name, good, np.full_like(good, share))
    _expect_refusal(client, bench.plan.rounds, upload.name, good)
    _expect_refusal(client, -1, upload.name, good)
    _expect_refusal(client, number, "no such upload", good)
    client.submit(number, upload.name, good)
    _expect_refusal(client, number, upload.name, good)


def check_secrecy(bench: Bench) -> None:
    """Sessions show nothing in `repr`, and refuse copying and pickling; messages and logs show no payload."""
    for name, party in bench.parties.items():
        if not isinstance(party, Session):
            continue
        expect("secrets not shown" in repr(party), f"the repr of {name} is not redacted: {repr(party)[:80]}")
        try:
            party.__reduce_ex__(4)
        except SecretExposed:
            continue
        raise ConformanceError(f"the session of {name} can be pickled; use crypto.keys.secrecy.holds_secrets")
    number, upload = bench.fresh(), bench.plan.uploads[0]
    vectors = random_vectors(bench.plan, upload, "secrecy")
    messages = _submit_all(bench, number, upload.name, vectors)
    shown = _logged(bench, [*messages, *(replace(message, payload=message.payload[:-1]) for message in messages)])
    for message in messages:
        for part in (repr(message.payload)[2:22], message.payload.hex()[:20]):
            expect(part not in repr(message), "a message shows its payload")
            expect(part not in shown, "the log shows a payload")


def _logged(bench: Bench, messages: list[Message]) -> str:
    """Everything that is logged while the messages arrive."""
    lines: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        deliver(bench.parties, messages)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    return "\n".join(lines)


def check_garbage(bench: Bench) -> None:
    """Altered, cut and random payloads of every kind, to every party, raise nothing; the next sum is
    right.
    """
    upload, number = bench.plan.uploads[0], bench.fresh()
    vectors = random_vectors(bench.plan, upload, "garbage")
    noise = KeyedStream(derive_key(b"conformance suite", "garbage"))
    messages = _submit_all(bench, number, upload.name, vectors)
    kinds = {message.kind for message in messages} | {
        "key",
        "open",
        "sum",
        "have",
        "reveal",
        "refused",
        "vector",
    }
    senders = (
        *bench.plan.clients[:1],
        *(name for name in bench.parties if name not in bench.plan.clients),
        "stranger",
    )
    bodies = [b"", b"\x00", b"\xc1" * 40, noise(48), noise(8 * upload.length), noise(70_000)]
    genuine = messages[0].payload
    bodies += [genuine[:-1], genuine[: len(genuine) // 2], genuine + b"\x00", bytes(reversed(genuine))]
    session = bench.plan.session
    crowd = [
        Message(
            sender=sender, receiver=receiver, kind=kind, session=session, round=number, upload=upload.name, payload=body
        )
        for receiver in (*(name for name in bench.parties if name not in bench.plan.clients), "clients")
        for kind in sorted(kinds)
        for sender in senders
        for body in bodies
    ]
    deliver(bench.parties, crowd, inputs={"server": (Begin(number, upload.name),)})
    deliver(bench.parties, (), inputs={"server": (Deadline(number, upload.name),)})
    _expect_next_sum(bench, "after garbage")


CHECKS: tuple[Callable[[Bench], object], ...] = (
    check_exact,
    check_dropouts,
    check_too_few,
    check_replays,
    check_unopened,
    check_submissions,
    check_secrecy,
    check_garbage,
    check_faults,
    check_mutations,
    check_differencing,
)


def check_protocol(make_bench: Callable[[], Bench]) -> None:
    """Run all checks, each on what `make_bench` returns (a new bench, or the same one with rounds left).

    Raises:
        ConformanceError: at the first rule broken.
    """
    for check in CHECKS:
        check(make_bench())


def _submit_all(bench: Bench, number: int, upload: str, vectors: Vectors) -> list[Message]:
    return [message for name in vectors for message in bench.client(name).submit(number, upload, vectors[name])]


def _run(bench: Bench, number: int, upload: str, messages: Iterable[Message]) -> list[Outcome]:
    deliver(bench.parties, (), inputs={"server": (Begin(number, upload),)})
    outcomes = deliver(bench.parties, messages)
    return outcomes + deliver(bench.parties, (), inputs={"server": (Deadline(number, upload),)})


def _only(outcomes: list[Outcome]) -> Outcome:
    expect(len(outcomes) == 1, f"one outcome was expected, {len(outcomes)} came")
    return outcomes[0]


def _expect_next_sum(bench: Bench, label: str) -> None:
    upload, number = bench.plan.uploads[0], bench.fresh()
    vectors = random_vectors(bench.plan, upload, label)
    outcome = run_round(bench.parties, number, upload.name, vectors)
    expect_sum(bench.plan, outcome, vectors, number, upload.name)


def _expect_refusal(
    client: ClientSession,
    number: int,
    upload: str,
    vector: npt.NDArray[np.int64],
    noise: npt.NDArray[np.int64] | None = None,
) -> None:
    try:
        client.submit(number, upload, vector) if noise is None else client.submit(number, upload, vector, noise)
    except SubmissionRefused:
        return
    raise ConformanceError(f"{client.name} accepted a vector that it must refuse (round {number}, {upload})")
