"""Sums of persons: what is released is one vector of norm 1 from each client, and the noise that is charged."""

from collections.abc import Callable

import numpy as np
import pytest
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


def own_difference(run: LawRun, one: Round, client: int) -> Values:
    """One client's model after full steps by the mean loss, less the round's model; by hand."""
    plan, t = run.plan, run.plan.config.training
    index = [e.index for e in run.examples if e.client == client and e.task == one.slot and e.chunk is not None]
    x = plan.scenario.x[index].reshape(len(index), -1).astype(np.float64)
    start = one.state["weights"].astype(np.float64)
    weights = start.copy()
    for _ in range(t.steps):
        gradients = gradients_by_hand(weights, x, plan.scenario.data.y[index], classes(plan))
        weights -= t.learning_rate * gradients.mean(axis=0)
    return weights - start


RATE = 0.75
DIFFERENCES = (
    "privacy.unit=person", "finetune.noise=shared", "finetune.epsilon=24", "training.sends=difference",
    "training.steps=3", f"training.q_current={RATE}", "training.clipping_norm=0.25", "training.learning_rate=0.1",
    "training.rounds=6", "privacy.delta=0.01",
)  # fmt: skip


def test_model_differences_of_persons(law_run: Callable[..., dict[str, LawRun]]) -> None:
    """A sum is the clipped differences of those whose coin fell so, and noise as charged; read back from the files."""
    run, sums, sizes = law_run("finetune", settings=DIFFERENCES)["finetune"], [], []
    norm = run.plan.config.training.clipping_norm
    for one in run.rounds:
        (events,) = one.charged.values()
        ((_, numbers),) = events
        event = dict(numbers)
        assert event["q"] == RATE
        assert event["l2"] >= LARGEST
        vectors = np.array([own_difference(run, one, client) for client in range(CLIENTS)])
        sizes += np.linalg.norm(vectors, axis=1).tolist()
        sums.append(
            Sum(
                value=one.parts["difference"] / norm, directions=clipped(vectors, norm) / norm,
                rates=np.full(CLIENTS, RATE), steps=1, clients=np.arange(CLIENTS),
                variance=(event["variance"] * CLIENTS / HONEST + CLIENTS / 12.0) / LARGEST**2,
            )
        )  # fmt: skip
    # The norm bites, and not always.
    assert min(sizes) < norm < max(sizes)
    assert not list(broken(noise_laws(sums) | rate_laws(sums)))
