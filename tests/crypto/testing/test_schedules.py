"""For any order, loss and repetition of the clients' messages: the exact sum of who arrived, or an Abort."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto import (
    Abort,
    Aggregate,
    Begin,
    Deadline,
    Upload,
    plan,
    set_up,
)
from crypto.running.driver import Outcome, deliver
from crypto.running.rehearsal import rehearse
from crypto.testing import Bench, random_vectors

NAMES = ("ada", "bob", "cyd", "dan", "eve")
schedules = st.lists(st.sampled_from(NAMES), max_size=10)


@pytest.fixture(scope="module", params=["plain", "bfv", "mpc"])
def bench(request: pytest.FixtureRequest) -> Bench:
    made = plan(request.param, NAMES, (Upload(name="update", length=7, bound=1000),), 1000, max_dropouts=2)
    kit = Bench(made, rehearse(made))
    set_up(kit.parties)
    return kit


def run_schedule(bench: Bench, schedule: list[str]) -> Outcome:
    number, upload = bench.fresh(), bench.plan.uploads[0]
    vectors = random_vectors(bench.plan, upload, f"schedule {number}")
    inputs = {"server": (Begin(number, upload.name),)}
    outcomes = deliver(bench.parties, (), inputs=inputs)
    sent = {name: bench.client(name).submit(number, upload.name, vectors[name]) for name in set(schedule)}
    for name in schedule:
        outcomes += deliver(bench.parties, sent[name])
    outcomes += deliver(bench.parties, (), inputs={"server": (Deadline(number, upload.name),)})
    (outcome,) = outcomes
    if len(sent) < bench.plan.min_clients:
        assert isinstance(outcome, Abort)
        assert outcome.reason.startswith(f"{len(sent)} of 5")
        return outcome
    assert isinstance(outcome, Aggregate)
    assert outcome.contributors == tuple(name for name in NAMES if name in sent)
    assert np.array_equal(outcome.total, np.sum([vectors[name] for name in sent], axis=0))
    return outcome


@given(schedule=schedules)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_schedule(bench: Bench, schedule: list[str]) -> None:
    assert run_schedule(bench, schedule).session == bench.plan.session


@pytest.mark.parametrize("schedule", [[], ["ada"] * 3, ["eve", "bob", "cyd"], ["dan", "dan", "cyd", "ada"], NAMES])
def test_schedules_in_processes(mpc_bench: Bench, schedule: list[str]) -> None:
    assert run_schedule(mpc_bench, list(schedule)).session == mpc_bench.plan.session
