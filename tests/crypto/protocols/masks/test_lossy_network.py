"""Messages are lost at random, at every phase: an exact sum or an abort with a reason, and no dead end."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crypto import Abort, Aggregate, Deadline
from crypto.planning.masks import Mode
from crypto.wire.messages import Message


def run_with_losses(cohort: Any, loss: float, seed: int, sums: int) -> int:
    """Run sums while each message is lost with probability `loss`; returns how many aggregates came."""
    rng = np.random.default_rng(seed)

    def lose(message: Message) -> bool:
        return bool(rng.random() < loss)

    cohort.lose = lose
    cohort.set_up()
    for _ in range(4):
        cohort.give("server", Deadline(0, "-"))
    count = 0
    for number in range(sums):
        vectors = cohort.vectors(f"{seed} {number}")
        outcome = cohort.run(number, vectors)
        if isinstance(outcome, Abort):
            assert outcome.reason
            continue
        assert isinstance(outcome, Aggregate)
        assert len(outcome.contributors) >= cohort.plan.min_clients
        cohort.expect(outcome, vectors, outcome.contributors)
        count += 1
    return count


@pytest.mark.parametrize("mode", ["semi-honest", "active"])
@pytest.mark.parametrize(("loss", "least"), [(0.01, 4), (0.05, 1), (0.3, 0)])
def test_losses(loss: float, least: int, mode: Mode, make_masks: Callable[..., Any]) -> None:
    counts = [run_with_losses(make_masks(mode=mode, ready=False), loss, seed, 5) for seed in range(3)]
    assert sorted(counts)[1] >= least


@pytest.mark.parametrize("mode", ["semi-honest", "active"])
def test_sums_come_again_once_the_network_is_whole(mode: Mode, make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(mode=mode)
    rng = np.random.default_rng(5)
    cohort.lose = lambda message: bool(rng.random() < 0.5)
    for number in range(4):
        cohort.run(number, cohort.vectors(f"bad {number}"))
    cohort.lose = lambda message: False
    # The first whole sum may lack those who sit out; after it everybody has keys again.
    cohort.run(4, cohort.vectors("first whole"))
    vectors = cohort.vectors("second whole")
    cohort.expect(cohort.run(5, vectors), vectors, vectors)
