from collections.abc import Callable

import numpy as np
import pytest

from secure_fcl.config import Config, validate
from secure_fcl.config.streams import Drift, Online
from secure_fcl.data import Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.streams import NEVER, Scenario, build_scenario
from secure_fcl.streams.domains import permute
from secure_fcl.streams.drift import drifted
from secure_fcl.streams.online import segments

Make = Callable[..., Config]
IID = ("scenario.partition=iid", "scenario.clients=4")


@pytest.fixture
def build(digits: Dataset, make_config: Make) -> Callable[..., Scenario]:
    return lambda *settings: build_scenario(digits, make_config(*IID, *settings))


def test_domains_of_classes_are_labelled_by_position(build: Callable[..., Scenario], digits: Dataset) -> None:
    scenario = build("scenario.kind=domain", "scenario.domains=classes", "scenario.tasks=5")
    assert scenario.task_classes == ((0, 1),) * 5
    np.testing.assert_array_equal(scenario.data.y, digits.y % 2)
    np.testing.assert_array_equal(scenario.task, digits.y // 2)
    assert scenario.data.classes == ("0 or 2 or 4 or 6 or 8", "1 or 3 or 5 or 7 or 9")
    assert scenario.data.digest != digits.digest
    assert scenario.source_classes == digits.classes


def test_domains_of_classes_need_tasks_of_equal_size(build: Callable[..., Scenario]) -> None:
    with pytest.raises(ConfigInvalid, match=r"equally many classes, not \[4, 3, 3\]"):
        build("scenario.kind=domain", "scenario.domains=classes", "scenario.tasks=3")


def test_permuted_domains_keep_every_entry(build: Callable[..., Scenario], digits: Dataset) -> None:
    scenario = build("scenario.kind=domain", "scenario.domains=permuted", "scenario.tasks=3")
    np.testing.assert_array_equal(scenario.x[scenario.task == 0], digits.x[scenario.task == 0])
    for domain in (1, 2):
        shown, plain = scenario.x[scenario.task == domain], digits.x[scenario.task == domain]
        assert not np.array_equal(shown, plain)
        np.testing.assert_array_equal(np.sort(shown.reshape(len(shown), -1)), np.sort(plain.reshape(len(plain), -1)))
    signals = np.arange(24, dtype=np.float32).reshape(1, 3, 8)
    moved = permute(signals, 1, 1)
    # Every channel keeps its readings and all move alike.
    np.testing.assert_array_equal(np.diff(moved, axis=1), np.full((1, 2, 8), 8.0))


def test_domains_of_persons_split_by_person(hapt: Dataset, make_config: Make) -> None:
    settings = ("data.name=hapt", *IID, "scenario.kind=domain", "scenario.domains=persons", "scenario.tasks=3")
    scenario = build_scenario(hapt, make_config(*settings))
    met = [set(np.unique(hapt.client[scenario.task == t]).tolist()) for t in range(3)]
    assert not met[0] & met[1]
    assert set.union(*met) == set(hapt.clients)
    assert all((hapt.test & (scenario.task == t)).any() and (hapt.train & (scenario.task == t)).any() for t in range(3))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"kind": "online", "order": "shuffle"}, "no tasks to shuffle"),
        ({"kind": "domain", "domains": "persons"}, "one task only"),
        ({"clients": 3, "min_cohort": 4}, "min_cohort = 4 exceeds clients = 3"),
    ],
)
def test_combinations_that_mean_nothing_are_refused(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigInvalid, match=named):
        validate({"scenario": settings})


def test_persons_need_persons(build: Callable[..., Scenario]) -> None:
    with pytest.raises(ConfigInvalid, match="has 0 persons"):
        build("scenario.kind=domain", "scenario.domains=persons")


