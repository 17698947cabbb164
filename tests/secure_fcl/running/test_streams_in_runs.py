"""What minimum cohorts, rosters and streams seen once do to devices, charges, sums and certificates."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from privacy import spent
from secure_fcl.config import Config, validate
from secure_fcl.data import Dataset
from secure_fcl.engines.device import Device
from secure_fcl.errors import ConfigInvalid, SecureFclError, StorageTooSmall
from secure_fcl.memory.storage import KEY_BYTES
from secure_fcl.randomness import Coins
from secure_fcl.rows.build import build_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.certificate import held_back
from secure_fcl.streams import NEVER, Scenario, build_scenario
from secure_fcl.testing.streams import scenarios

Build = Callable[..., RowPlan]
COINS = Coins(bytes(32))
WAITING = ("scenario.partition=iid", "scenario.clients=5", "scenario.arrival=asynchronous", "scenario.max_delay=3",
           "storage.budget_kib=512")  # fmt: skip


@pytest.fixture(scope="module")
def build(digits: Dataset, make_config: Callable[..., Config]) -> Build:
    def row(name: str, *settings: str) -> RowPlan:
        config = make_config(*settings)
        return build_row(config, build_scenario(digits, config), name, 1.0)

    return row


def brought(plan: RowPlan, client: int) -> list[tuple[int, int]]:
    """(label, slot) of every example that a client's device shows a strategy as current, chunk by chunk."""
    device, found = Device(plan, client, COINS), []
    for slot in range(plan.scenario.slots):
        chunks = {plan.chunk(round): round for round in range(plan.rounds_per_slot)}
        for round in chunks.values():
            found += [(int(y), slot) for y in device.view(slot, round).current.y]
        device.close(slot, plan.strategy.initial())
    return found


def test_what_waits_is_trained_on_later_and_once(build: Build) -> None:
    plan = build("replay", *WAITING, "scenario.min_cohort=4")
    free = build("replay", *WAITING)
    late = 0
    for client in range(5):
        held, at_once = brought(plan, client), brought(free, client)
        assert sorted(y for y, _ in held) == sorted(y for y, _ in at_once)
        late += sum(slot for _, slot in held) > sum(slot for _, slot in at_once)
    assert late > 0
    # In every slot, whoever brings a class is one of at least four announced for it; alone it happens without a rule.
    assert min(fewest_together(plan)) >= 4
    assert min(fewest_together(free)) < 4


def fewest_together(plan: RowPlan) -> list[int]:
    holders: dict[tuple[int, int], set[int]] = {}
    for client in range(plan.scenario.clients):
        for label, slot in brought(plan, client):
            holders.setdefault((label, slot), set()).add(client)
    return [len(clients) for clients in holders.values()]


def test_a_class_with_too_few_holders_reaches_no_strategy_and_no_memory(build: Build) -> None:
    # Sixteen hands for ten classes: some have one holder, the others two.
    plan = build("replay", "scenario.min_cohort=2", "scenario.tasks=5", "scenario.clients=8")
    never = {(w.label) for w in plan.scenario.waits if w.released is None}
    released = {(w.label) for w in plan.scenario.waits if w.released is not None}
    if not never:
        pytest.fail("this seed must leave a class without a cohort")
    for client in range(8):
        device = Device(plan, client, COINS)
        for slot in range(plan.scenario.slots):
            device.close(slot, plan.strategy.initial())
        assert not never & set(plan.scenario.data.y[device.held.index].tolist())
        assert {label for label, _ in brought(plan, client)} <= released
    lines = held_back(plan.scenario)
    assert any("never released: too few holders" in line for line in lines)


