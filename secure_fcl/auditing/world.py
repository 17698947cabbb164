"""What the challenger of an audit holds, and what every game takes from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import TooFew
from attacks.games.attack import Candidates, Losses
from attacks.games.judging import Coin, Terms
from attacks.games.play import Outcome
from attacks.modules.functions import losses_of
from attacks.shadows import ShadowModels
from evaluation.errors import TooFewSamples
from secure_fcl.errors import RunFolderError
from secure_fcl.randomness import public_seed
from secure_fcl.rows.audited import sums_alone
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import Prepared
from secure_fcl.strategies import GradientStrategy
from secure_fcl.streams import NO_ITEM

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Say = Callable[[str], None]

#: Checkpoints per slot that the adversary of "all models" uses; more cost time and tell little more.
CHECKPOINTS_PER_SLOT = 2
#: Delta at which the ledger and the attacks are compared, unless the run's own is smaller. At 1e-5 the p-values of a
#: bound from one run end above what the verdict over all games asks for, and no ledger could ever be contradicted.
AUDIT_DELTA = 1e-8
#: What a game raises that has too few examples for its statistics, and nothing else; the other games are still played.
TOO_LITTLE = (TooFew, TooFewSamples)


@dataclass(frozen=True, eq=False)
class AuditWorld:
    """What the challenger holds: the plan, the strategy under attack, and the recorded checkpoints."""

    plan: RowPlan
    strategy: GradientStrategy
    transcript: dict[str, NDArray[np.generic]]
    folder: RunFolder
    shadows: ShadowModels | None = None

    @property
    def slot_of(self) -> Ints:
        """See `slots_of`."""
        return slots_of(self.plan)

    @property
    def noise_of_sum(self) -> float:
        """Standard deviation per coordinate of the noise of all clients on a sum of gradients, in gradient units."""
        step = self.strategy.dpsgd
        one = step.noise_multiplier * step.clipping_norm
        return one * math.sqrt(self.plan.scenario.clients) if self.plan.noise == "local" else one

    @property
    def noise_of_client(self) -> float:
        """The same of one client's part: all of it if noise is local, a share of it if noise is shared."""
        return self.noise_of_sum / math.sqrt(self.plan.scenario.clients)

    def pool(self) -> Ints:
        """Return the numbers of all examples that a hold-out coin decided about and that someone meets."""
        scenario = self.plan.scenario
        return np.flatnonzero(scenario.data.train & (scenario.units.item != NO_ITEM) & (self.slot_of >= 0))

    def candidates(self, index: Ints) -> Candidates:
        """Return examples as an adversary is asked about them: clusters are items, tasks the slots of arrival."""
        scenario = self.plan.scenario
        return Candidates(scenario.x[index], scenario.data.y[index], scenario.units.item[index], self.slot_of[index])

    def examples(self, index: Ints) -> tuple[NDArray[np.float32], Ints]:
        """Return examples and labels by number."""
        return self.plan.scenario.x[index], self.plan.scenario.data.y[index]

    def losses(self) -> Losses:
        """Return the losses of the row's network."""
        return losses_of(self.strategy.network(self.strategy.initial()))

    def terms(self, target: str, rate: float, epsilon: float | None) -> Terms:
        """Return how a game with one coin per item is judged."""
        blocks = self.plan.scenario.units.largest_item > 1
        return Terms(
            target=target + (" (one coin per block of windows)" if blocks else ""),
            seed=public_seed(self.plan.config.seed, "judge", target),
            coin=Coin(rate, per_cluster=blocks),
            delta=audit_delta(self.plan),
            ledger_epsilon=finite(epsilon),
        )

    def model_after(self, slot: int) -> NDArray[np.float32]:
        """Return the last recorded model of a slot; -1 is the initial one."""
        slots = self.transcript["model_tasks"]
        place = int(np.flatnonzero(slots == slot)[-1])
        return np.asarray(self.transcript["models"][place], dtype=np.float32)


@dataclass(frozen=True)
class Played:
    """What one part of an audit found.

    Attributes:
        outcomes: of its games.
        missing: what it could not play for lack of data, one sentence each.
        more: more keys of attacks.json.
        failed: what it could not play for another reason, one sentence each; each is a verdict.
    """

    outcomes: tuple[Outcome, ...] = ()
    missing: tuple[str, ...] = ()
    more: tuple[tuple[str, Any], ...] = ()
    failed: tuple[str, ...] = ()


