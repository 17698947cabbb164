from collections.abc import Callable

import numpy as np
import pytest

from privacy import SkellamRelease, spent, statements
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.features.choice import remembered
from secure_fcl.rows.build import build_row, calibrated_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import Calm, DeviceView, Examples, MomentSums
from secure_fcl.streams import Scenario, build_scenario

ROWS = ("analytic", "slda", "calm")


def charges(plan: RowPlan) -> dict[object, list[SkellamRelease]]:
    total = spent(c for slot, round in plan.schedule() for c in plan.charges(slot, round))
    found = {}
    for cohort, events in total.items():
        assert all(isinstance(e, SkellamRelease) and n == 1 for e, n in events.items())
        found[cohort] = [e for e in events if isinstance(e, SkellamRelease)]
    return found


@pytest.mark.parametrize(("name", "releases"), [("analytic", 1), ("slda", 1), ("calm", 2)])
def test_every_example_is_charged_each_release_once(
    tiny_scenario: Scenario, make_config: Callable[..., Config], name: str, releases: int
) -> None:
    plan = build_row(make_config(), tiny_scenario, name, 2.0)
    assert plan.storage.chunks == 1
    assert {len(events) for events in charges(plan).values()} == {releases}


def test_calm_splits_one_budget_between_its_exchanges(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    """The squares of sensitivity over noise add up to that of the row's multiplier, whatever the share."""
    for share in (0.2, 0.7):
        plan = build_row(make_config(f"calm.scatter_share={share}"), tiny_scenario, "calm", 2.0)
        for events in charges(plan).values():
            parts = sorted(e.l2**2 / e.variance for e in events)
            assert sum(parts) == pytest.approx(1.0 / 2.0**2, rel=1e-6)
            assert max(parts) == pytest.approx(max(share, 1 - share) / 2.0**2, rel=1e-6)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("place", ["shared", "local"])
def test_rows_stay_within_their_budget_and_use_it(
    digits: Dataset, make_config: Callable[..., Config], name: str, place: str
) -> None:
    config = make_config(f"{name}.epsilon=1.5", f"{name}.noise={place}")
    plan, _ = calibrated_row(config, build_scenario(digits, config), name)
    total = spent(c for slot, round in plan.schedule() for c in plan.charges(slot, round))
    worst = max(s.epsilon for s in statements(total, plan.accounting_delta))
    assert 1.4 < worst <= 1.5
    plan.secure_plan()


@pytest.mark.parametrize("name", ROWS)
def test_chunks_cost_an_example_no_more(make_config: Callable[..., Config], tiny_scenario: Scenario, name: str) -> None:
    settings = ("storage.budget_kib=40", "memory.capacity=4")
    plan = build_row(make_config(*settings), tiny_scenario, name, 2.0)
    assert plan.storage.chunks > 1
    for cohort, events in charges(plan).items():
        last = cohort.chunk == plan.storage.chunks - 1  # type: ignore[attr-defined]
        assert len(events) == (2 if name == "calm" and last else 1)


@pytest.mark.parametrize("name", ROWS)
def test_the_strategy_is_told_the_noise_that_the_sum_carries(
    make_config: Callable[..., Config], tiny_scenario: Scenario, name: str
) -> None:
    plan = build_row(make_config(), tiny_scenario, name, 2.0)
    strategy = plan.strategy
    assert isinstance(strategy, MomentSums | Calm)
    told = strategy.noise if isinstance(strategy, Calm) else (strategy.noise,)
    for std, (phase, noise) in zip(told, plan.noises.items(), strict=True):
        random = np.random.default_rng(0)
        sums = sum(noise.share(4_000, random.bytes) for _ in range(tiny_scenario.clients))
        assert np.std(sums) / strategy.uploads[phase].scale == pytest.approx(std, rel=0.06)
    silent = build_row(make_config(f"{name}.noise=none", f"{name}.epsilon=inf"), tiny_scenario, name, 0.0)
    assert not silent.noises
    assert silent.strategy.events("current")


def test_features_and_variations_are_the_configured_ones(
    make_config: Callable[..., Config], hapt_scenario: Scenario
) -> None:
    def made(*settings: str) -> Calm:
        strategy = build_row(make_config("data.name=hapt", *settings), hapt_scenario, "calm", 1.0).strategy
        assert isinstance(strategy, Calm)
        return strategy

    window = hapt_scenario.x[:1]
    assert made().dimension == 145
    assert made("calm.features=refined").dimension == 129
    silent = make_config("data.name=hapt", "calm.noise=none", "calm.epsilon=inf")
    without = build_row(silent, hapt_scenario, "calm", 0.0).strategy
    assert isinstance(without, Calm)
    # Without noise Fourier features stand beside them, where there are examples for them.
    assert hapt_scenario.examples > 2 * 645
    assert without.dimension == 645
    assert made("calm.features=plain").dimension == 123
    assert len(list(made().variations(window))) == 7
    assert len(list(made("calm.variations=false").variations(window))) == 1


def test_without_noise_the_sums_arrive_to_a_step_of_the_encoder(
    make_config: Callable[..., Config], tiny_scenario: Scenario
) -> None:
    """Both exchanges by hand."""
    config = make_config("calm.noise=none", "calm.epsilon=inf")
    plan = build_row(config, tiny_scenario, "calm", 0.0)
    state = plan.strategy.initial()
    index = np.flatnonzero(tiny_scenario.data.train)[:60]
    view = DeviceView(
        Examples(tiny_scenario.x[index], tiny_scenario.data.y[index]), Examples(tiny_scenario.x[:0], np.zeros(0, int))
    )
    for round in range(plan.rounds_per_slot):
        step = plan.step(0, round)
        upload = plan.strategy.uploads[step.phase]
        flat = upload.flatten(plan.strategy.contribute(state, view, step, bytes).parts)
        clipped, beyond = upload.clip(flat)
        assert beyond == 0
        decoded = plan.wire(step.phase).encoder.decode(
            plan.wire(step.phase).encoder.encode(clipped, np.random.default_rng(1).bytes).values
        )
        np.testing.assert_allclose(decoded, flat, atol=1.01 / upload.scale)
        state = plan.strategy.apply(state, step, upload.split(decoded), 1)
    assert state["scatter_releases"] == 1


def test_the_last_two_results_are_remembered_by_content() -> None:
    asked: list[int] = []

    def counted(x: np.ndarray) -> np.ndarray:
        asked.append(len(x))
        return 2.0 * x.astype(np.float64)

    function, first, second = remembered(counted), np.ones((3, 2)), np.ones((4, 2))
    for x in (first, second, first.copy(), second):
        np.testing.assert_array_equal(function(x), 2.0 * x)
    assert asked == [3, 4]
    first[0, 0] = 5.0
    assert function(first)[0, 0] == 10.0
    function(second)
    function(np.ones((5, 2)))
    function(second)
    assert asked == [3, 4, 3, 5, 4]
    # The same bytes in another shape, or of another type, are another question.
    assert function(first.reshape(2, 3)).shape == (2, 3)
    with pytest.raises(ValueError, match="read-only"):
        function(first)[0, 0] = 1.0
