"""Sums of persons: what is released is one vector of norm 1 from each client, and the noise that is charged."""

from collections.abc import Callable

import numpy as np
import pytest
import statistics_of
from lawbench import LawRun, Round, Sum, Values, broken, classes, clipped, gradients_by_hand, noise_laws, rate_laws

from secure_fcl.strategies import DeviceView, Examples

CLIENTS, HONEST, LARGEST = 6, 4, 2.0**14
"""Clients of the crafted data, those of them whose noise counts, and the integers of one unit of norm."""


def sent(run: LawRun, one: Round, client: int) -> Values:
    """One client's vector by hand: the sums of its examples, over their own norm."""
    plan, scenario = run.plan, run.plan.scenario
    index = [e.index for e in run.examples if e.client == client and e.task == one.slot and e.chunk is not None]
    view = DeviceView(
        Examples(scenario.x[index], scenario.data.y[index]), Examples(scenario.x[:0], scenario.data.y[:0])
    )
    bare = plan.strategy.inner  # type: ignore[attr-defined]
    parts = bare.contribute(dict(one.state), view, plan.step(one.slot, one.in_slot), lambda n: bytes(n)).parts
    vector: Values = bare.uploads[one.phase].flatten(parts)
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("row", ["class_sums", "slda", "calm"])
def test_sums_of_persons(row: str, law_run: Callable[..., dict[str, LawRun]]) -> None:
    settings = ("privacy.unit=person", f"{row}.epsilon=60", 'calm.features="plain"')
    run, found = law_run(row, settings=settings)[row], {}
    for one in run.rounds:
        (events,) = one.charged.values()
        assert {fate for _, _, _, fate in one.charged} == {"whole"}
        ((_, numbers),) = events
        assert list(events.values()) == [1]
        event = dict(numbers)
        upload = run.plan.strategy.uploads[one.phase]
        # A vector of norm 1 in integers, and every entry moved by less than 1.
        assert event["l2"] >= LARGEST + np.sqrt(upload.length) - 1e-6
        noise = upload.flatten(dict(one.parts)) - sum(sent(run, one, client) for client in range(CLIENTS))
        found.setdefault(one.phase, []).append(
            Sum(
                value=noise, directions=np.zeros((0, len(noise))), rates=np.zeros(0), steps=1,
                variance=(event["variance"] * CLIENTS / HONEST + CLIENTS / 6.0) / LARGEST**2,
                clients=np.zeros(0, dtype=np.int64),
            )
        )  # fmt: skip
    for phase, sums in found.items():
        assert not list(broken(noise_laws(sums))), phase


PEOPLE, RATE = 24, 0.5
"""People among whom the crafted examples are dealt where each has a coin, and its rate."""

DIFFERENCES = (
    "privacy.unit=person", "finetune.noise=shared", "finetune.epsilon=24", "training.sends=difference",
    "training.steps=3", f"training.q_current={RATE}", "training.clipping_norm=0.1", "training.learning_rate=0.1",
    "training.rounds=4", "privacy.delta=0.001", f"scenario.clients={PEOPLE}", "scenario.partition=iid",
    "training.trainer=stacked", "scenario.holdout=0",
)  # fmt: skip


def own_difference(run: LawRun, one: Round, client: int) -> Values:
    """One client's model after full steps by the mean loss, less the round's model; by hand."""
    plan, t, scenario = run.plan, run.plan.config.training, run.plan.scenario
    held = scenario.experience(client, one.slot).chunk(0, plan.storage.places_per_chunk)
    index = [int(each) for each in held if not scenario.held_out[each]]
    x, y = scenario.x[index].reshape(len(index), -1).astype(np.float64), scenario.data.y[index]
    start = one.state["weights"].astype(np.float64)
    weights = start.copy()
    for _ in range(t.steps):
        weights -= t.learning_rate * gradients_by_hand(weights, x, y, classes(plan)).mean(axis=0)
    return weights - start


def test_model_differences_of_persons(law_run: Callable[..., dict[str, LawRun]]) -> None:
    """A sum is the clipped differences of those whose coin fell so, and noise as charged; read back from the files."""
    run, sums, sizes = law_run("finetune", settings=DIFFERENCES)["finetune"], [], []
    norm, honest = run.plan.config.training.clipping_norm, PEOPLE - 2
    for one in run.rounds:
        (events,) = one.charged.values()
        ((_, numbers),) = events
        event = dict(numbers)
        assert event["q"] == RATE
        assert event["l2"] >= LARGEST
        vectors = np.array([own_difference(run, one, client) for client in range(PEOPLE)])
        sizes += np.linalg.norm(vectors, axis=1).tolist()
        sums.append(
            Sum(
                value=one.parts["difference"] / norm, directions=clipped(vectors, norm) / norm,
                rates=np.full(PEOPLE, RATE), steps=1, clients=np.arange(PEOPLE),
                variance=(event["variance"] * PEOPLE / honest + RATE * PEOPLE / 6.0) / LARGEST**2,
            )
        )  # fmt: skip
    # Clipped to less than half: what is not clipped shows.
    assert min(sizes) > 2.0 * norm
    assert not list(broken(noise_laws(sums) | rate_laws(sums)))


def test_counts_by_which_persons_learn_a_norm(law_run: Callable[..., dict[str, LawRun]]) -> None:
    """All norms lie beyond it: a count is so many bits as coins fell so, and noise of the variance that is charged."""
    run = law_run("finetune", settings=(*DIFFERENCES, "training.clipping=learnt"))["finetune"]
    learnt, honest, surplus, steps = run.plan.learnt_norm, PEOPLE - 2, [], []
    assert learnt is not None
    bit = learnt.target * learnt.weight
    for one in run.rounds:
        norm = float(one.state["norm"][0])
        assert min(float(np.linalg.norm(own_difference(run, one, client))) for client in range(PEOPLE)) > norm
        (events,) = one.charged.values()
        assert set(events.values()) == {1}
        counted, summed = sorted((dict(numbers) for _, numbers in events), key=lambda event: event["l2"])
        assert (counted["q"], summed["q"]) == (RATE, RATE)
        assert counted["l2"] >= bit * LARGEST
        assert counted["variance"] == summed["variance"]
        variance = counted["variance"] * PEOPLE / honest / LARGEST**2
        count = float(one.parts["within"][0])
        surplus.append((count + PEOPLE * RATE * bit) / np.sqrt(PEOPLE * RATE * (1.0 - RATE) * bit**2 + variance))
        steps.append(abs(count / bit - round(count / bit)))
        assert np.sqrt(variance) > 2.0 * bit
    assert statistics_of.variance_p(float(np.sum(np.square(surplus))), len(surplus)) > 1e-6
    # Without noise a count is a whole number of bits; with this much it lies anywhere between two.
    assert max(steps) > 0.02