def slots_of(plan: RowPlan) -> Ints:
    """Return the slot in which each example's owner releases its task, -1 if never; int64 (n,)."""
    scenario = plan.scenario
    # Row and column -1 are nobody and no task.
    first = np.pad(scenario.release, ((0, 1), (0, 1)), constant_values=-1)
    return first[scenario.owner, scenario.task]


def finite(epsilon: float | None) -> float | None:
    """Return an epsilon that can be compared with, else None."""
    return epsilon if epsilon is not None and math.isfinite(epsilon) else None


def audit_delta(plan: RowPlan) -> float:
    """Return the delta at which ledger and attacks are compared."""
    return min(plan.config.privacy.delta, AUDIT_DELTA)


def accounted(plan: RowPlan) -> float:
    """Return what the accountants get of the audit's delta: all but what overflow of the memory takes."""
    return plan.accounting_delta - (plan.config.privacy.delta - audit_delta(plan))


def attacked_plan(prepared: Prepared, folder: RunFolder) -> RowPlan:
    """Return the plan of the row that the games are about: attacks.row, else the run's first row of sums alone.

    Raises:
        RunFolderError: the run is not finished, has neither, its unit is a person, or its rounds share a tree's noise.
    """
    if not folder.progress().finished:
        raise RunFolderError(f"run {folder.path} is not finished; continue it with --resume first")
    wanted = prepared.config.attacks.row
    if prepared.config.privacy.unit == "person":
        raise RunFolderError(
            f"attacks.row = {wanted!r} is attacked by single examples, and privacy.unit = 'person' promises nothing "
            "about one beside another of the same person; audit a run of privacy.unit = 'example'"
        )
    if prepared.config.privacy.mechanism == "tree":
        raise RunFolderError(
            f"attacks.row = {wanted!r} is attacked through sums whose rounds have noise of their own, and "
            "privacy.mechanism = 'tree' shares it between rounds; audit a run of privacy.mechanism = 'independent'"
        )
    plans = {plan.name: plan for plan, _ in prepared.rows}
    if wanted in plans:
        return plans[wanted]
    sums = [plan for plan in plans.values() if sums_alone(plan)]
    if not sums:
        raise RunFolderError(f"attacks.row = {wanted!r} is not among the run's rows {sorted(plans)}; choose one")
    return sums[0]


def open_world(prepared: Prepared, folder: RunFolder) -> AuditWorld:
    """Return the world of a finished run whose attacked row trains a network.

    Raises:
        RunFolderError: the run is not finished, its transcript is damaged, or the attacked row is not part of it or
            trains no network.
    """
    plan = attacked_plan(prepared, folder)
    if not isinstance(plan.strategy, GradientStrategy):
        raise RunFolderError(
            f"row {plan.name!r} trains no network; attack its sums (secure_fcl.auditing.sums), or set attacks.row to "
            "replay or finetune"
        )
    return AuditWorld(plan, plan.strategy, _transcript(plan, folder), folder)


def _transcript(plan: RowPlan, folder: RunFolder) -> dict[str, NDArray[np.generic]]:
    """Return models of the recorded rounds that the audit uses, with the slot each was taken in (-1: before any)."""
    # A closing round changes no weights, and its sum is of another kind.
    rounds = plan.training_rounds
    parts = range(1, CHECKPOINTS_PER_SLOT + 1)
    chosen = sorted({rounds * part // CHECKPOINTS_PER_SLOT - 1 for part in parts} - {-1})
    models, slots, sums, clients = [plan.strategy.initial()["weights"]], [-1], [], []
    for slot in range(plan.scenario.slots):
        for round in chosen:
            saved = folder.load_round(plan.name, slot * plan.rounds_per_slot + round)
            models.append(saved["weights"])
            slots.append(slot)
            sums.append(saved["total"])
            clients.append(plan.expected(slot, round))
    return {
        "models": np.stack(models),
        "model_tasks": np.array(slots, dtype=np.int64),
        "final_model": models[-1],
        "sums": np.stack(sums),
        "sum_clients": np.array(clients, dtype=np.int64),
    }
