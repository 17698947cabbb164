import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import PldAccountant, SampledGaussian
from privacy.loss_distributions import composed_epsilon, epsilon_of
from privacy.testing import exact_gaussian

few = settings(max_examples=15, deadline=None)
INTERVAL = 1e-3
EVENTS = [
    SampledGaussian(q=0.01, noise_multiplier=1.1),
    SampledGaussian(q=0.2, noise_multiplier=0.9),
    SampledGaussian(q=1.0, noise_multiplier=6.0),
    SampledGaussian(q=1e-3, noise_multiplier=2.0),
]


def theirs(history: dict, delta: float) -> float:
    """dp_accounting's own composition: one event after the other."""
    total = None
    for event, count in history.items():
        one = pld.from_gaussian_mechanism(
            event.noise_multiplier, sampling_prob=event.q, value_discretization_interval=INTERVAL,
            neighboring_relation=pld.NeighborRel.ADD_OR_REMOVE_ONE,
        ).self_compose(count)  # fmt: skip
        total = one if total is None else total.compose(one)
    return float(total.get_epsilon_for_delta(delta))


@settings(max_examples=6, deadline=None)
@given(
    st.dictionaries(st.sampled_from(EVENTS), st.integers(1, 300), min_size=1, max_size=3),
    st.sampled_from([1e-2, 1e-5, 1e-7]),
)
def test_the_same_as_dp_accounting_s_composition(history: dict, delta: float) -> None:
    assert composed_epsilon(history, delta, INTERVAL) == pytest.approx(theirs(history, delta), rel=1e-5, abs=1e-5)


def test_many_steps_of_replay_and_current_data() -> None:
    """10,000 alternating steps; dp_accounting 0.6.0 gives 8.937926 at the same interval."""
    history = {SampledGaussian(q=0.01, noise_multiplier=1.1): 5000, SampledGaussian(q=0.02, noise_multiplier=1.1): 5000}
    assert PldAccountant().epsilon(history, 1e-5) == pytest.approx(8.937926, abs=2e-6)


def test_nothing_and_both_directions() -> None:
    assert composed_epsilon({}, 1e-5, INTERVAL) == 0.0
    # The Gaussian's two directions are one distribution; sampled, removing costs more.
    assert composed_epsilon({SampledGaussian(q=1.0, noise_multiplier=1.0): 1}, 1e-5, 1e-4) == pytest.approx(
        exact_gaussian(1.0, 1e-5), abs=1e-4
    )


def brute(first: int, masses: np.ndarray, infinite: float, epsilon: float) -> float:
    losses = (first + np.arange(len(masses))) * 0.1
    return infinite + float(np.sum(np.where(losses > epsilon, masses * -np.expm1(epsilon - losses), 0.0)))


@few
@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.integers(-50, 20), st.floats(0.0, 1e-3),
    st.floats(2e-3, 0.5),
)  # fmt: skip
def test_epsilon_inverts_the_divergence(weights: list, first: int, infinite: float, delta: float) -> None:
    masses = np.array(weights) / max(1.0, sum(weights))
    found = epsilon_of(first, masses, infinite, delta, 0.1)
    assert found >= 0.0
    assert brute(first, masses, infinite, found) <= delta + 1e-9
    if found > 1e-6:
        assert brute(first, masses, infinite, found * (1 - 1e-6) - 1e-9) >= delta - 1e-9


def test_edges_of_the_divergence() -> None:
    assert epsilon_of(5, np.ones(1), 0.2, 0.1, 0.1) == math.inf
    assert epsilon_of(-5, np.ones(3) / 3, 0.0, 0.1, 0.1) == 0.0
    # All mass at one loss of 20: 1 - exp(eps - 20) = delta.
    assert epsilon_of(200, np.ones(1), 0.0, 0.1, 0.1) == pytest.approx(20 + math.log(0.9))
    assert epsilon_of(20_000, np.array([1e-3, 0.0]), 0.0, 1e-5, 0.1) == pytest.approx(2000 + math.log(0.99), rel=1e-9)
