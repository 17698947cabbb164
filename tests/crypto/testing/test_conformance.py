from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from crypto import Abort, Aggregate, Message, Upload, open_client, plan
from crypto.errors import SecretExposed
from crypto.protocols.plain import PlainServer
from crypto.protocols.session import Session
from crypto.testing import CHECKS, ROUNDS_NEEDED, Bench, ConformanceError, check_faults, check_mutations, check_protocol
from crypto.testing.checks import (
    check_dropouts,
    check_exact,
    check_garbage,
    check_replays,
    check_secrecy,
    check_submissions,
    check_too_few,
    check_unopened,
)
from crypto.wire.messages import Input, Item

Fault = Callable[[Session, Input], tuple[Item, ...]]
Check = Callable[[Bench], None]
each_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)


@each_check
def test_plain(check: Check, plain_bench: Bench) -> None:
    before = plain_bench.next_round
    check(plain_bench)
    assert plain_bench.next_round > before


@each_check
def test_bfv(check: Check, bfv_bench: Bench) -> None:
    before = bfv_bench.next_round
    check(bfv_bench)
    assert bfv_bench.next_round > before


@each_check
def test_mpc_rehearsed(check: Check, mpc_rehearsal: Bench) -> None:
    before = mpc_rehearsal.next_round
    check(mpc_rehearsal)
    assert mpc_rehearsal.next_round > before


@each_check
def test_mpc_in_processes(check: Check, mpc_bench: Bench) -> None:
    before = mpc_bench.next_round
    check(mpc_bench)
    # Faults and mutations need all parties in one process.
    assert (mpc_bench.next_round > before) == (check not in (check_faults, check_mutations))


class Broken:
    """A server around the true one, with one fault; the suite must notice each."""

    def __init__(self, inner: Session, fault: Fault) -> None:
        self.name = inner.name
        self._inner = inner
        self._fault = fault

    def start(self) -> tuple[Item, ...]:
        return self._inner.start()

    def on(self, item: Input) -> tuple[Item, ...]:
        return self._fault(self._inner, item)

    def __repr__(self) -> str:
        return "<secrets not shown>"

    def __reduce_ex__(self, protocol: object) -> str:
        raise SecretExposed


def off_by_one(inner: Session, item: Input) -> tuple[Item, ...]:
    out = inner.on(item)
    return tuple(replace(x, total=x.total + 1) if isinstance(x, Aggregate) else x for x in out)


def any_session(inner: Session, item: Input) -> tuple[Item, ...]:
    return inner.on(replace(item, session=SESSION) if isinstance(item, Message) else item)


def any_sender(inner: Session, item: Input) -> tuple[Item, ...]:
    if isinstance(item, Message) and item.sender == "stranger":
        return inner.on(replace(item, sender="ada"))
    return inner.on(item)


def crashes(inner: Session, item: Input) -> tuple[Item, ...]:
    if isinstance(item, Message) and not item.payload:
        raise ValueError("empty payload")
    return inner.on(item)


def forgets_the_first(inner: Session, item: Input) -> tuple[Item, ...]:
    # Loses one client of each sum but reports it as summed.
    if isinstance(item, Message) and item.sender == "ada":
        return inner.on(replace(item, payload=bytes(len(item.payload))))
    return inner.on(item)


def never_answers(inner: Session, item: Input) -> tuple[Item, ...]:
    inner.on(item)
    return ()


def unchanged(inner: Session, item: Input) -> tuple[Item, ...]:
    return inner.on(item)


def no_reason(inner: Session, item: Input) -> tuple[Item, ...]:
    return tuple(replace(x, reason="") if isinstance(x, Abort) else x for x in inner.on(item))


def never_too_few(inner: Session, item: Input) -> tuple[Item, ...]:
    out = inner.on(item)
    zero = np.zeros(UPLOAD.length, dtype=np.int64)
    return tuple(Aggregate(x.session, x.round, x.upload, zero, ()) if isinstance(x, Abort) else x for x in out)


SESSION = "broken"
UPLOAD = Upload(name="update", length=50, bound=1 << 60)


@pytest.mark.parametrize(
    ("fault", "check", "error"),
    [
        (off_by_one, check_exact, ConformanceError),
        (off_by_one, check_dropouts, ConformanceError),
        (any_session, check_replays, ConformanceError),
        (any_sender, check_replays, ConformanceError),
        (crashes, check_garbage, ValueError),
        (no_reason, check_too_few, ConformanceError),
        (never_too_few, check_too_few, ConformanceError),
        (never_too_few, check_unopened, None),
        (forgets_the_first, check_faults, ConformanceError),
        (never_answers, check_faults, ConformanceError),
        (never_too_few, check_faults, ConformanceError),
        (no_reason, check_faults, ConformanceError),
        # Without an envelope, altered vectors are summed.
        (unchanged, check_faults, ConformanceError),
        (unchanged, check_mutations, ConformanceError),
    ],
)
def test_broken_servers_are_found(fault: Fault, check: Check, error: type[Exception] | None) -> None:
    planned = plan("plain", ("ada", "bob", "cyd", "dan"), (UPLOAD,), ROUNDS_NEEDED, 1, session=SESSION)
    parties = {name: open_client(planned, name) for name in planned.clients}
    bench = Bench(planned, parties | {"server": Broken(PlainServer(planned), fault)})
    if error is None:
        check(bench)
        return
    with pytest.raises(error):
        check(bench)


def test_a_leaky_session_and_a_careless_client_are_found(plain_bench: Bench) -> None:
    class Leaky:
        name, ready, public = "ada", True, None

        def start(self) -> tuple[Item, ...]:
            return ()

        def on(self, item: Input) -> tuple[Item, ...]:
            return ()

        def submit(self, round: int, upload: str, vector: object) -> tuple[Message, ...]:
            return ()

    bench = Bench(plain_bench.plan, {**plain_bench.parties, "ada": Leaky()})
    with pytest.raises(ConformanceError, match="not redacted"):
        check_secrecy(bench)
    with pytest.raises(ConformanceError, match="accepted a vector"):
        check_submissions(bench)


def test_check_protocol_runs_every_check(plain_bench: Bench) -> None:
    made: list[int] = []

    def make() -> Bench:
        made.append(1)
        return plain_bench

    check_protocol(make)
    assert len(made) == len(CHECKS)
