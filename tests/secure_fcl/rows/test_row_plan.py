import math
from collections import Counter
from collections.abc import Callable

import pytest

from crypto.errors import PlanRefused
from privacy import Charge, Cohort, NonPrivate, SampledGaussian, SkellamRelease, spent, statements, worst
from privacy.errors import BudgetUnreachable
from secure_fcl.config import Config, load_config
from secure_fcl.data import Dataset
from secure_fcl.errors import ConfigInvalid, StorageTooSmall
from secure_fcl.memory import OVERFLOW_PROBABILITY
from secure_fcl.rows.build import build_row, calibrated_row
from secure_fcl.rows.row_plan import NOISE_EXCESS, RowPlan
from secure_fcl.streams import IDLE, Scenario, build_scenario

ALL = "all clients"


def charged(plan: RowPlan, slot: int, round: int) -> dict[Cohort, Counter[object]]:
    found: dict[Cohort, Counter[object]] = {}
    for charge in plan.charges(slot, round):
        found.setdefault(charge.cohort, Counter())[charge.event] += charge.count
    return found


def whole(plan: RowPlan) -> list[Charge]:
    return [charge for slot, round in plan.schedule() for charge in plan.charges(slot, round)]


def epsilons(plan: RowPlan) -> dict[Cohort, float]:
    return {s.cohort: s.epsilon for s in statements(spent(whole(plan)), plan.accounting_delta)}


