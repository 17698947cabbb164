"""A whole run, read back: what each noisy sum must hold by its ledger, and how far it is from that.

Everything expected comes from the files a run leaves: the ledger's entries, the models before each round, the memories.
The gradients of examples are worked out here by hand, not by the product. A sum is then `gradients.T @ joined + noise`,
where `joined` says how often each example entered: least squares tells both apart, since examples lie far apart.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import statistics_of as laws
from numpy.typing import NDArray

from secure_fcl.engines.simulation import SIMULATION, load_arrays
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.strategies import Phase

Values = NDArray[np.float64]
Events = Counter[tuple[str, tuple[tuple[str, float], ...]]]
"""How often each event was charged: its type and its numbers."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a row as its files have it."""

    slot: int
    in_slot: int
    phase: Phase
    state: Mapping[str, Values]
    parts: Mapping[str, Values]
    charged: Mapping[tuple[str, int, int, str], Events]
    """What the ledger says of each cohort: group, arrival, chunk, fate."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One example of a client: its task, and the chunk of it that it lies in; no chunk: it was held out."""

    client: int
    index: int
    task: int
    chunk: int | None


class LawRun:
    """A finished row of a run."""

    def __init__(self, plan: RowPlan, folder: RunFolder) -> None:
        self.plan, self._folder = plan, folder
        self.folder = folder.path

    @cached_property
    def rounds(self) -> list[Round]:
        plan, found = self.plan, []
        entries = [json.loads(line) for line in self._folder.ledger_path(plan.name).read_text().splitlines()]
        state = plan.strategy.initial()
        for number, ((slot, round), entry) in enumerate(zip(plan.schedule(), entries, strict=True)):
            assert (entry["what"]["slot"], entry["what"]["round"]) == (slot, round)
            saved = self._folder.load_round(plan.name, number)
            phase = plan.phase(round)
            parts = plan.wire(phase, slot).draw(slot, round).decode(saved["total"])
            found.append(
                Round(slot=slot, in_slot=round, phase=phase, state=state, parts=parts, charged=charged_in(entry))
            )
            state = {name: array for name, array in saved.items() if name != "total"}
        return found

    @cached_property
    def examples(self) -> list[Example]:
        """All training examples of all clients, those held out as well."""
        plan, found = self.plan, []
        scenario = plan.scenario
        for client in range(scenario.clients):
            mine = np.flatnonzero(scenario.data.train & (scenario.data.client == client)).tolist()
            chunk_of = {}
            for task in (t for slot in range(scenario.slots) for t in scenario.released(client, slot)):
                for chunk in range(plan.storage.chunks):
                    held = scenario.experience(client, task).chunk(chunk, plan.storage.places_per_chunk)
                    chunk_of |= {int(index): (task, chunk) for index in held if not scenario.held_out[index]}
            for index in mine:
                task, chunk = chunk_of.get(index, (-1, None))
                found.append(Example(client=client, index=index, task=task, chunk=chunk))
        return found

    def held(self, slot: int) -> dict[int, set[int]]:
        """Which examples every memory holds after a slot; none before the first."""
        path = self.folder / SIMULATION / f"memory-{self.plan.name}-{slot:03d}.npz"
        if slot < 0 or self.plan.memory is None:
            return {}
        return {int(name[4:]): set(held.tolist()) for name, held in load_arrays(path).items()}

    def charged(self, round: Round) -> list[Events]:
        """What the ledger charges every example of `examples` in a round; nothing to those that may not be read."""
        scenario, memory, found = self.plan.scenario, self.held(round.slot - 1), []
        for one in self.examples:
            fate = "kept" if one.index in memory.get(one.client, set()) else "discarded"
            cohort = (scenario.groups[one.client], one.task, one.chunk, fate)
            found.append(Counter() if one.chunk is None else round.charged.get(cohort, Counter()))
        return found

    def gradients(self, weights: Values) -> Values:
        """Clipped gradients of `examples`, float64 (n, P), of cross-entropy in a network of one tanh layer."""
        clip = self.plan.config.training.clipping_norm
        index = [one.index for one in self.examples]
        x, y = self.plan.scenario.x[index].reshape(len(index), -1).astype(np.float64), self.plan.scenario.data.y[index]
        return clipped(gradients_by_hand(weights.astype(np.float64), x, y, classes(self.plan)), clip)


