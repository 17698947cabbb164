"""The canaries of a row that trains a network: how far its recorded sums go along each one's own gradient.

A canary's clipped gradient is taken at the model before each round in which its device could draw it: as current data,
and from the memory in the slots in which its device's key keeps it, or would have kept it. Who was out has a key as
well, so that the fate of a canary does not depend on its coin. The adversary knows all other examples, but not who was
drawn: what they add on average is taken off, and their gradients' directions count little. What is left of them stays
in the scores, so their law is not known, and there is no bound within a family.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from attacks.bounds.recorded import Curve
from attacks.gradients.worlds import clip_rows
from attacks.modules.functions import flat_weights, gradients_of
from privacy import Event, Ledger
from secure_fcl.auditing.charges import cost
from secure_fcl.auditing.run_canaries import FEWEST, Told, declared, judged, without
from secure_fcl.auditing.world import audit_delta
from secure_fcl.engines.simulation import SIMULATION, coins_path, file_stem, load_arrays
from secure_fcl.memory import ThresholdMemory
from secure_fcl.randomness import public_generator
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.strategies import GradientStrategy, State
from secure_fcl.strategies.gradient.models import is_own
from secure_fcl.streams.canaries import NOTHING

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Test examples whose gradients stand for everybody's, how much more these count than noise, and the median of a
#: squared standard normal.
_OTHERS, _STRENGTH_OF_OTHERS, _MEDIAN = 150, 10.0, 0.4549
#: Examples whose gradients are taken at once.
_BATCH = 256
#: Deltas at which the ledger's trade-off curve is held.
_DELTAS = np.concatenate([np.geomspace(1e-8, 0.1, 8), [0.2, 0.4, 0.6]])


def judge_gradients(plan: RowPlan, folder: RunFolder) -> dict[str, object]:
    """Return the record of a row's canaries.

    Raises:
        RunFolderError: the run logged other canaries, or a file is missing or damaged.
    """
    strategy = plan.strategy
    if not isinstance(strategy, GradientStrategy):
        return without(plan, "its releases are neither sums of examples nor of gradients")
    if not plan.protected:
        return without(plan, "it has no guarantee, so there is no trade-off curve to test")
    if is_own(plan.config.training.model):
        return without(plan, "gradients of single examples are not taken of a network of the user's own")
    if plan.own_models or not {"gradient", "update"} & {part.name for part in strategy.uploads["train"].parts}:
        return without(plan, "its sums are not of gradients or updates of one common model")
    index, slot, chunk, truth = declared(plan, folder)
    if len(index) < FEWEST:
        return without(plan, f"{len(index)} went through the run; declare at least {FEWEST}")
    kept = _kept(plan, folder, index, slot)
    top, size = np.zeros(len(index)), np.zeros(len(index))
    others = _population(plan)
    for round, state, along in recorded_rounds(plan, folder):
        if plan.phase(round[1]) != "train":
            continue
        own = (slot == round[0]) & (chunk == plan.chunk(round[1]))
        drawn = own | kept[:, round[0]]
        if drawn.any():
            own_ones = _clipped(strategy, state, plan, index[drawn], len(along))
            beside = _clipped(strategy, state, plan, others[plan.scenario.task[others] <= round[0]], len(along))
            means = _expected(strategy, state, plan, _present(plan, folder, round), len(along))
            left = along - means.T @ np.linalg.lstsq(means.T, along, rcond=None)[0]
            above, length = _apart(own_ones, beside, left)
            top[drawn] += above
            size[drawn] += length
    scores = top / np.sqrt(np.maximum(size, 1e-300))
    told = Told(index=index, truth=truth, scores=scores, alone=scores, family=None)
    groups, worst = _groups(plan, folder, np.asarray(kept.any(axis=1)))
    return judged(plan, told, groups, {"epsilon": worst} if np.isfinite(worst) else {})


def recorded_rounds(plan: RowPlan, folder: RunFolder) -> Iterator[tuple[tuple[int, int], State, Floats]]:
    """Yield each round's slot and number in it, the model before it, and its sum in the direction of gradients."""
    state = plan.strategy.initial()
    for number, (slot, round) in enumerate(plan.schedule()):
        saved = folder.load_round(plan.name, number)
        parts = plan.wire(plan.phase(round), slot).draw(slot, round).decode(saved["total"])
        # An update goes down what a gradient goes up; what else a closing round sends is of another kind.
        sign, name = (1.0, "gradient") if "gradient" in parts else (-1.0, "update")
        yield (slot, round), state, sign * np.asarray(parts.get(name, ()), dtype=np.float64).ravel()
        state = {name: array for name, array in saved.items() if name != "total"}


def _kept(plan: RowPlan, folder: RunFolder, index: Ints, slot: Ints) -> Bools:
    """Return in which slots the memory of each canary's device holds it, or would if it were in, (m, slots)."""
    scenario, memory = plan.scenario, plan.memory
    found = np.zeros((len(index), scenario.slots), dtype=np.bool_)
    if memory is None:
        return found
    stored = load_arrays(coins_path(folder.path, plan.name))
    for place, one in enumerate(index.tolist()):
        client = int(scenario.owner[one])
        items, keys = stored[f"items{client}"], stored[f"keys{client}"]
        key = float(keys[np.searchsorted(items, scenario.units.item[one])])
        for later in range(int(slot[place]) + 1, scenario.slots):
            closed = int(scenario.closed(later - 1)[client])
            bound = memory.thresholds[closed - 1] if isinstance(memory, ThresholdMemory) else 1.0
            found[place, later] = key < bound
    return found