def test_replay_charges_current_data_and_everything_closed(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    config = make_config("training.steps=3", "training.q_current=0.25", "training.q_memory=0.05")
    plan = build_row(config, tiny_scenario, "replay", 1.5)
    current, memory = SampledGaussian(q=0.25, noise_multiplier=1.5), SampledGaussian(q=0.05, noise_multiplier=1.5)
    assert charged(plan, 0, 0) == {
        Cohort(group=ALL, arrival=0, chunk=0, fate="kept"): Counter({current: 3}),
        Cohort(group=ALL, arrival=0, chunk=0, fate="discarded"): Counter({current: 3}),
    }
    assert charged(plan, 1, 1) == {
        Cohort(group=ALL, arrival=0, chunk=0, fate="kept"): Counter({memory: 3}),
        Cohort(group=ALL, arrival=1, chunk=0, fate="kept"): Counter({current: 3}),
        Cohort(group=ALL, arrival=1, chunk=0, fate="discarded"): Counter({current: 3}),
    }
    total = spent(whole(plan))
    assert total[Cohort(group=ALL, arrival=0, chunk=0, fate="kept")] == Counter({current: 6, memory: 6})
    assert total[Cohort(group=ALL, arrival=0, chunk=0, fate="discarded")] == Counter({current: 6})


def test_finetune_charges_nobody_twice(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    plan = build_row(make_config(), tiny_scenario, "finetune", 1.5)
    total = spent(whole(plan))
    assert set(total) == {Cohort(group=ALL, arrival=t, chunk=0, fate="discarded") for t in (0, 1)}
    assert all(events == Counter({SampledGaussian(q=0.25, noise_multiplier=1.5): 4}) for events in total.values())


def test_class_sums_charge_one_release_for_each_example(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    plan = build_row(make_config("storage.budget_kib=40", "memory.capacity=4"), tiny_scenario, "class_sums", 2.0)
    assert plan.storage.chunks > 1
    assert plan.rounds_per_slot == plan.storage.chunks
    total = spent(whole(plan))
    assert set(total) == {
        Cohort(group=ALL, arrival=t, chunk=c, fate="discarded") for t in (0, 1) for c in range(plan.storage.chunks)
    }
    for events in total.values():
        assert sum(events.values()) == 1
        assert isinstance(next(iter(events)), SkellamRelease)


def test_chunks_are_cohorts_and_share_the_rounds(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    settings = ("storage.budget_kib=40", "memory.capacity=4", "memory.keep=0.01", "training.rounds=7")
    plan = build_row(make_config(*settings), tiny_scenario, "replay", 1.5)
    chunks = plan.storage.chunks
    assert 1 < chunks <= 7
    assert plan.rounds_per_slot == 7
    assert [plan.chunk(r) for r in range(7)] == sorted(plan.chunk(r) for r in range(7))
    assert {plan.chunk(r) for r in range(7)} == set(range(chunks))
    for round in range(7):
        assert {c.chunk for c in charged(plan, 0, round)} == {plan.chunk(round)}
    # In the next slot the memory is charged whichever chunk its items came in.
    assert {c.chunk for c in charged(plan, 1, 0) if c.arrival == 0} == set(range(chunks))


def test_more_chunks_than_rounds_ask_for_more_rounds(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    settings = ("storage.budget_kib=10", "memory.capacity=4", "memory.keep=0.01", "training.rounds=2")
    plan = build_row(make_config(*settings), tiny_scenario, "replay", 1.5)
    assert plan.rounds_per_slot == plan.storage.chunks > 2
    assert {plan.chunk(r) for r in range(plan.rounds_per_slot)} == set(range(plan.storage.chunks))


def test_asynchronous_groups_are_charged_by_their_own_calendar(
    digits: Dataset, make_config: Callable[..., Config]
) -> None:
    config = make_config("scenario.arrival=asynchronous", "scenario.clients=12", "scenario.partition=iid")
    scenario = build_scenario(digits, config)
    plan = build_row(config, scenario, "replay", 1.5)
    calendars = dict(zip(scenario.groups, scenario.calendar.tolist(), strict=True))
    assert len(calendars) > 1
    current, memory = SampledGaussian(q=0.25, noise_multiplier=1.5), SampledGaussian(q=0.05, noise_multiplier=1.5)
    for slot in range(scenario.slots):
        found = charged(plan, slot, 0)
        for group, calendar in calendars.items():
            closed = {t for t in calendar[:slot] if t != IDLE}
            mine = {c for c in found if c.group == group}
            assert {c.arrival for c in mine if found[c][memory]} == closed
            assert {c.arrival for c in mine if found[c][current]} == {calendar[slot]} - {IDLE}
            assert all(c.fate == "kept" for c in mine if found[c][memory])
    # Everyone meets every task once, so nobody's current data are charged more than in a synchronous run.
    total = spent(whole(plan))
    assert {events[current] for events in total.values()} == {2 * 2}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("replay", ()),
        ("replay", ("scenario.arrival=asynchronous",)),
        ("replay", ("scenario.setting=cross-silo",)),
        ("replay", ("replay.epsilon=0.7", "training.momentum=0.9")),
        ("finetune", ("finetune.epsilon=1",)),
        ("class_sums", ()),
        ("class_sums", ("class_sums.noise=local", "class_sums.epsilon=0.5")),
        ("class_sums", ("storage.budget_kib=40", "memory.capacity=4")),
    ],
)
def test_every_cohort_stays_within_its_budget_and_the_worst_uses_it(
    digits: Dataset, make_config: Callable[..., Config], name: str, settings: tuple[str, ...]
) -> None:
    config = make_config(*settings)
    plan, multiplier = calibrated_row(config, build_scenario(digits, config), name)
    target = config.section(name).epsilon
    found = epsilons(plan)
    assert max(found.values()) <= target
    assert max(found.values()) > 0.98 * target
    assert multiplier > 0
    # Negative control: a tenth less noise does not stay within it.
    louder = build_row(config, plan.scenario, name, 0.9 * multiplier)
    assert max(epsilons(louder).values()) > target


def test_the_kept_examples_are_the_worst_cohort(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    plan, _ = calibrated_row(make_config(), tiny_scenario, "replay")
    found = epsilons(plan)
    assert found[Cohort(group=ALL, arrival=0, chunk=0, fate="kept")] == max(found.values())
    assert (
        found[Cohort(group=ALL, arrival=0, chunk=0, fate="discarded")]
        < found[Cohort(group=ALL, arrival=0, chunk=0, fate="kept")]
    )


def test_delta_is_shared_with_the_memory(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    plan = build_row(make_config(), tiny_scenario, "replay", 1.0)
    assert plan.overflow == OVERFLOW_PROBABILITY
    assert plan.accounting_delta == 1e-5 - 1e-9
    assert build_row(make_config(), tiny_scenario, "finetune", 1.0).accounting_delta == 1e-5
    with pytest.raises(ConfigInvalid, match=r"privacy\.delta = 1e-10 is used up by memory overflow"):
        calibrated_row(make_config("privacy.delta=1e-10"), tiny_scenario, "replay")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("replay", ("memory.policy=herding",)),
        ("replay", ("replay.noise=none", "replay.epsilon=inf")),
        ("finetune", ("finetune.noise=none", "finetune.epsilon=inf")),
        ("class_sums", ("class_sums.noise=none", "class_sums.epsilon=inf")),
    ],
)
def test_rows_without_a_guarantee_claim_none(
    tiny_scenario: Scenario, make_config: Callable[..., Config], name: str, settings: tuple[str, ...]
) -> None:
    plan, multiplier = calibrated_row(make_config(*settings), tiny_scenario, name)
    assert not plan.protected
    assert (multiplier == 0.0) == (plan.noise == "none")
    history = spent(whole(plan))
    assert all(any(isinstance(e, NonPrivate) for e in events) for events in history.values())
    bad = worst(statements(history, plan.accounting_delta))
    assert bad is not None
    assert math.isinf(bad.epsilon)


def test_herding_has_the_noise_of_a_private_row(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    plan, multiplier = calibrated_row(make_config("memory.policy=herding"), tiny_scenario, "replay")
    assert plan.strategy.events("current") == Counter({SampledGaussian(q=0.25, noise_multiplier=multiplier): 2})
    assert multiplier == pytest.approx(calibrated_row(make_config(), tiny_scenario, "replay")[1], rel=0.01)


def test_shared_noise_is_sized_for_dropouts_and_colluders(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    shared = build_row(make_config("privacy.max_dropouts=2"), tiny_scenario, "class_sums", 2.0).train_noise
    local = build_row(make_config("class_sums.noise=local"), tiny_scenario, "class_sums", 2.0).train_noise
    assert shared is not None
    assert local is not None
    assert shared.honest == 5 - 2 - 1
    assert shared.share_variance * 2 == pytest.approx(shared.guaranteed_variance)
    assert local.share_variance == local.guaranteed_variance == shared.guaranteed_variance
    assert shared.event == local.event
    with pytest.raises(ConfigInvalid, match="leave none of 5 clients"):
        build_row(make_config("privacy.max_dropouts=4"), tiny_scenario, "class_sums", 2.0)
    build_row(make_config("privacy.max_dropouts=4", "class_sums.noise=local"), tiny_scenario, "class_sums", 2.0)


def test_the_noise_of_all_rounds_stays_in_its_field(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    for protection in ("plain", "bfv", "mpc"):
        plan, _ = calibrated_row(make_config(f"protection={protection}"), tiny_scenario, "class_sums")
        secure = plan.secure_plan()
        (upload,) = secure.uploads
        assert upload.noise_excess * plan.rounds <= 2.0**-40
        assert secure.rounds == plan.rounds
        assert upload.bound == plan.wire().encoder.bound
        assert secure.clients == tuple(f"client{k}" for k in range(5))


def test_sums_that_would_overflow_are_refused(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    config = make_config("protection=bfv", "class_sums.scale_bits=24")
    build_row(config, tiny_scenario, "class_sums", 10.0).secure_plan()
    with pytest.raises(PlanRefused, match="class_sums"):
        build_row(config, tiny_scenario, "class_sums", 1e6).secure_plan()


def test_budgets_out_of_reach(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    with pytest.raises(BudgetUnreachable, match="cannot be reached"):
        calibrated_row(make_config("class_sums.epsilon=1e-4"), tiny_scenario, "class_sums")


def test_storage_too_small(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    with pytest.raises(StorageTooSmall, match=r"storage\.budget_kib = 1 leaves"):
        build_row(make_config("storage.budget_kib=1"), tiny_scenario, "finetune", 1.0)
    with pytest.raises(StorageTooSmall, match="memory of 136 examples"):
        build_row(make_config("storage.budget_kib=36"), tiny_scenario, "replay", 1.0)
    build_row(make_config("storage.budget_kib=36", "scenario.setting=cross-silo"), tiny_scenario, "replay", 1.0)


def test_the_default_rows_of_hapt_fit_their_storage(hapt_scenario: Scenario) -> None:
    config = load_config()
    for name in config.rows:
        plan = build_row(config, hapt_scenario, name, 1.0)
        assert plan.storage.used <= 512 * 1024
        assert (plan.storage.chunks, plan.secure_plan().protocol) == (1, "bfv")


@pytest.mark.parametrize("epsilon", [8.0, 19.0, 25.0, 600.0])
def test_the_noise_s_field_takes_little_of_delta_at_any_epsilon(
    make_config: Callable[..., Config], tiny_scenario: Scenario, epsilon: float
) -> None:
    plan = build_row(make_config(f"class_sums.epsilon={epsilon}"), tiny_scenario, "class_sums", 1.0)
    assert 0.0 < plan.noise_excess <= 2e-3 * plan.config.privacy.delta
    assert plan.excess_probability <= NOISE_EXCESS
    declared = next(iter(plan.secure_plan(0).uploads))
    assert declared.noise_excess * plan.rounds <= plan.excess_probability * (1 + 1e-12)


def test_an_epsilon_that_says_nothing_is_refused(make_config: Callable[..., Config], tiny_scenario: Scenario) -> None:
    with pytest.raises(ConfigInvalid, match=r"class_sums\.epsilon = 601 is beyond 600.*noise = 'none'"):
        calibrated_row(make_config("class_sums.epsilon=601"), tiny_scenario, "class_sums")