def classes(plan: RowPlan) -> int:
    return len(plan.scenario.data.classes)


def charged_in(entry: Mapping[str, Any]) -> dict[tuple[str, int, int, str], Events]:
    found: dict[tuple[str, int, int, str], Events] = {}
    for charge in entry["charges"]:
        cohort, event = charge["cohort"], dict(charge["event"])
        key = (cohort["group"], cohort["arrival"], cohort["chunk"], cohort["fate"])
        kind = event.pop("type")
        found.setdefault(key, Counter())[kind, tuple(sorted(event.items()))] += charge["count"]
    return found


def gradients_by_hand(weights: Values, x: Values, y: NDArray[np.int64], outputs: int) -> Values:
    """Gradients (n, P) of cross-entropy: `x` (n, d), a tanh layer, a linear layer, each with bias."""
    d = x.shape[1]
    hidden = (len(weights) - outputs) // (d + 1 + outputs)
    first, b1, second, b2 = np.split(weights, np.cumsum([hidden * d, hidden, outputs * hidden]))
    h = np.tanh(x @ first.reshape(hidden, d).T + b1)
    scores = h @ second.reshape(outputs, hidden).T + b2
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    above = p / p.sum(axis=1, keepdims=True) - np.eye(outputs)[y]
    below = (above @ second.reshape(outputs, hidden)) * (1.0 - h**2)
    n = len(x)
    return np.concatenate(
        [
            (below[:, :, None] * x[:, None, :]).reshape(n, -1),
            below,
            (above[:, :, None] * h[:, None, :]).reshape(n, -1),
            above,
        ],
        axis=1,
    )


def clipped(gradients: Values, clip: float) -> Values:
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    return gradients * np.minimum(1.0, clip / np.maximum(norms, 1e-300))


@dataclass(frozen=True, kw_only=True)
class Sum:
    """One noisy sum beside what the ledger says of it.

    Attributes:
        value: the released sum (P,), in units of a clipped gradient.
        directions: what each example adds if it joins once, (n, P).
        rates: probability that an example joins, (n,); 0 where it must not.
        steps: how often it is asked.
        variance: of the noise in every entry.
    """

    value: Values
    directions: Values
    rates: Values
    steps: int
    variance: float
    clients: NDArray[np.int64]

    @cached_property
    def _gram(self) -> Values:
        return np.linalg.inv(self.directions @ self.directions.T)

    @cached_property
    def joined(self) -> Values:
        """How often each example entered, as far as the noise lets it be seen (n,)."""
        return np.asarray(self._gram @ (self.directions @ self.value))

    @cached_property
    def residual(self) -> Values:
        """What is left of the sum without its examples, over the noise's standard deviation (P,)."""
        return np.asarray(self.value - self.joined @ self.directions) / np.sqrt(self.variance)

    @property
    def degrees(self) -> int:
        return len(self.value) - len(self.rates)

    def shift(self, mask: NDArray[np.bool_]) -> tuple[float, float]:
        """How far the masked examples' `joined` lie off together, weighted for the least error, and its variance."""
        weights = np.linalg.solve(self.covariance[np.ix_(mask, mask)], np.ones(int(mask.sum())))
        return float(weights @ self.surplus[mask]), float(weights.sum())

    def squares(self, groups: Values) -> Values:
        """The sum of squares of what each group's `surplus` adds up to, each over its variance; its mean; its variance.

        The variance is twice the squares of all correlations, as of normals, and the fourth cumulant of the coins.

        Args:
            groups: which examples are in each group, 0 or 1 (groups, n).
        """
        covariance, coin = groups @ self.covariance @ groups.T, self.rates * (1.0 - self.rates)
        variances, fourth = np.diag(covariance), groups @ (self.steps * coin * (1.0 - 6.0 * coin))
        spread = 2.0 * np.sum(covariance**2 / np.outer(variances, variances)) + np.sum(fourth / variances**2)
        return np.array([np.sum((groups @ self.surplus) ** 2 / variances), len(groups), spread])

    @cached_property
    def surplus(self) -> Values:
        """`joined` less its expectation (n,)."""
        return self.joined - self.steps * self.rates

    @cached_property
    def covariance(self) -> Values:
        """Of `surplus` (n, n): independent coins, and noise."""
        return np.asarray(np.diag(self.steps * self.rates * (1.0 - self.rates)) + self.variance * self._gram)


