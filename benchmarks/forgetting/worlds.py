"""A world: one run of the strategies on the half of the examples that its coins chose, and what its models say."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from attacks.games.attack import Candidates, repeated
from benchmarks.poisoning.attack import HereParties
from evaluation.files import read_json
from privacy import Ledger
from privacy.cohorts import undominated
from secure_fcl.auditing.charges import cost
from secure_fcl.auditing.leakage import held_after
from secure_fcl.auditing.world import accounted, audit_delta
from secure_fcl.config import load_config
from secure_fcl.data import Dataset, load
from secure_fcl.data.dataset import COLUMNS
from secure_fcl.engines.federation import Federation
from secure_fcl.engines.host import ClientHost
from secure_fcl.engines.lab import SimulationLab
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.runner import start
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Job
from secure_fcl.running.prepare import Prepared
from secure_fcl.strategies import GradientStrategy, State
from secure_fcl.strategies.gradient.models import logits
from secure_fcl.streams import as_shown
from secure_fcl.streams.units import NO_ITEM, held_out, make_units

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ROWS = ("finetune", "fedlwf", "replay", "class_sums", "calm")
SETS = {"hapt": 3, "mnist": 5, "digits": 5}
"""Data sets with their number of tasks, class-incremental."""
ORDERS = {"hapt": (0, 3, 1, 4, 2, 5, 6, 7, 8, 9, 10, 11)}
"""Order of the classes where it is not that of their numbers; each task takes equally many."""
CLIENTS = 3
_TRAIN, _TEST = 2000, 1500
COMMON = (
    "data.name=arrays", "protection=plain", "attacks.enabled=false", "transcript=full", "replay_noise=true",
    "scenario.holdout=0", "scenario.partition=iid", f"scenario.clients={CLIENTS}", "seed=1",
    "training.trainer=stacked", "training.model=softmax", "training.rounds=2", "training.steps=20",
    "training.upload_clip=8", "training.upload_bits=20", "training.sum_clip=32", "training.learning_rate=4",
    "memory.capacity=200", "storage.budget_kib=8192",
)  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Told:
    """What one row of one world tells, about the same candidates in every world.

    Attributes:
        then: log odds of the own label under the model after the candidate's own task, (n,).
        last: the same under the last model.
        kept: bool (n,), whether a device's memory holds the candidate before the last task.
        right_then, right_last: share of the old tasks' test examples that are right, after each one's own task and in
            the end; all classes met so far compete.
        memory: bytes that a device keeps beside the examples at hand.
        epsilon: of one example by the certificate; infinite without noise.
        block: of all that one coin decides about, at the audits' delta; NaN where it was not asked for.
        delta: that delta.
    """

    then: Floats
    last: Floats
    kept: Bools
    right_then: float
    right_last: float
    memory: int
    epsilon: float
    block: float
    delta: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Bench:
    """A data set in its tasks.

    Attributes:
        data: the data set, all training examples in.
        tasks: number of tasks.
        candidates: numbers of the old tasks' training examples that coins decide about, int64 (n,).
        cluster: the coin of each candidate.
    """

    name: str
    data: Dataset
    tasks: int
    candidates: Ints
    cluster: Ints

    @property
    def task(self) -> Ints:
        """Task of every example of the data set."""
        return np.argsort(self.order)[self.data.y] * self.tasks // len(self.order)

    @property
    def order(self) -> tuple[int, ...]:
        """Classes in the order of the tasks."""
        return ORDERS.get(self.name, tuple(range(len(self.data.classes))))


def bench_of(name: str, data_dir: str) -> Bench:
    """Return a data set of `SETS`; of MNIST the first 2,000 training images, of all 1,500 test examples at even steps.

    Raises:
        secure_fcl.data.errors.DataError: it is not there.
    """
    data, tasks = load(name, data_dir or None), SETS[name]
    train, test = np.flatnonzero(data.train), np.flatnonzero(data.test)
    chosen = np.sort(
        np.concatenate([train[: _TRAIN if name == "mnist" else None], test[:: max(1, len(test) // _TEST)]])
    )
    columns = {name: getattr(data, name)[chosen] for name in COLUMNS}
    data = replace(data, **columns, digest="")
    # Public features, made once for all worlds and rows; units and coins go by what is said of the windows.
    data = replace(data, x=as_shown(data.x, "refined"), digest="")
    units, none = make_units(data), np.zeros(0, dtype=np.int64)
    whole = Bench(name=name, data=data, tasks=tasks, candidates=none, cluster=none)
    old = whole.task < tasks - 1
    pool = np.flatnonzero(data.train & old & (units.item != NO_ITEM))
    twice = repeated(Candidates(data.x[pool], data.y[pool], units.item[pool], np.zeros(len(pool), dtype=np.int64)))
    pool = pool[~twice]
    return replace(whole, candidates=pool, cluster=units.item[pool])


def coins_of(bench: Bench, world: int) -> Bools:
    """Return which examples a world leaves out: a fair coin per item, straddling windows beside one too, bool."""
    return held_out(bench.data, make_units(bench.data), 0.5, np.random.default_rng([17, world]))


def play_world(bench: Bench, rows: tuple[str, ...], epsilon: float, world: int, retrained: bool) -> dict[str, Told]:
    """Run the rows on a world's half of the data; `retrained`: the last task's examples alone, nothing older.

    Noise is local. Initial weights, partition and order of tasks are public and the same in all worlds.
    """
    out = coins_of(bench, world)
    if retrained:
        out = out | (bench.task < bench.tasks - 1)
    data = replace(bench.data, train=bench.data.train & ~out, digest="")
    quoted = ", ".join(f'"{row}"' for row in rows)
    settings = [*COMMON, f"scenario.tasks={bench.tasks}", f"rows=[{quoted}]"]
    settings.append(f"scenario.class_order={list(bench.order)}")
    for row in rows:
        budget, noise = ("inf", "none") if math.isinf(epsilon) else (epsilon, "local")
        settings += [f"{row}.epsilon={budget}", f"{row}.noise={noise}"]
    with TemporaryDirectory() as place:
        prepared, folder = start(load_config(None, settings), Path(place), "world", data=data)
        _run_here(prepared, folder)
        first = world == 0 and not retrained
        return {plan.name: _told(bench, plan, folder, first) for plan, _ in prepared.rows}


def _run_here(prepared: Prepared, folder: RunFolder) -> None:
    """Run with the clients in this process: a worker would take longer to start than these small runs to finish."""
    parties = HereParties(ClientHost(), CLIENTS)
    with folder.locked():
        Job(prepared, folder, Federation(clients=CLIENTS, parties=parties, lab=SimulationLab(parties, CLIENTS))).run()


def _told(bench: Bench, plan: RowPlan, folder: RunFolder, first: bool) -> Told:
    candidates = bench.candidates
    own, old = bench.task[candidates], bench.data.test & (bench.task < bench.tasks - 1)
    then, right = np.zeros(len(candidates)), 0
    for slot in range(bench.tasks - 1):
        state, mine, tested = _after(plan, folder, slot), candidates[own == slot], old & (bench.task == slot)
        then[own == slot] = log_odds(_scores(plan, state, mine), bench.data.y[mine])
        right += int((_scores(plan, state, np.flatnonzero(tested)).argmax(axis=1) == bench.data.y[tested]).sum())
    state = _after(plan, folder, bench.tasks - 1)
    last = _scores(plan, state, np.flatnonzero(old)).argmax(axis=1) == bench.data.y[old]
    certified = read_json(folder.path / "certificate.json")["rows"][plan.name]["epsilon"]
    # The ledger charges public numbers alone, and so the same in every world; a block's share takes long to compute.
    block = _of_a_coin(plan, folder) if first else math.nan
    return Told(
        then=then, last=log_odds(_scores(plan, state, candidates), bench.data.y[candidates]),
        kept=np.isin(candidates, held_after(plan, folder, bench.tasks - 2)),
        right_then=right / int(old.sum()), right_last=float(last.mean()),
        memory=plan.storage.used - plan.storage.table()["current pool"],
        epsilon=math.inf if certified is None else float(certified), block=block,
        delta=audit_delta(plan),
    )  # fmt: skip


def _after(plan: RowPlan, folder: RunFolder, slot: int) -> State:
    saved = folder.load_round(plan.name, (slot + 1) * plan.rounds_per_slot - 1)
    return {name: saved[name] for name in plan.strategy.initial()}


def _scores(plan: RowPlan, state: State, index: Ints) -> Floats:
    """Class scores of a state on examples by number, (n, classes)."""
    x = plan.scenario.x[index]
    if isinstance(plan.strategy, GradientStrategy):
        return logits(plan.strategy.network(state), x).astype(np.float64)
    return np.asarray(plan.strategy.scores(state, x), dtype=np.float64)


def log_odds(scores: Floats, labels: Ints) -> Floats:
    """Score of the own label minus log-sum-exp of the others', (n,): log p / (1 - p) where scores are logits.

    The same reading is given to discriminants and cosines of closed forms: an attack by shadow models needs a number
    that moves with membership, not a probability. A class that was never released scores far below all others.
    """
    bounded = np.maximum(scores, -1e6)
    each = np.arange(len(labels))
    others = bounded.copy()
    others[each, labels] = -np.inf
    return np.asarray(bounded[each, labels] - np.logaddexp.reduce(others, axis=1))


def _of_a_coin(plan: RowPlan, folder: RunFolder) -> float:
    """What the ledger charged all that one coin decides about, in the worst cohort, at the audits' delta."""
    units = plan.scenario.units
    if plan.noise == "none":
        return math.inf
    size = units.largest_item + (2 if (units.item == NO_ITEM).any() else 0)
    with Ledger(folder.ledger_path(plan.name)) as ledger:
        histories = undominated(list(ledger.spent().values()))
    return max(cost(history, size, accounted(plan)) for history in histories)
