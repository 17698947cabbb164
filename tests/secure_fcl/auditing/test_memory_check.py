"""What devices kept against keys and thresholds: honest memories pass, and every other one is a verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import attacks
from attacks.errors import CoinsContradicted, LossesInvalid, TooFew
from secure_fcl.auditing import all_games, memory_check, require_ledger_holds
from secure_fcl.auditing.memory_check import check_memory
from secure_fcl.auditing.world import Played
from secure_fcl.cli.commands import app
from secure_fcl.config import Config
from secure_fcl.engines.device import Device
from secure_fcl.engines.simulation import SIMULATION, load_arrays, save_arrays
from secure_fcl.memory import EverythingMemory, Held, HerdingMemory, ThresholdMemory
from secure_fcl.randomness import Coins
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare
from secure_fcl.streams import NO_ITEM

#: HAPT's items hold several windows, and some windows straddle two of them; its threshold falls.
SETTINGS = ('rows=["replay"]', "data.name=hapt", "scenario.clients=4", "scenario.partition=iid", "scenario.tasks=3",
            "memory.keep=0.5", "memory.capacity=120", "training.model=auto")  # fmt: skip

HERDING = ("memory.policy=herding", "storage.budget_kib=4096")


def kept(plan: RowPlan, folder: RunFolder) -> None:
    """Close every slot on every device, and write what a simulation writes."""
    coins = Coins(None)
    devices = [Device(plan, client, coins) for client in range(plan.scenario.clients)]
    simulation = folder.path / SIMULATION
    own = {f"{name}{d.client}": a for d in devices for name, a in (("keys", d.draws), ("items", d.items))}
    save_arrays(simulation / "coins-replay.npz", **own)
    for slot in range(plan.scenario.slots):
        for device in devices:
            device.close(slot, {})
        held = {f"held{d.client}": d.held.index for d in devices}
        save_arrays(simulation / f"memory-replay-{slot:03d}.npz", **held)


@pytest.fixture
def plan_of(make_config: Callable[..., Config]) -> Callable[..., RowPlan]:
    return lambda *settings: prepare(make_config(*SETTINGS, *settings)).rows[0][0]


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        ((), ThresholdMemory),
        (("scenario.arrival=asynchronous",), ThresholdMemory),
        (("data.name=digits", "training.model=mlp"), ThresholdMemory),
        (HERDING, HerdingMemory),
        (("scenario.setting=cross-silo",), EverythingMemory),
    ],
)
def test_honest_memories_pass(
    settings: tuple[str, ...], policy: type, plan_of: Callable[..., RowPlan], tmp_path: Path
) -> None:
    plan, folder = plan_of(*settings), RunFolder(tmp_path)
    assert isinstance(plan.memory, policy)
    kept(plan, folder)
    assert check_memory(plan, folder) == {"compared": 4 * plan.scenario.slots, "contradictions": []}
    held = load_arrays(tmp_path / SIMULATION / f"memory-replay-{plan.scenario.slots - 1:03d}.npz")
    assert sum(len(own) for own in held.values()) > 0


def test_a_row_without_a_memory_has_nothing_to_check(plan_of: Callable[..., RowPlan], tmp_path: Path) -> None:
    assert check_memory(plan_of('rows=["finetune"]', "attacks.row=finetune"), RunFolder(tmp_path)) is None


def decided(change: Callable[[ThresholdMemory, int, Held, Held, Any], Held]) -> Callable[..., None]:
    def close(self: ThresholdMemory, task: int, held: Held, arrived: Held, draws: Any, x: Any, y: Any) -> Held:
        return change(self, task, held, arrived, draws)

    return lambda patch: patch.setattr(ThresholdMemory, "close", close)


def honest_close(self: ThresholdMemory, task: int, held: Held, arrived: Held, draws: Any) -> Held:
    threshold = self.thresholds[task]
    return held.where(draws[held.item] < threshold).plus(arrived.where(draws[arrived.item] < threshold))


def beyond_its_calendar(self: ThresholdMemory, task: int, held: Held, arrived: Held, draws: Any) -> Held:
    return held.plus(arrived.where(draws[arrived.item] < self.thresholds[task]))


def by_another_coin(self: ThresholdMemory, task: int, held: Held, arrived: Held, draws: Any) -> Held:
    return honest_close(self, task, held, arrived, 1.0 - draws)


def forgetful(self: ThresholdMemory, task: int, held: Held, arrived: Held, draws: Any) -> Held:
    return honest_close(self, task, Held.nothing(), arrived, draws)


def by_window(self: ThresholdMemory, task: int, held: Held, arrived: Held, draws: Any) -> Held:
    """Every second window of what should be kept."""
    whole = honest_close(self, task, held, arrived, draws)
    return whole.where(np.arange(len(whole)) % 2 == 0)


def straddling(patch: pytest.MonkeyPatch) -> None:
    """Windows between two items are kept with the item before them."""
    close = Device.close

    def closing(self: Device, slot: int, state: Any) -> None:
        close(self, slot, state)
        index = np.concatenate([e.index for e in self.experiences.values()])
        between = index[self._plan.scenario.units.item[index] == NO_ITEM][:3]
        self.held = self.held.plus(Held(between, np.full(3, -1), np.zeros(3, dtype=np.int64)))

    patch.setattr(Device, "close", closing)


def not_its_own(patch: pytest.MonkeyPatch) -> None:
    close = Device.close

    def closing(self: Device, slot: int, state: Any) -> None:
        close(self, slot, state)
        scenario = self._plan.scenario
        others = np.flatnonzero(scenario.data.train & (scenario.owner != self.client) & (scenario.units.item != -1))
        self.held = self.held.plus(Held(others[:1], scenario.units.item[others[:1]], np.zeros(1, dtype=np.int64)))

    patch.setattr(Device, "close", closing)


def of_keys(change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., None]:
    """Devices draw other keys, and keep by them as they should."""
    made = Device.__init__

    def init(self: Device, plan: RowPlan, client: int, coins: Coins, draws: Any = None) -> None:
        made(self, plan, client, coins, draws)
        made(self, plan, client, coins, change(self.draws))

    return lambda patch: patch.setattr(Device, "__init__", init)


def everything(self: ThresholdMemory, task: int, held: Held, arrived: Held, draws: Any) -> Held:
    return held.plus(arrived)


def nothing(self: ThresholdMemory, task: int, held: Held, arrived: Held, draws: Any) -> Held:
    return Held.nothing()


PLANTS: dict[str, tuple[Callable[..., None], str]] = {
    "everything": (decided(everything), "holds .* policy drops .*key"),
    "nothing": (decided(nothing), "lacks .* policy keeps .*key"),
    "beyond its calendar": (decided(beyond_its_calendar), "after slot [23] holds .* policy drops .*key"),
    "by another coin": (decided(by_another_coin), "policy drops"),
    "only the last task": (decided(forgetful), "after slot [23] lacks"),
    "half of an item": (decided(by_window), "lacks"),
    "straddlers": (straddling, "straddles two items"),
    "another client's": (not_its_own, "is not this client's"),
    "keys of other items": (of_keys(lambda keys: np.repeat(keys[::2], 2)[: len(keys)]), "are those of other items"),
    "evenly spaced keys": (of_keys(lambda keys: (np.arange(len(keys)) + 0.5) / len(keys)), "other items|not uniform"),
    "keys that are too small": (of_keys(lambda keys: keys**2), "not uniform"),
    "keys outside their range": (of_keys(lambda keys: keys - 1.0), "not inside"),
}


@pytest.mark.parametrize("bug", PLANTS)
def test_a_memory_against_its_policy_is_a_verdict(
    bug: str, plan_of: Callable[..., RowPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder = plan_of(), RunFolder(tmp_path)
    assert isinstance(plan.memory, ThresholdMemory)
    assert plan.memory.thresholds[2] < plan.memory.thresholds[0]
    plant, says = PLANTS[bug]
    plant(monkeypatch)
    kept(plan, folder)
    document = {"contradictions": [], "memory": check_memory(plan, folder)}
    with pytest.raises(attacks.errors.MemoryContradicted, match=f"contradicts its declared policy: .*({says})"):
        require_ledger_holds(document, Path("report.html"))


def test_a_memory_that_overflows_keeps_nothing_of_the_task(plan_of: Callable[..., RowPlan], tmp_path: Path) -> None:
    plan, folder = plan_of(), RunFolder(tmp_path)
    assert isinstance(plan.memory, ThresholdMemory)
    small = ThresholdMemory(plan.memory.thresholds, 12)
    object.__setattr__(plan, "memory", small)
    kept(plan, folder)
    assert check_memory(plan, folder) == {"compared": 12, "contradictions": []}
    object.__setattr__(plan, "memory", ThresholdMemory(small.thresholds, 10_000))
    found = check_memory(plan, folder)
    assert found is not None
    assert "lacks" in found["contradictions"][0]


@pytest.mark.parametrize("policy", [HERDING, ("scenario.setting=cross-silo",)])
def test_other_policies_are_checked_too(
    policy: tuple[str, ...], plan_of: Callable[..., RowPlan], tmp_path: Path
) -> None:
    plan, folder = plan_of(*policy), RunFolder(tmp_path)
    kept(plan, folder)
    path = tmp_path / SIMULATION / "memory-replay-001.npz"
    held = load_arrays(path)
    save_arrays(path, **held | {"held1": held["held1"][:-2]})
    found = check_memory(plan, folder)
    assert found is not None
    assert all(sentence.startswith("client 1 after slot") for sentence in found["contradictions"])
    assert found["contradictions"]


@pytest.fixture(scope="module")
def audited(run_tiny: Callable[..., Any]) -> Path:
    return Path(
        run_tiny('rows=["replay"]', "scenario.partition=iid", "attacks.enabled=true", "attacks.targets=2",
                 "attacks.inversion_steps=3").path
    )  # fmt: skip


def games(patch: pytest.MonkeyPatch, error: Exception | None) -> None:
    """An audit of one game, which raises an error: what it costs is tested elsewhere."""

    def play(world: object) -> Played:
        if error is not None:
            raise error
        return Played()

    patch.setattr(all_games, "_GAMES", (("a game", play),))


def test_the_command_says_so_and_so_does_the_report(audited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    games(monkeypatch, None)
    assert CliRunner().invoke(app, ["audit", str(audited)]).exit_code == 0
    assert "compared, item by item" in (audited / "report.html").read_text()

    def kept_less(path: Path) -> dict[str, Any]:
        found = load_arrays(path)
        return found | {"held0": found["held0"][1:]} if path.name == "memory-replay-001.npz" else found

    # An edited file is refused before the audit begins: here the device itself kept something else.
    monkeypatch.setattr(memory_check, "load_arrays", kept_less)
    result = CliRunner().invoke(app, ["audit", str(audited)])
    assert result.exit_code == 2
    assert "the memory contradicts its declared policy: client 0 after slot 2 lacks 1 examples" in result.stderr
    assert "The memory contradicts its declared policy" in (audited / "report.html").read_text()


@pytest.mark.parametrize(
    "error", [CoinsContradicted("57 of 60 truths are true"), LossesInvalid("60 values that are not finite")]
)
def test_what_is_not_a_lack_of_data_is_a_verdict(
    error: Exception, audited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    games(monkeypatch, error)
    result = CliRunner().invoke(app, ["audit", str(audited)])
    assert result.exit_code == 2
    assert f"not for lack of data: a game: {error}" in " ".join(result.stderr.split())
    assert f"The audit could not be played: a game: {error}" in (audited / "report.html").read_text()


def test_a_lack_of_data_is_none(audited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    games(monkeypatch, TooFew("three truths"))
    result = CliRunner().invoke(app, ["audit", str(audited)])
    assert result.exit_code == 0
    assert "a game: too few examples to judge (three truths)" in (audited / "attacks.json").read_text()


def test_a_crash_is_no_lack_of_data(audited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    games(monkeypatch, ZeroDivisionError("in a game"))
    result = CliRunner().invoke(app, ["audit", str(audited)])
    assert result.exit_code != 0
    assert isinstance(result.exception, ZeroDivisionError)