def clients_of(run: LawRun) -> NDArray[np.int64]:
    return np.array([one.client for one in run.examples])


def read_sum(
    run: LawRun, round: Round, part: str, unit: float, variance: Callable[[Mapping[str, float]], float],
    steps: int = 1, squared: bool = False, absent: Sequence[int] = (),
) -> Sum:  # fmt: skip
    """One part of a round as a `Sum`.

    Args:
        run, round, part: which.
        unit: what a clipped gradient is multiplied by in the part.
        variance: of all noise in an entry of `part / unit`, from the numbers of the event that the ledger has.
        steps: how often a client asks its examples.
        squared: whether an example adds the squares of its clipped gradient.
        absent: clients whose upload did not arrive.
    """
    clients = clients_of(run)
    rates, noises = np.zeros(len(clients)), set()
    for place, events in enumerate(run.charged(round)):
        for _, numbers in events:
            found = dict(numbers)
            noises.add(variance(found))
            rates[place] = 0.0 if clients[place] in absent else found["q"]
        assert len(events) <= 1
    assert len(noises) == 1, f"the ledger has {len(noises)} kinds of noise for part {part}, not one"
    (noise,) = noises
    gradients = run.gradients(round.state["weights"])
    directions = gradients**2 if squared else gradients
    return Sum(
        value=round.parts[part] / unit, directions=directions, rates=rates, steps=steps, variance=noise, clients=clients
    )


NOISE = "epsilon=1500"
"""So little noise of each client's own that single examples show in the sum of all clients."""


def own(run: LawRun, clip: float = 1.0, steps: int = 1) -> Callable[[Mapping[str, float]], float]:
    """The variance of the noise of all clients, in squares of what an example may add at most."""
    clients = run.plan.scenario.clients
    return lambda event: clients * steps * (event["noise_multiplier"] * clip) ** 2


def updates(run: LawRun, rounds: list[Round], steps: int = 1) -> list[Sum]:
    t = run.plan.config.training
    unit = -t.learning_rate / t.denominator
    return [read_sum(run, one, "update", unit, own(run, steps=steps), steps) for one in rounds]