def test_an_online_stream_follows_its_mixture() -> None:
    label = np.repeat(np.arange(4), 5000)
    task, unit, groups = label // 2, np.arange(20_000), ((0, 1), (2, 3))
    found = segments(task, label, unit, groups, Online(blur=0.4, segments=3), np.random.default_rng(1))
    assert set(np.unique(found)) == set(range(6))
    stretch = found // 3
    # In task 0's stretch: (1 - 0.4) of task 0 and 0.4 of all, so 0.2 of task 1.
    assert np.mean(task[stretch == 0] == 1) == pytest.approx(0.2, abs=0.015)
    assert np.mean(task[stretch == 1] == 0) == pytest.approx(0.2, abs=0.015)
    sharp = segments(task, label, unit, groups, Online(blur=0.0, segments=3), np.random.default_rng(1))
    np.testing.assert_array_equal(sharp // 3, task)


def test_disjoint_classes_never_leave_their_stretch() -> None:
    label = np.repeat(np.arange(4), 1000)
    task, groups = label // 2, ((0, 1), (2, 3))
    found = segments(task, label, np.arange(4000), groups, Online(blur=1.0, disjoint=0.5, segments=1),
                     np.random.default_rng(3))  # fmt: skip
    strays = [bool((found[label == c] != task[label == c]).any()) for c in range(4)]
    assert sorted(strays) == [False, False, True, True]


def test_an_online_scenario_announces_all_classes_and_is_measured_by_task(build: Callable[..., Scenario]) -> None:
    scenario = build("scenario.kind=online", "scenario.tasks=5", "online.segments=3")
    assert (scenario.tasks, scenario.slots, scenario.parts, scenario.seen_once) == (15, 15, 5, True)
    assert all(scenario.slot_classes(slot) == tuple(range(10)) for slot in range(15))
    np.testing.assert_array_equal(scenario.part, scenario.data.y // 2)
    assert (scenario.task[scenario.data.test] == NEVER).all()
    assert (scenario.task[scenario.data.train] >= 0).all()


def test_drift_follows_its_course() -> None:
    x = np.random.default_rng(0).normal(size=(5, 6, 8)).astype(np.float32)
    time = np.array([0.0, 0.25, 0.49, 0.5, 1.0])
    abrupt = drifted(x, time, Drift(course="abrupt", kind="gain", amount=50.0, start=0.5))
    np.testing.assert_array_equal(abrupt[:3], x[:3])
    np.testing.assert_allclose(abrupt[3:], 1.5 * x[3:], rtol=1e-6)
    gradual = drifted(x, time, Drift(course="gradual", kind="gain", amount=-80.0))
    np.testing.assert_allclose(gradual[[0, 1, 4]], x[[0, 1, 4]] * np.float32([1.0, 0.8, 0.2])[:, None, None], rtol=1e-5)
    turned = drifted(x, time, Drift(course="gradual", amount=180.0))
    np.testing.assert_allclose(turned[4, [0, 1, 3, 4]], -x[4, [0, 1, 3, 4]], atol=1e-6)
    np.testing.assert_array_equal(turned[4, [2, 5]], x[4, [2, 5]])
    np.testing.assert_allclose(np.linalg.norm(turned, axis=(1, 2)), np.linalg.norm(x, axis=(1, 2)), rtol=1e-5)
    assert drifted(x, time, Drift()) is x


def test_images_turn_and_lose_contrast_within_their_range() -> None:
    x = np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32)
    flat = drifted(x, np.ones(2), Drift(course="gradual", kind="gain", amount=-90.0))
    np.testing.assert_allclose(flat.std(axis=(1, 2, 3)), 0.1 * x.std(axis=(1, 2, 3)), rtol=1e-3)
    strong = drifted(x, np.ones(2), Drift(course="gradual", kind="gain", amount=200.0))
    assert strong.min() == x.min()
    assert strong.max() == x.max()
    half = drifted(x, np.ones(2), Drift(course="abrupt", amount=180.0))
    np.testing.assert_allclose(half, x[:, :, ::-1, ::-1], atol=1e-5)
    with pytest.raises(ConfigInvalid, match="leaves no signal"):
        validate({"drift": {"kind": "gain", "amount": -100.0}})


def test_drift_moves_with_the_stream_and_tests_show_their_task_and_now(build: Callable[..., Scenario]) -> None:
    still = build("scenario.tasks=5")
    moving = build("scenario.tasks=5", "drift.course=abrupt", "drift.start=0.6", "drift.kind=gain", "drift.amount=-50")
    changed = (moving.x != still.x).any(axis=(1, 2, 3))
    early = moving.task < 3
    assert not changed[early].any()
    assert changed[~early & ~moving.held_out].all()
    test = moving.test_indices()
    np.testing.assert_array_equal(moving.inputs_now(test, 1), still.x[test])
    late = moving.inputs_now(test, 4)
    np.testing.assert_array_equal(late[moving.part[test] >= 3], moving.x[test][moving.part[test] >= 3])
    assert (late != still.x[test]).any(axis=(1, 2, 3)).all()
    assert moving.digest != still.digest
