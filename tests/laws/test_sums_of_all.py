"""Sums over all examples: what is released is what examples add, at most a unit each, and the noise that is charged."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from lawbench import LawRun, Round, Sum, broken, noise_laws

from secure_fcl.strategies import DeviceView, Examples

CALM = "calm.epsilon=50"
"""So little noise that CALM's second exchange sends the scatter; at less it sends its class rows once more."""
ROWS = (("class_sums",), ("analytic",), ("slda",), ("calm",), ("calm", CALM))
CLIENTS, HONEST = 6, 4


def added(run: LawRun, one: Round, index: int) -> np.ndarray:
    """What one example adds to a sum, by the strategy's own client side."""
    plan, scenario = run.plan, run.plan.scenario
    found = Examples(scenario.x[[index]], scenario.data.y[[index]])
    nothing = Examples(scenario.x[:0], scenario.data.y[:0])
    view = DeviceView(found, nothing)
    parts = plan.strategy.contribute(dict(one.state), view, plan.step(one.slot, one.in_slot), lambda n: bytes(n)).parts
    return plan.strategy.uploads[one.phase].flatten(parts)


@pytest.mark.parametrize("settings", ROWS, ids=lambda settings: "-".join(settings))
@pytest.mark.parametrize("place", ["shared", "local"])
def test_sums(settings: tuple[str, ...], place: str, law_run: Callable[..., dict[str, LawRun]]) -> None:
    row, *more = settings
    run, found = law_run(row, settings=(f"{row}.noise={place}", 'calm.features="plain"', *more))[row], {}
    for one in run.rounds:
        upload = run.plan.strategy.uploads[one.phase]
        charged = run.charged(one)
        contributions = [
            added(run, one, example.index) for example, events in zip(run.examples, charged, strict=True) if events
        ]
        if row == "calm" and one.phase == "close":
            scatter, again = np.split(np.sum(contributions, axis=0), [math.prod(upload.parts[0].shape)])
            assert bool(scatter.any()) == (CALM in more) != bool(again.any())
        # Every example that is charged is summed once, and weighs no more than was declared.
        assert max(float(np.linalg.norm(each)) for each in contributions) <= upload.sensitivity_l2 * (1 + 1e-9)
        assert {count for events in charged for count in events.values()} == {1}
        (variance,) = {dict(numbers)["variance"] for events in charged for _, numbers in events}
        shares = CLIENTS if place == "local" else CLIENTS / HONEST
        noise = upload.flatten(dict(one.parts)) - np.sum(contributions, axis=0)
        found.setdefault(one.phase, []).append(
            Sum(
                value=noise, directions=np.zeros((0, len(noise))), rates=np.zeros(0), steps=1,
                variance=variance / upload.scale**2 * shares + CLIENTS / 6.0 / upload.scale**2,
                clients=np.zeros(0, dtype=np.int64),
            )
        )  # fmt: skip
    for phase, sums in found.items():
        assert not list(broken(noise_laws(sums))), phase
