"""The canaries that went through a run, judged by the run's own records: its sums, its coins, and nothing played anew.

Each was an example of its device's stream from the start (`secure_fcl.streams.canaries`), in or out by a coin that the
device flipped. What is asked: do the released sums tell who was in, better than the ledger's trade-off curve allows?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.bounds.recorded import Curve, CurveTest, Family, curve_tests
from attacks.games.judging import Coin, Terms, epsilon_lower
from attacks.games.simultaneous import LOUD
from attacks.report import bound_record
from privacy import Event, Ledger
from secure_fcl.auditing.charges import epsilon_of_mu
from secure_fcl.auditing.world import audit_delta
from secure_fcl.engines.simulation import canaries_path, declared_canaries, inserted_canaries, load_arrays
from secure_fcl.errors import RunFolderError
from secure_fcl.randomness import public_seed
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.streams import NEVER

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CONDITION = "the family: the same mechanism, clipping and canaries as declared, under normal noise of any other size"
"""What a bound of a family is conditional on."""
#: Canaries below which nothing is judged: fewer can hardly refute anything.
FEWEST = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class Told:
    """What the records of a row tell of its canaries.

    Attributes:
        index: example numbers of the canaries that a recorded sum could hold, (m,).
        truth: which of them were in.
        scores: of an adversary who knows everything but the canaries' coins.
        alone: of one who knows these too, but for the one asked about; (m,), each with noise of deviation 1.
        family: the law of `alone` for any amount of noise; None where it is not known.
    """

    index: Ints
    truth: Bools
    scores: Floats
    alone: Floats
    family: Family | None


def require_same(plan: RowPlan, folder: RunFolder) -> None:
    """Pass if the canaries that the run logged are those that this version of the program would declare.

    Raises:
        RunFolderError: the log is missing or damaged, or other canaries went through the run.
    """
    path = canaries_path(folder.path, plan.name)
    logged, expected = load_arrays(path), declared_canaries(plan)
    other = [name for name, array in expected.items() if not np.array_equal(logged.get(name, np.empty(0)), array)]
    if other:
        raise RunFolderError(
            f"{path} holds other canaries than this version declares ({', '.join(other)} differ); audit the run with "
            "the version that made it"
        )


def histories_of(plan: RowPlan, folder: RunFolder, index: Ints, chunk: Ints) -> list[Mapping[Event, int]]:
    """Return what the ledger charged each canary: of its cohort, and the fate that paid most where a coin decides it.

    A canary that stayed out has no fate; had it been in, its device's key would have decided it.
    """
    scenario = plan.scenario
    with Ledger(folder.ledger_path(plan.name)) as ledger:
        spent = ledger.spent()
    found: list[Mapping[Event, int]] = []
    for one, part in zip(index.tolist(), chunk.tolist(), strict=True):
        cohort = (scenario.groups[int(scenario.owner[one])], int(scenario.task[one]), part)
        own = [history for c, history in spent.items() if (c.group, c.arrival, c.chunk) == cohort]
        found.append(max(own, key=lambda history: sum(history.values()), default={}))
    return found


def declared(plan: RowPlan, folder: RunFolder) -> tuple[Ints, Ints, Ints, Bools]:
    """Return of each released canary its number, slot and chunk, and whether it was in.

    Raises:
        RunFolderError: see `require_same`; or a coin is missing.
    """
    require_same(plan, folder)
    canaries = plan.scenario.canaries
    assert canaries is not None
    slot = plan.scenario.release[canaries.client, canaries.task]
    chunk = canaries.place // plan.storage.places_per_chunk
    there = slot != NEVER
    inside = np.isin(canaries.index, inserted_canaries(plan, folder.path))
    return canaries.index[there], slot[there], chunk[there], inside[there]


def judged(
    plan: RowPlan, told: Told, groups: Mapping[str, tuple[Bools, Curve]], ledger: Mapping[str, float]
) -> dict[str, Any]:
    """Return the record of one row's canaries.

    Args:
        plan: of the row.
        told: what its records tell.
        groups: by fate, which canaries have it and the curve that the ledger claims of it.
        ledger: `epsilon` of the worst of them at the audit's delta, and `mu` where its curve is normal.
    """
    seed = public_seed(plan.config.seed, "judge canaries of the run", plan.name)
    tests = [
        (fate, int(mine.sum()), test)
        for fate, (mine, curve) in groups.items()
        if mine.sum() >= FEWEST
        for test in curve_tests(told.scores[mine], told.truth[mine], curve, curve, confidence=LOUD, seed=seed)
    ]
    level = (1.0 - LOUD) / max(len(tests), 1)
    delta = audit_delta(plan)
    terms = Terms(target=f"canaries of {plan.name}", seed=seed, coin=Coin(), delta=delta)
    bound = epsilon_lower(told.scores, told.truth, np.arange(len(told.truth)), terms)
    record: dict[str, Any] = {
        "row": plan.name, "stage": "run", "inserted": int(told.truth.sum()), "left_out": int((~told.truth).sum()),
        "ledger_epsilon": ledger.get("epsilon"), "ledger_mu": ledger.get("mu"),
        "curves": [_test_record(fate, count, test, level) for fate, count, test in tests],
        "epsilon_lower": bound_record(bound),
        "family": None if told.family is None else _family_record(told, told.family, ledger.get("mu"), delta, seed),
        "missing": [],
    }  # fmt: skip
    return record


def _test_record(fate: str, count: int, test: CurveTest, level: float) -> dict[str, Any]:
    found = asdict(test) | {"guessed": list(test.guessed), "correct": list(test.correct)}
    del found["confidence"]
    return found | {"fate": fate, "canaries": count, "level": level, "rejected": test.p_value < level}


def _family_record(told: Told, family: Family, mu: float | None, delta: float, seed: int) -> dict[str, Any] | None:
    """Return the test of the family's member that the ledger claims, and the largest member that is refuted."""
    if not 0 < told.truth.sum() < len(told.truth):
        return None
    confidence = 0.95
    factor = family.largest_refuted(told.alone, told.truth, confidence=confidence, seed=seed)
    found = {
        "p_value": family.p_value(told.alone, told.truth, seed=seed), "factor": factor, "confidence": confidence,
        "delta": delta, "conditional_on": CONDITION,
    }  # fmt: skip
    if mu is None:
        return found | {"mu": None, "epsilon": None}
    return found | {"mu": factor * mu, "epsilon": epsilon_of_mu(factor * mu, delta)}


def without(plan: RowPlan, why: str) -> dict[str, Any]:
    """Return the record of a row whose canaries cannot be judged."""
    return {
        "row": plan.name, "stage": "run", "inserted": 0, "left_out": 0, "ledger_epsilon": None, "ledger_mu": None,
        "curves": [], "epsilon_lower": None, "family": None, "missing": [f"canaries of {plan.name}: {why}"],
    }  # fmt: skip


def laws_of(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tests of trade-off curves as laws of attacks.json: a refuted one is a verdict."""
    return [
        {
            "law": f"trade-off curve of canaries in the run, {record['row']}, {test['fate']}, guesses who was "
            f"{test['direction']}",
            "means": "the run's sums tell who was in better than what was charged allows",
            "entries": test["canaries"], "p_value": test["p_value"], "level": test["level"],
            "broken": test["rejected"],
        }
        for record in records
        for test in record["curves"]
    ]  # fmt: skip
