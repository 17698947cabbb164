"""A tree's noise over the rounds of a run: what the models carry is its covariance, and every node's noise is fresh."""

from collections.abc import Callable

import numpy as np
import pytest
from lawbench import LawRun, Sum, Values, broken, classes, noise_laws

from secure_fcl.engines.simulation import load_arrays

CLIENTS, HONEST = 6, 4
TREE = (
    "data.name=crafted:zeros", "privacy.mechanism=tree", "scenario.kind=online", "online.segments=3",
    "finetune.noise=shared", "finetune.epsilon=4", "training.q_current=1", "training.rounds=3",
    "training.trainer=stacked", "workers=1",
)  # fmt: skip


def bits(prefix: int) -> list[tuple[int, int]]:
    """The nodes of a prefix by hand: a stretch for every one of its binary digits, the longest first."""
    start, found = 0, []
    for place in reversed(range(prefix.bit_length())):
        if prefix >> place & 1:
            found.append((start, start + 2**place))
            start += 2**place
    return found


def first_layer(run: LawRun) -> int:
    """How many weights, from the first, no gradient of an empty example reaches."""
    size, outputs = len(run.rounds[0].state["weights"]), classes(run.plan)
    inputs = run.plan.scenario.x[0].size
    return (size - outputs) // (inputs + 1 + outputs) * inputs


def charged(run: LawRun) -> tuple[int, float]:
    """How many releases every example is charged in its one round, and the variance of each, in units of a gradient."""
    cohorts = [(cohort, events) for one in run.rounds for cohort, events in one.charged.items()]
    assert len(dict(cohorts)) == len(cohorts), "a cohort is charged in two rounds"
    found = {(count, dict(numbers)["variance"]) for _, events in cohorts for (_, numbers), count in events.items()}
    ((releases, variance),) = found
    return releases, variance / run.plan.wire("train").sent.scale ** 2


def prefixes(run: LawRun, arrived: int) -> Values:
    """What the models moved by, as noisy gradient sums of those who arrived (rounds, weights of the first layer)."""
    t, start = run.plan.config.training, run.plan.strategy.initial()["weights"].astype(np.float64)
    ends = load_arrays(run.folder / "model" / "finetune.npz")["weights"]
    after = np.array([*(one.state["weights"] for one in run.rounds[1:]), ends], dtype=np.float64)
    return (start - after)[:, : first_layer(run)] * t.denominator * arrived / t.learning_rate


@pytest.mark.parametrize(
    ("seed", "dropout", "arrived"), [(1, 0.0, 6), pytest.param(2, 0.17, 5, marks=pytest.mark.slow)]
)
def test_models_carry_the_noise_of_a_tree(
    seed: int, dropout: float, arrived: int, law_run: Callable[..., dict[str, LawRun]]
) -> None:
    run = law_run("finetune", settings=(*TREE, f"seed={seed}", f"scenario.dropout={dropout}"))["finetune"]
    rounds, noise = len(run.rounds), prefixes(run, arrived)
    releases, variance = charged(run)
    released = {node for t in range(1, rounds + 1) for node in bits(t)}
    assert releases == max(sum(start <= t < stop for start, stop in released) for t in range(rounds))
    one = variance * arrived / HONEST
    shared = np.array([[len({*bits(a)} & {*bits(b)}) for b in range(1, rounds + 1)] for a in range(1, rounds + 1)])
    expected, entries = one * shared, noise.shape[1]
    found = noise @ noise.T / entries
    spread = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / entries)
    # Below 1e-6 by chance over all pairs.
    assert np.abs((found - expected) / spread).max() < 6.5
    # The node that ends with each round is a prefix less the nodes before it, which end where it starts.
    nodes = [noise[t - 1] - (noise[bits(t)[-1][0] - 1] if bits(t)[-1][0] else 0.0) for t in range(1, rounds + 1)]
    none = np.zeros((0, entries))
    sums = [
        Sum(value=node, directions=none, rates=np.zeros(0), steps=1, variance=one, clients=np.zeros(0, dtype=np.int64))
        for node in nodes
    ]
    assert not list(broken(noise_laws(sums)))


def test_without_the_tree_noise_adds_up(law_run: Callable[..., dict[str, LawRun]]) -> None:
    """The control: noise of each round's own grows with the rounds, which the law above would refuse."""
    run = law_run("finetune", settings=(*TREE, "privacy.mechanism=independent"))["finetune"]
    releases, variance = charged(run)
    assert releases == 1
    noise = prefixes(run, CLIENTS)
    found = np.mean(noise**2, axis=1) / (variance * CLIENTS / HONEST)
    assert found == pytest.approx(np.arange(1, len(run.rounds) + 1), rel=0.35)