def test_what_waits_is_counted_and_refused_beyond_the_budget(build: Build) -> None:
    plan = build("finetune", *WAITING, "scenario.min_cohort=4")
    waiting = plan.scenario.most_waiting
    assert waiting > 0
    assert plan.storage.held_examples == waiting * plan.scenario.largest_place
    most = max(len(device.waiting(slot)) for device in (Device(plan, k, COINS) for k in range(5)) for slot in range(5))
    assert 0 < most <= plan.storage.held_examples
    assert plan.storage.used <= 512 * 1024
    example = plan.storage.example_bytes
    small = (plan.storage.held_examples * example + KEY_BYTES) // 1024
    with pytest.raises(StorageTooSmall, match=r"held-back examples .*lower memory\.capacity or scenario\.min_cohort"):
        build("finetune", *WAITING, "scenario.min_cohort=4", f"storage.budget_kib={small}")


@given(scenarios(), st.integers(8, 64))
@settings(max_examples=25, deadline=None)
def test_nothing_is_kept_beyond_the_budget(scenario: Scenario, kib: int) -> None:
    tree = {"training": {"model": "mlp", "rounds": 3}, "memory": {"capacity": 24, "keep": 0.5},
            "storage": {"budget_kib": kib, "budget_examples": 4 * kib}}  # fmt: skip
    config = validate(tree)
    try:
        plan = build_row(config, scenario, "replay", 1.0)
    except SecureFclError:
        # Too small a device, or a memory that cannot hold one item of each task.
        reject()
    assert plan.storage.used <= kib * 1024
    assert plan.storage.examples <= 4 * kib
    for client in range(scenario.clients):
        device = Device(plan, client, COINS)
        for slot in range(scenario.slots):
            for round in range(plan.rounds_per_slot):
                stored = device.stored(slot, round)
                assert len(stored) <= plan.storage.examples
                waiting = device.waiting(slot)
                assert len(waiting) <= plan.storage.held_examples
                pool = np.setdiff1d(np.setdiff1d(stored, waiting), device.held.index)
                assert len(pool) <= plan.storage.pool_examples
            device.close(slot, plan.strategy.initial())
            assert len(device.held) <= plan.storage.memory_examples


def test_herding_needs_the_whole_task_on_the_device(build: Build) -> None:
    with pytest.raises(StorageTooSmall, match=r"'herding' chooses among a whole task, but .* in \d+ chunks"):
        build("replay", "memory.policy=herding", "memory.capacity=4", "storage.budget_kib=16")
    assert build("replay", "memory.policy=herding", "memory.capacity=4").storage.chunks == 1


def test_charges_fall_where_examples_are_released(build: Build) -> None:
    plan = build("finetune", *WAITING, "scenario.min_cohort=4", "scenario.order=shuffle")
    scenario = plan.scenario
    total = spent(c for slot, round in plan.schedule() for c in plan.charges(slot, round))
    expected = {(scenario.groups[k], t) for k, t in np.argwhere(scenario.release != NEVER)}
    assert {(cohort.group, cohort.arrival) for cohort in total} == expected
    rounds = plan.rounds_per_slot // plan.storage.chunks
    for events in total.values():
        assert sum(events.values()) >= rounds * plan.config.training.steps


def test_the_memory_counts_tasks_closed_whatever_their_order(build: Build) -> None:
    plan = build("replay", "scenario.partition=iid", "scenario.order=shuffle", "scenario.tasks=5", "memory.capacity=12")
    thresholds = plan.memory.thresholds  # type: ignore[union-attr]
    assert thresholds[0] > thresholds[-1]
    for client in range(5):
        device = Device(plan, client, COINS)
        for slot in range(5):
            device.close(slot, plan.strategy.initial())
            items = plan.scenario.units.item[device.held.index]
            assert (device._lookup[items] < thresholds[slot]).all()
            assert len(device.held) <= 12


