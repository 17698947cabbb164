"""A memory of the user's own: refused where it breaks a law, watched while it runs, named on the certificate."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secure_fcl.auditing.memory_check import check_memory
from secure_fcl.config import Config, load_config
from secure_fcl.engines.simulation import SIMULATION, load_arrays, save_arrays
from secure_fcl.errors import ConfigInvalid
from secure_fcl.memory import Held, MemoryNumbers, own_memory
from secure_fcl.memory.own import MemoryBroken
from secure_fcl.rows.build import calibrated_row
from secure_fcl.runner import start, train
from secure_fcl.streams import Scenario

MEMORIES = """
import numpy as np


class Coins:
    private, displaces_others = True, False

    def __init__(self, numbers):
        self.capacity, self.keep = numbers.items_per_task * numbers.tasks * numbers.item_size, numbers.keep

    def close(self, task, held, arrived, draws, x, y):
        return held.plus(arrived.where(draws[arrived.item] < self.keep))


class Newest:
    '''Keeps what came last; declared for what it is.'''

    private, displaces_others, capacity = False, True, 6

    def close(self, task, held, arrived, draws, x, y):
        both = held.plus(arrived)
        return both.where(np.arange(len(both)) >= len(both) - 6)


class Hidden(Newest):
    private, displaces_others = True, False


class Peeks(Coins):
    def close(self, task, held, arrived, draws, x, y):
        return held.plus(arrived.where(x[arrived.index].mean() > 0))
"""
NUMBERS = MemoryNumbers(keep=0.5, capacity=10, items_per_task=8, item_size=1, tasks=3)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_memories", raising=False)
    (tmp_path / "own_memories.py").write_text(MEMORIES)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_rows_refuse_one_that_breaks_a_law(make_config: Callable[..., Config], tiny_scenario: Scenario) -> None:
    for name, said in {
        "Hidden": r"own_memories\.py breaks a law: memory: of \[7\] examples .* without example \d, it decides oth",
        "Peeks": r"breaks a law: .* close fails with IndexError: .*; a policy with private = True is shown no values",
    }.items():
        with pytest.raises(ConfigInvalid, match=said):
            calibrated_row(make_config(f"memory.policy=own_memories:{name}"), tiny_scenario, "replay")
    plan, multiplier = calibrated_row(make_config("memory.policy=own_memories:Coins"), tiny_scenario, "replay")
    assert multiplier > 0
    assert plan.overflow == 0.0


@pytest.mark.usefixtures("here")
def test_one_that_is_not_private_has_no_epsilon(make_config: Callable[..., Config], tiny_scenario: Scenario) -> None:
    plan, _ = calibrated_row(make_config("memory.policy=own_memories:Newest"), tiny_scenario, "replay")
    assert plan.memory is not None
    assert not plan.memory.private
    named = {str(event) for history in plan.planned().values() for event in history}
    assert any("own_memories:Newest: what is kept depends on the values of all examples" in one for one in named)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (lambda given: given.plus(given), "keeps an example twice"),
        (lambda given: Held(given.index + 50, given.item, given.arrival), "or one that it was not given"),
        (lambda given: Held(given.index, given.item, given.arrival + 1), "changes the item or the arrival"),
        (lambda given: 1 / 0, r"close fails with ZeroDivisionError: division by zero"),
        (lambda given: None, r"close fails with AttributeError"),
    ],
)
def test_what_no_memory_may_hold_is_never_held(kept: Callable[[Held], Held], said: str) -> None:
    memory = own_memory("own_memories:Coins", NUMBERS)
    memory.inner.close = lambda task, held, arrived, *rest: kept(held.plus(arrived))  # type: ignore[method-assign]
    three = np.arange(3, dtype=np.int64)
    with pytest.raises(MemoryBroken, match=said):
        memory.close(0, Held.nothing(), Held(three, three, 0 * three), np.zeros(3), np.zeros((3, 2), np.float32), three)


def test_a_run_keeps_what_it_says_and_the_audit_asks_it_again(here: Path) -> None:
    config = load_config(
        None,
        [
            'rows=["replay"]', "protection=plain", "workers=1", "data.name=digits", "scenario.clients=3",
            "scenario.tasks=2", "scenario.partition=iid", "training.rounds=1", "training.steps=1",
            "training.model=softmax", "privacy.max_dropouts=0", "attacks.enabled=false",
            "memory.policy=own_memories:Coins",
            "storage.budget_kib=4000",
        ],
    )  # fmt: skip
    prepared, folder = start(config, here / "runs", "mine")
    train(prepared, folder)
    certificate = json.loads((folder.path / "certificate.json").read_text())
    assert [one["reference"] for one in certificate["outside_code"]] == ["own_memories:Coins"]
    facts = certificate["rows"]["replay"]["public"]
    assert any("own_memories:Coins, which its own code declares private: it is shown no values" in f for f in facts)
    plan = prepared.rows[0][0]
    assert check_memory(plan, folder) == {"compared": 6, "contradictions": []}
    path = folder.path / SIMULATION / "memory-replay-001.npz"
    held = load_arrays(path)
    assert len(held["held0"]) > 1
    path.unlink()
    save_arrays(path, **{**held, "held0": held["held0"][1:]})
    found = check_memory(plan, folder)
    assert found is not None
    assert "client 0 after slot 2 lacks 1 examples that its policy keeps" in found["contradictions"][0]
