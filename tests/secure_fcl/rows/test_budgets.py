import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from privacy import BudgetSpent, Ledger, SampledGaussian, spent, statements
from privacy.cohorts import Spent
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.engines.device import Device
from secure_fcl.errors import ConfigInvalid, WorkerLost
from secure_fcl.randomness import Coins
from secure_fcl.rows.budgets import (
    ClientBudget,
    RowBudget,
    RowLedger,
    admit,
    arrivals_from_json,
    arrivals_to_json,
    charges_of,
    kept_budget,
    planned_budget,
)
from secure_fcl.rows.build import calibrated_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.runner import train
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare
from secure_fcl.streams import build_scenario

Make = Callable[..., RowPlan]
NOBODY: frozenset = frozenset()


@pytest.fixture
def make(digits: Dataset, make_config: Callable[..., Config]) -> Make:
    def row(name: str, *settings: str) -> RowPlan:
        config = make_config(*settings)
        return calibrated_row(config, build_scenario(digits, config), name)[0]

    return row


def run_through(plan: RowPlan, ledger: RowLedger, repeat: tuple[int, int] | None = None) -> list[frozenset]:
    """Charge the whole schedule, one round twice; return who was retired from each round."""
    found: list[frozenset] = []
    for slot, round in plan.schedule():
        found += [ledger.charge(slot, round) for _ in range(2 if (slot, round) == repeat else 1)]
    return found


@pytest.mark.parametrize("name", ["replay", "finetune", "class_sums"])
def test_a_planned_schedule_just_fits(make: Make, name: str, tmp_path: Path) -> None:
    plan = make(name)
    budget = planned_budget(plan)
    assert budget is not None
    # Not more than was asked, and no noise is wasted on the difference.
    asked = float(plan.config.section(name).epsilon)
    assert 0.98 * asked < budget.epsilon <= asked
    with Ledger(tmp_path / "l") as ledger:
        assert set(run_through(plan, RowLedger(plan, ledger, budget))) == {NOBODY}
        assert ledger.spent() == plan.scheduled() == budget.certified(ledger.spent())
        # One more round of anything passes it.
        assert admit(plan, budget, ledger.spent(), 0, 0).retired == {(plan.scenario.groups[0], 0)}


def within(budget: RowBudget, charged: Spent) -> bool:
    return all(budget.refusal(cohort, events) is None for cohort, events in charged.items())


def test_a_repeated_round_retires_its_arrival_from_one_of_its_kind(make: Make, tmp_path: Path) -> None:
    plan = make("replay")
    budget = planned_budget(plan)
    assert budget is not None
    with Ledger(tmp_path / "l") as ledger:
        retired = run_through(plan, RowLedger(plan, ledger, budget), repeat=(0, 1))
        charged = ledger.spent()
    # Task 0 is left out of its last round, as current data; nothing of its memory was repeated.
    task = [{task for _, task in found} for found in retired]
    assert task == [set()] * (plan.rounds_per_slot) + [{0}] + [set()] * (len(task) - plan.rounds_per_slot - 1)
    assert within(budget, charged)
    assert charged == plan.scheduled()


@pytest.mark.parametrize("spare", [0, 2])
@pytest.mark.parametrize("name", ["replay", "class_sums", "finetune"])
def test_whatever_is_repeated_or_left_out_certifies_what_was_asked(
    make: Make, name: str, spare: int, tmp_path: Path
) -> None:
    """Rounds in an order that anybody chose, each charged 0 to 4 times."""
    plan = make(name, f"privacy.spare_rounds={spare}")
    budget = planned_budget(plan)
    assert budget is not None
    rounds, random = list(plan.schedule()) * 4, Random(spare)
    random.shuffle(rounds)
    with Ledger(tmp_path / "l") as ledger:
        row = RowLedger(plan, ledger, budget)
        retired = [row.charge(slot, round) for slot, round in rounds[1:]]
        charged = ledger.spent()
    assert any(retired)
    assert within(budget, charged)
    told = statements(budget.certified(charged), plan.accounting_delta)
    ran = statements(charged, plan.accounting_delta)
    assert max(row.epsilon for row in ran) <= max(row.epsilon for row in told) <= plan.config.section(name).epsilon
    assert max(row.epsilon for row in told) <= budget.epsilon


def test_what_was_not_planned_is_refused_however_cheap(make: Make) -> None:
    plan = make("replay")
    budget = planned_budget(plan)
    assert budget is not None
    cohort = next(iter(budget.cohorts))
    cheap = {SampledGaussian(q=1e-6, noise_multiplier=100.0): 1}
    assert budget.refusal(cohort, cheap) is not None
    assert budget.refusal(replace(cohort, group="nobody"), plan.scheduled()[cohort]) is not None
    # What a ledger holds all the same (of another version, say) is never left out of the account.
    assert budget.certified({cohort: Counter(cheap)})[cohort] == Counter(dict(budget.of(cohort).planned)) + Counter(
        cheap
    )


def test_spare_rounds_make_room_and_cost_noise(make: Make, tmp_path: Path) -> None:
    tight, roomy = make("replay"), make("replay", "privacy.spare_rounds=1")
    with Ledger(tmp_path / "l") as ledger:
        assert set(run_through(roomy, RowLedger(roomy, ledger, planned_budget(roomy)), repeat=(0, 1))) == {NOBODY}
    assert roomy.strategy.dpsgd.noise_multiplier > tight.strategy.dpsgd.noise_multiplier  # type: ignore[attr-defined]