def noise_laws(sums: Sequence[Sum]) -> dict[str, float]:
    """P-values of the laws of the noise of a row's sums: variance, mean, independence, shape, tensor by tensor."""
    whitened = np.concatenate([one.residual for one in sums])
    degrees = sum(one.degrees for one in sums)
    size = len(sums[0].value)
    pairs = [(a, b) for a in range(len(sums)) for b in range(a)]
    cross = [(sums[a].residual, sums[b].residual, min(sums[a].degrees, sums[b].degrees)) for a, b in pairs]
    found = {
        "variance": laws.variance_p(float(whitened @ whitened), degrees),
        "mean": laws.normal_p(float(whitened.sum() / np.sqrt(len(whitened)))),
        "mean of an entry": laws.variance_p(
            float((np.sum([one.residual for one in sums], axis=0) ** 2).sum() / len(sums)), degrees / len(sums)
        ),
        "repeated inside": laws.least(*(laws.repetition_p(one.residual) for one in sums)),
        "shape": laws.shape_p(whitened * np.sqrt(len(whitened) / degrees)),
        "tails": laws.tails_p(whitened),
        **tensor_laws(sums, size),
    }
    if cross:
        found["two sums alike"] = laws.least(*(laws.correlation_p(a, b, n) for a, b, n in cross))
        steps = [(a, b, n) for (a, b, n), (i, j) in zip(cross, pairs, strict=True) if i == j + 1]
        successive = sum(float(a @ b) for a, b, _ in steps) / np.sqrt(sum(n for *_, n in steps))
        found["successive sums"] = laws.normal_p(successive)
        products = sum(float(a @ b) for a, b, _ in cross)
        found["sums correlated"] = laws.normal_p(products / np.sqrt(sum(n for *_, n in cross)))
    return found


def tensor_laws(sums: Sequence[Sum], size: int) -> dict[str, float]:
    """P-values of the variance of every quarter of the entries, and of the last twenty: biases lie there."""
    found = {}
    for name, part in {**{f"quarter {k}": slice(k * size // 4, (k + 1) * size // 4) for k in range(4)},
                       "last entries": slice(size - 20, size)}.items():  # fmt: skip
        squares = expected = spread = 0.0
        for one in sums:
            own = one.directions[:, part]
            hat = one._gram @ (own @ own.T)
            length = own.shape[1]
            squares += float(one.residual[part] @ one.residual[part])
            expected += length - np.trace(hat)
            spread += length - 2.0 * np.trace(hat) + np.trace(hat @ hat)
        found[f"variance of {name}"] = laws.squares_p(squares, expected, 2.0 * spread)
    return found


def rate_laws(sums: Sequence[Sum]) -> dict[str, float]:
    """P-values of who entered: the rate of each stratum by its charge, independent coins, anew in every round."""
    found, strata = {}, {}
    for one in sums:
        for q in np.unique(one.rates):
            strata.setdefault(float(q), []).append((one, one.rates == q))
    for q, members in strata.items():
        scores = [one.shift(mask) for one, mask in members]
        found[f"rate {q:g}"] = laws.normal_p(sum(z for z, _ in scores) / np.sqrt(sum(v for _, v in scores)))
        squares = sum(one.squares(np.eye(len(mask))[mask]) for one, mask in members)
        found[f"spread at rate {q:g}"] = laws.squares_p(*squares)
    return found | coin_laws(sums)


def coin_laws(sums: Sequence[Sum]) -> dict[str, float]:
    """P-values of coins that are each example's own (no client's batch moves as one) and are thrown anew."""
    squares = np.zeros(3)
    for one in sums:
        for q in np.unique(one.rates[(one.rates > 0.0) & (one.rates < 1.0)]):
            groups = np.array([(one.clients == client) & (one.rates == q) for client in np.unique(one.clients)])
            squares += one.squares(groups[groups.any(axis=1)].astype(float))
    product = scale = 0.0
    for a, first in enumerate(sums):
        for second in sums[:a]:
            mask = (first.rates > 0.0) & (second.rates > 0.0)
            product += float(first.surplus[mask] @ second.surplus[mask])
            ours, theirs = first.covariance[np.ix_(mask, mask)], second.covariance[np.ix_(mask, mask)]
            scale += float(np.sum(ours * theirs))
    found = {}
    if squares.any():
        found["coins of a client"] = laws.squares_p(*squares)
    if scale > 0.0:
        found["coins of two rounds"] = laws.normal_p(product / np.sqrt(scale))
    return found


def broken(found: Mapping[str, float], level: float = 1e-6) -> Iterator[str]:
    """Laws below the level, each with its p-value."""
    yield from (f"{name}: p = {p:.2g}" for name, p in found.items() if not p > level)
