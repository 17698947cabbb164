from collections.abc import Callable

import numpy as np
import pytest

from crypto import Abort, Aggregate, Upload, plan, run_round
from crypto.errors import CryptoError, SubmissionRefused
from crypto.planning.plans import Plan
from crypto.running.driver import deliver
from crypto.testing import Bench
from crypto.wire.messages import Begin, Message


@pytest.fixture
def bench(make_bench: Callable[[Plan], Bench]) -> Bench:
    return make_bench(plan("plain", ("a", "b", "c"), (Upload(name="g", length=2, bound=10),), 5, max_dropouts=1))


def test_known_sum_and_abort(bench: Bench) -> None:
    vectors = {"a": np.array([1, 2]), "b": np.array([-10, 10]), "c": np.array([0, 5])}
    outcome = run_round(bench.parties, 0, "g", vectors)
    assert isinstance(outcome, Aggregate)
    assert outcome.total.tolist() == [-9, 17]
    outcome = run_round(bench.parties, 1, "g", vectors, drop={"a"})
    assert isinstance(outcome, Aggregate)
    assert (outcome.total.tolist(), outcome.contributors) == ([-10, 15], ("b", "c"))
    outcome = run_round(bench.parties, 2, "g", {"b": vectors["b"]})
    assert isinstance(outcome, Abort)
    assert outcome.reason.startswith("1 of 3 clients arrived, the plan demands 2")


def test_a_round_runs_once(bench: Bench) -> None:
    run_round(bench.parties, 0, "g", {})
    with pytest.raises(CryptoError, match="run once"):
        run_round(bench.parties, 0, "g", {})


def test_strangers_cannot_submit(bench: Bench) -> None:
    with pytest.raises(SubmissionRefused, match="not a client"):
        run_round(bench.parties, 0, "g", {"server": np.zeros(2, dtype=np.int64)})


def test_messages_for_absent_parties_are_dropped(bench: Bench) -> None:
    lost = Message(
        sender="a", receiver="nobody", kind="vector", session=bench.plan.session, round=0, upload="g", payload=b""
    )
    assert deliver(bench.parties, [lost], inputs={"server": (Begin(0, "g"),)}) == []