def test_a_row_without_a_guarantee_has_no_budget(make: Make, tmp_path: Path) -> None:
    for plan in (
        make("finetune", "finetune.noise=none", "finetune.epsilon=inf"),
        make("replay", "memory.policy=herding"),
    ):
        assert planned_budget(plan) is None
        with Ledger(tmp_path / plan.name) as ledger:
            assert set(run_through(plan, RowLedger(plan, ledger, None))) == {NOBODY}
            assert len(ledger) == plan.rounds


def test_a_client_refuses_what_the_server_should_not_have_asked(make: Make) -> None:
    plan = make("finetune")
    budget, group = planned_budget(plan), plan.scenario.groups[0]
    client = ClientBudget(plan, budget, {})
    for slot, round in plan.schedule():
        client.take_part({group}, slot, round, NOBODY)
    with pytest.raises(BudgetSpent, match="a client refuses task 2, round 2"):
        client.take_part({group}, 1, 1, NOBODY)
    # Its examples left out, it takes part with noise alone.
    client.take_part({group}, 1, 1, frozenset({(group, 1)}))
    # What was charged before it started counts.
    told = spent(c for slot, round in plan.schedule() for c in plan.charges(slot, round))
    with pytest.raises(BudgetSpent):
        ClientBudget(plan, budget, told).take_part({group}, 0, 0, NOBODY)
    ClientBudget(plan, budget, told).take_part({"nobody of ours"}, 0, 0, NOBODY)


def test_a_device_leaves_retired_examples_out(make: Make) -> None:
    plan = make("replay", "memory.keep=1.0", "memory.capacity=2000", "storage.budget_kib=4096")
    # With this seed some clients meet a task without an example of it.
    device = next(
        d
        for d in (Device(plan, k, Coins(bytes(32))) for k in range(5))
        if all(len(d.view(t, 0).current) for t in (0, 1))
    )
    assert len(device.view(0, 0).current) > len(device.view(0, 0, {0}).current) == 0
    device.close(0, {})
    whole, without = device.view(1, 0), device.view(1, 0, {0})
    assert len(whole.memory) > len(without.memory) == 0
    assert len(whole.current) == len(without.current)
    assert np.array_equal(device.view(1, 0, {1}).memory.x, whole.memory.x)


def test_the_budget_is_laid_down_once(make: Make, tmp_path: Path) -> None:
    plan, path = make("replay"), tmp_path / "row.budget.json"
    budget = kept_budget(plan, path)
    assert budget == planned_budget(plan)
    assert math.isclose(json.loads(path.read_text())["epsilon"], budget.epsilon)
    assert json.loads(path.read_text())["epsilon"] <= 8.0
    # A later version that would plan another curve is bound by the first.
    other = make("replay", "training.rounds=9")
    assert kept_budget(other, path) == budget
    assert kept_budget(make("finetune", "finetune.noise=none", "finetune.epsilon=inf"), tmp_path / "n") is None
    whole = path.read_text()
    for broken in (
        '{"orders": [2.5]}',
        "[]",
        whole.replace('"count": ', '"count": -'),
        whole.replace("Sampled", "Simple"),
    ):
        path.write_text(broken)
        with pytest.raises(ConfigInvalid, match="not a budget"):
            kept_budget(plan, path)


def test_charges_and_arrivals_come_back(make: Make) -> None:
    plan = make("replay")
    whole = spent(c for slot, round in plan.schedule() for c in plan.charges(slot, round))
    assert spent(charges_of(whole)) == whole
    arrivals = frozenset({("all", 0), ("late", 3)})
    assert arrivals_from_json(json.loads(json.dumps(arrivals_to_json(arrivals)))) == arrivals


def finished(config: Config, path: Path) -> RunFolder:
    folder = RunFolder.create(path, config, "run")
    train(prepare(config), folder)
    return folder


def test_a_run_never_passes_its_budget(make_config: Callable[..., Config], tmp_path: Path) -> None:
    """A round was charged and lost before the run starts: its last round goes without the spent examples."""
    config = make_config('rows=["finetune"]', "replay_noise=true")
    folder, ready = RunFolder.create(tmp_path, config, "run"), prepare(config)
    plan = ready.rows[0][0]
    with Ledger(folder.ledger_path("finetune")) as ledger:
        ledger.charge(plan.charges(0, 0), slot=0, round=0)
    train(ready, folder)
    budget = kept_budget(plan, folder.budget_path("finetune"))
    assert budget is not None
    with Ledger(folder.ledger_path("finetune")) as ledger:
        assert within(budget, ledger.spent())
    records = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert [r.get("retired") for r in records if r["kind"] == "round"] == [None, [["all clients", 0]], None, None]
    certified = json.loads((folder.path / "certificate.json").read_text())["rows"]["finetune"]
    assert certified["epsilon"] <= 8.0


def test_a_server_that_asks_too_much_is_refused_by_the_clients(
    make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault: the server's filter is switched off. The workers know better."""
    from secure_fcl.running import loop as job

    config = make_config('rows=["finetune"]')
    folder, ready = RunFolder.create(tmp_path, config, "run"), prepare(config)
    plan = ready.rows[0][0]
    with Ledger(folder.ledger_path("finetune")) as ledger:
        ledger.charge(plan.charges(0, 0), slot=0, round=0)
    monkeypatch.setattr(job, "kept_budget", lambda plan, path: None)
    with pytest.raises(WorkerLost, match="a client refuses task 1, round 2"):
        train(ready, folder)
