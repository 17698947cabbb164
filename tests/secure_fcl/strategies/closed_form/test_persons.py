"""What a client sends where the unit is a person: all parts together of norm 1, whatever it holds."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.keys.randomness import KeyedStream, derive_key
from secure_fcl.config import Config
from secure_fcl.rows.build import build_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import DeviceView, Examples
from secure_fcl.strategies.closed_form.persons import of_unit_norm
from secure_fcl.streams import Scenario

ROWS = ("class_sums", "analytic", "slda", "calm")
PHASES = [(row, "train") for row in ROWS] + [("calm", "close")]


def coins(label: str) -> KeyedStream:
    return KeyedStream(derive_key(bytes(32), label))


@pytest.fixture(scope="module")
def plans(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> dict[str, RowPlan]:
    config = make_config("privacy.unit=person")
    return {row: build_row(config, tiny_scenario, row, 1.0) for row in ROWS}


def made(plan: RowPlan, phase: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One client's parts as one vector."""
    step = plan.step(0, 0 if phase == "train" else plan.rounds_per_slot - 1)
    assert step.phase == phase
    view = DeviceView(Examples(x, y), Examples(x[:0], y[:0]))
    parts = plan.strategy.contribute(plan.strategy.initial(), view, step, coins("c")).parts
    return plan.strategy.uploads[step.phase].flatten(parts)


@given(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e4, 1e30]))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize(("row", "phase"), PHASES)
def test_whatever_a_client_holds_its_whole_vector_keeps_the_bound(
    plans: dict[str, RowPlan], row: str, phase: str, seed: int, count: int, size: float
) -> None:
    """Before rounding norm 1, all parts together; in integers what the event is charged for."""
    plan, rng = plans[row], np.random.default_rng(seed)
    x = (rng.normal(size=(count, *plan.scenario.data.shape)) * size).astype(np.float32)
    y = rng.integers(0, len(plan.scenario.data.classes), count)
    vector = made(plan, phase, x, y)
    norm = float(np.linalg.norm(vector))
    assert norm <= 1.0
    assert norm == 0.0 or norm > 1.0 - 1e-9
    wire = plan.wire(phase)  # type: ignore[arg-type]
    sent = wire.draw(0, 0).encode(wire.source.split(vector), coins(str(seed)))
    assert float(np.linalg.norm(sent)) <= plan.noises[phase].event.l2  # type: ignore[index, union-attr]


@pytest.mark.parametrize(("row", "phase"), PHASES)
def test_a_client_with_a_hundred_times_the_examples_weighs_no_more(
    plans: dict[str, RowPlan], row: str, phase: str
) -> None:
    plan = plans[row]
    classes = plan.step(0, 0).classes
    few = [int(np.flatnonzero(plan.scenario.data.y == label)[n]) for label in classes for n in range(2)]
    x, y = plan.scenario.x[few], plan.scenario.data.y[few]
    once, often = made(plan, phase, x, y), made(plan, phase, np.tile(x, (100, 1, 1, 1)), np.tile(y, 100))
    assert np.linalg.norm(once) == pytest.approx(1.0, abs=1e-9)
    assert often == pytest.approx(once, abs=1e-6)


@pytest.mark.parametrize(("row", "phase"), PHASES)
def test_a_client_without_examples_is_silent(plans: dict[str, RowPlan], row: str, phase: str) -> None:
    plan = plans[row]
    assert not made(plan, phase, plan.scenario.x[:0], plan.scenario.data.y[:0]).any()


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=0, max_size=6))
@settings(max_examples=300, deadline=None)
def test_no_vector_at_all_comes_out_longer_than_one(entries: list[float]) -> None:
    vector = np.array(entries, dtype=np.float64)
    norm = float(np.linalg.norm(of_unit_norm(vector)))
    assert norm <= 1.0
    finite = bool(np.isfinite(vector).all() and vector.any())
    assert (norm > 1.0 - 1e-9) == finite
    assert finite or norm == 0.0


def test_the_sums_keep_their_proportions_within_a_client(plans: dict[str, RowPlan]) -> None:
    """One factor for all parts, so that means and covariances are those of the client's examples."""
    plan = plans["slda"]
    inner = plan.strategy.inner  # type: ignore[attr-defined]
    few = np.arange(20)
    view = DeviceView(Examples(plan.scenario.x[few], plan.scenario.data.y[few]), Examples(plan.scenario.x[:0], few[:0]))
    step = plan.step(0, 0)
    bare = inner.uploads["train"].flatten(inner.contribute(inner.initial(), view, step, coins("c")).parts)
    ours = made(plan, "train", plan.scenario.x[few], plan.scenario.data.y[few])
    assert ours * np.linalg.norm(bare) == pytest.approx(bare, abs=1e-6)


def test_a_person_s_scatter_is_about_its_own_means_and_not_the_noisy_released_ones(plans: dict[str, RowPlan]) -> None:
    plan = plans["calm"]
    step, labels = plan.step(0, plan.rounds_per_slot - 1), plan.scenario.data.y
    few = np.flatnonzero(np.isin(labels, plan.step(0, 0).classes))[:30]
    view = DeviceView(Examples(plan.scenario.x[few], labels[few]), Examples(plan.scenario.x[:0], labels[:0]))
    state = plan.strategy.initial()
    noisy = state | {"sums": np.random.default_rng(0).normal(size=state["sums"].shape).astype(np.float32)}
    one, other = (plan.strategy.contribute(s, view, step, coins("c")).parts["scatter"] for s in (state, noisy))
    assert np.array_equal(one, other)
    assert np.linalg.norm(one) == pytest.approx(1.0)