def _clipped(strategy: GradientStrategy, state: State, plan: RowPlan, index: Ints, size: int) -> Floats:
    """Return the clipped gradients of canaries at a model, (n, size): of its last `size` weights, which are sent."""
    import torch

    module, scenario = strategy.network(state), plan.scenario
    x, y = torch.from_numpy(scenario.x[index]), torch.from_numpy(scenario.data.y[index])
    rows = gradients_of(module, flat_weights(module))(x, y).detach().double()[:, -size:]
    return np.asarray(clip_rows(rows, strategy.dpsgd.clipping_norm).numpy())


def _population(plan: RowPlan) -> Ints:
    """Return some test examples, whose gradients look like those of the examples that are in the sums."""
    pool = plan.scenario.test_indices()
    return public_generator(plan.config.seed, "population of canaries").permutation(pool)[:_OTHERS]


def _present(plan: RowPlan, folder: RunFolder, round: tuple[int, int]) -> tuple[Ints, Ints]:
    """Return the current and the remembered examples of all devices in a round, but for canaries."""
    scenario, (slot, number) = plan.scenario, round
    chunk, places = plan.chunk(number), plan.storage.places_per_chunk
    current = [
        scenario.experience(client, task).chunk(chunk, places)
        for client in range(scenario.clients)
        for task in scenario.released(client, slot)
    ]
    held: list[Ints] = []
    if plan.memory is not None and slot:
        path = folder.path / SIMULATION / f"memory-{file_stem(plan.name)}-{slot - 1:03d}.npz"
        held = list(load_arrays(path).values())
    found = (np.concatenate([NOTHING, *current]), np.concatenate([NOTHING, *held]))
    return found[0], found[1][scenario.data.train[found[1]]]


def _expected(strategy: GradientStrategy, state: State, plan: RowPlan, present: tuple[Ints, Ints], size: int) -> Floats:
    """Return the sums of the clipped gradients of current and of remembered examples, (1 or 2, size)."""
    found = []
    for part in present:
        total = np.zeros(size)
        for first in range(0, len(part), _BATCH):
            total += _clipped(strategy, state, plan, part[first : first + _BATCH], size).sum(axis=0)
        found.append(total)
    return np.stack([total for total in found if total.any()] or [np.zeros(size)])


def _apart(own: Floats, others: Floats, along: Floats) -> tuple[Floats, Floats]:
    """Return how far a sum goes along each canary's gradient where others do not, and by how much one would move it.

    The directions of others' gradients count little, and what canaries have in common counts less (a generalised least
    squares fit; the inverse by Woodbury's identity). The noise is read off the sum: most entries are noise alone.
    """
    noise = float(np.median(along**2)) / _MEDIAN or 1.0
    rows = []
    for part, strength in ((others, _STRENGTH_OF_OTHERS), (own, 1.0)):
        length = np.linalg.norm(part, axis=1, keepdims=True)
        rows.append(part * np.sqrt(strength) / np.maximum(length, 1e-300))
    known = np.concatenate(rows)
    inner = np.eye(len(known)) + known @ known.T
    both = np.column_stack([along, own.T])
    solved = both - known.T @ np.linalg.solve(inner, known @ both)
    return own @ solved[:, 0] / noise, np.einsum("nd,dn->n", own, solved[:, 1:]) / noise


def _groups(plan: RowPlan, folder: RunFolder, kept: Bools) -> tuple[dict[str, tuple[Bools, Curve]], float]:
    """Return by fate which canaries have it and what the ledger claims of it, and the largest epsilon among them."""
    histories = histories_by_fate(plan, folder)
    found, worst = dict[str, tuple[Bools, Curve]](), 0.0
    for fate, mine in (("kept", kept), ("discarded", ~kept)):
        history = histories.get(fate) or histories.get("kept")
        if history is None or not mine.any():
            continue
        epsilons = np.array([cost(history, 1, float(delta)) for delta in _DELTAS])
        finite = np.isfinite(epsilons)
        if finite.any():
            found[fate] = (mine, Curve(epsilons=epsilons[finite], deltas=_DELTAS[finite]))
        worst = max(worst, cost(history, 1, audit_delta(plan)))
    return found, worst


def histories_by_fate(plan: RowPlan, folder: RunFolder) -> dict[str, dict[Event, int]]:
    """Return of each fate the history of the cohort that the ledger charged most."""
    with Ledger(folder.ledger_path(plan.name)) as ledger:
        spent = ledger.spent()
    found: dict[str, dict[Event, int]] = {}
    for cohort, history in spent.items():
        if sum(history.values()) > sum(found.get(cohort.fate, {}).values()):
            found[cohort.fate] = dict(history)
    return found