def test_a_stream_seen_once_shows_each_example_in_one_round(build: Build) -> None:
    plan = build("finetune", "scenario.partition=iid", "scenario.kind=online", "training.rounds=4", "online.segments=2")
    assert 1 < plan.rounds_per_slot <= 4
    device = Device(plan, 0, COINS)
    for slot in range(plan.scenario.slots):
        views = [device.view(slot, round).current for round in range(plan.rounds_per_slot)]
        assert sum(len(view) for view in views) == len(device.experiences[slot].index)
        assert all(len(view) <= plan.storage.pool_examples for view in views)
    total = spent(c for slot, round in plan.schedule() for c in plan.charges(slot, round))
    # Every chunk is a cohort of its own, charged for one round only.
    assert {sum(events.values()) for events in total.values()} == {plan.config.training.steps}


CHURN = ("scenario.partition=iid", "scenario.clients=12", "scenario.tasks=4", "scenario.joining=0.3",
         "scenario.leaving=0.3", 'rows=["class_sums"]', "replay_noise=true", "privacy.max_dropouts=0")  # fmt: skip


def test_noise_shares_follow_who_is_there(build: Build) -> None:
    plan = build("class_sums", *CHURN)
    sizes = plan.scenario.dates.present.sum(axis=0).tolist()
    assert len(set(sizes)) > 1
    for slot, size in enumerate(sizes):
        shares = plan.noise_in(slot)
        assert shares is not None
        assert shares.event == plan.train_noise.event  # type: ignore[union-attr]
        assert shares.share_variance * (size - 1) == pytest.approx(shares.guaranteed_variance)
        assert len(plan.secure_plan(slot).clients) == size
    with pytest.raises(ConfigInvalid, match=rf"leave none of {min(sizes)} clients"):
        build("class_sums", *CHURN, f"privacy.max_dropouts={min(sizes) - 1}")


@pytest.mark.parametrize("row", ["class_sums", "calm", pytest.param("slda", marks=pytest.mark.slow)])
def test_only_those_present_send_and_protocols_agree(run_tiny: Callable[..., Any], build: Build, row: str) -> None:
    churn = (*CHURN, f'rows=["{row}"]')
    present = build(row, *churn).scenario.dates.present
    plain, sealed = run_tiny(*churn), run_tiny(*churn, "protection=secagg")
    assert plain.digest() == sealed.digest()
    assert plain.metrics == sealed.metrics
    for run in (plain, sealed):
        for cost in run.records("cost.jsonl"):
            senders = {message["client"] for message in cost["ciphertexts"]}
            assert senders == set(np.flatnonzero(present[:, cost["task"]]).tolist())
            assert cost["clients"] == len(senders)
    assert any("join and leave" in fact for fact in plain.certificate(row)["public"])


@pytest.mark.parametrize("row", ["analytic", "slda", "calm"])
def test_sums_of_moments_wait_for_a_minimum_cohort_too(run_tiny: Callable[..., Any], row: str) -> None:
    """A class that was held back is in no release before its time, and all are told apart at the end."""
    run = run_tiny(*WAITING, "scenario.min_cohort=4", f'rows=["{row}"]', f"{row}.noise=none", f"{row}.epsilon=inf")
    records = [r for r in run.records("metrics.jsonl") if r["kind"] == "task"]
    assert records[0]["micro"] < 0.5
    assert records[-1]["micro"] > 0.85


def test_the_report_says_how_long_a_class_waited(run_tiny: Callable[..., Any]) -> None:
    run = run_tiny(*WAITING, "scenario.min_cohort=4", 'rows=["class_sums"]')
    final = next(r for r in run.records("metrics.jsonl") if r["kind"] == "final")
    waits = {w["class"]: w for w in final["waits"]}
    assert set(waits) == {str(c) for c in range(10)}
    assert max(w["longest"] for w in waits.values()) > 0
    assert all(w["cohort"] is None or w["cohort"] >= 4 for w in waits.values())
    lines = run.certificate("class_sums")["held_back"]
    assert any("an experience waited up to" in line for line in lines)
    assert lines[0].split(":")[0] in (run.path / "certificate.txt").read_text()
