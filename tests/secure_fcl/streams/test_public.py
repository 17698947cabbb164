"""A scenario taken apart: the public calendar, one device's examples, the test set, and declared sizes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.build import build_row
from secure_fcl.streams import Scenario, all_at_once, build_scenario
from secure_fcl.streams.declared import declared_calendar, read_sizes
from secure_fcl.streams.public import PublicCalendar, no_test, own_part, own_test, part_of, test_of

SETTINGS = [
    (),
    ("scenario.arrival=asynchronous", "scenario.joining=0.5"),
    ("scenario.kind=online", "scenario.partition=iid"),
    ("scenario.kind=domain", "scenario.domains=rotated"),
    ("scenario.min_cohort=2", "scenario.partition=iid", "drift.course=abrupt"),
]


@pytest.fixture(params=SETTINGS, ids=lambda settings: settings[0] if settings else "default")
def scenario(request: pytest.FixtureRequest, digits: Dataset, make_config: Callable[..., Config]) -> Scenario:
    return build_scenario(digits, make_config(*request.param))


def test_a_calendar_comes_back_from_its_file(scenario: Scenario, tmp_path: Path) -> None:
    made = PublicCalendar.of(scenario)
    made.write(tmp_path / "calendar.json")
    read = PublicCalendar.read(tmp_path / "calendar.json")
    assert read.digest == made.digest
    changed = json.loads((tmp_path / "calendar.json").read_text()) | {"largest_place": 99}
    (tmp_path / "calendar.json").write_text(json.dumps(changed))
    with pytest.raises(ConfigInvalid, match="its digest is another"):
        PublicCalendar.read(tmp_path / "calendar.json")


def test_a_device_sees_its_own_examples_as_in_the_whole(scenario: Scenario) -> None:
    calendar = PublicCalendar.of(scenario)
    for client in range(scenario.clients):
        own = calendar.with_part(client, part_of(scenario, client))
        for task in range(scenario.tasks):
            whole, mine = scenario.experience(client, task), own.experience(client, task)
            assert np.array_equal(scenario.x[whole.index], own.x[mine.index])
            assert np.array_equal(scenario.data.y[whole.index], own.data.y[mine.index])
            assert np.array_equal(whole.place, mine.place)
            # Nothing of anybody else is there.
            others = [k for k in range(scenario.clients) if k != client]
            assert not any(len(own.experience(k, task).index) for k in others)


def test_public_facts_are_those_of_the_whole(scenario: Scenario) -> None:
    calendar = PublicCalendar.of(scenario)
    for part in (calendar.with_part(0, part_of(scenario, 0)), calendar.with_test(test_of(scenario))):
        for whole, here in ((scenario, part), (all_at_once(scenario), all_at_once(part))):
            assert here.digest == whole.digest
            assert here.groups == whole.groups
            assert here.most_examples_of_one_client == whole.most_examples_of_one_client
            assert (here.examples, here.largest_place) == (whole.examples, whole.largest_place)
            for slot in range(whole.slots):
                assert here.released_examples(slot) == whole.released_examples(slot)
                assert np.array_equal(here.arrived_classes(slot), whole.arrived_classes(slot))
        assert part.units.windows_per_unit == scenario.units.windows_per_unit
        assert part.units.largest_item == scenario.units.largest_item


def test_a_plan_is_the_same_from_the_public_part(digits: Dataset, make_config: Callable[..., Config]) -> None:
    config = make_config('rows=["replay","class_sums","joint"]')
    scenario = build_scenario(digits, config)
    calendar = PublicCalendar.of(scenario)
    for row in config.rows:
        whole = build_row(config, scenario, row, 1.0)
        own = build_row(config, calendar.with_part(2, part_of(scenario, 2)), row, 1.0)
        assert own.storage.table() == whole.storage.table()
        assert own.planned() == whole.planned()
        assert own.secure_plan(0).uploads == whole.secure_plan(0).uploads


def test_a_server_has_the_test_set_and_no_training_example(scenario: Scenario) -> None:
    server = PublicCalendar.of(scenario).with_test(test_of(scenario))
    assert len(server.test_indices()) == len(scenario.test_indices())
    assert not server.data.train.any()
    assert np.array_equal(server.inputs_now(server.test_indices(), 0), scenario.inputs_now(scenario.test_indices(), 0))


def test_a_device_without_data_has_empty_experiences(tiny_scenario: Scenario) -> None:
    calendar = PublicCalendar.of(tiny_scenario)
    none = {name: array[:0] for name, array in part_of(tiny_scenario, 0).items()}
    assert len(calendar.with_part(0, none).experience(0, 0).index) == 0


def test_more_than_is_declared_is_refused(tiny_scenario: Scenario) -> None:
    calendar = PublicCalendar.of(tiny_scenario)
    part = {name: np.concatenate([array, array]) for name, array in part_of(tiny_scenario, 0).items()}
    part["unit"] = part["order"] = np.arange(len(part["y"]))
    part["task"][:] = 0
    with pytest.raises(ConfigInvalid, match="declares at most"):
        calendar.with_part(0, part)
    with pytest.raises(ConfigInvalid, match="lack the arrays"):
        calendar.with_part(0, {"x": part["x"]})
    with pytest.raises(ConfigInvalid, match="task is outside"):
        calendar.with_part(0, part | {"task": part["task"] + 7})


SIZES = """
name = "mine"
shape = [1, 8, 8]
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
largest_place = 200
examples = 1500
most_of_one = 400
"""


def test_declared_sizes_make_a_calendar_for_data_that_stay_where_they_are(
    digits: Dataset, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    (tmp_path / "sizes.toml").write_text(SIZES)
    config = make_config("scenario.partition=iid", 'rows=["class_sums"]')
    calendar = declared_calendar(read_sizes(tmp_path / "sizes.toml"), config)
    assert calendar.digest == declared_calendar(read_sizes(tmp_path / "sizes.toml"), config).digest
    device = calendar.with_part(1, own_part(_as(digits, calendar), calendar))
    server = calendar.with_test(own_test(_as(digits, calendar), calendar))
    assert len(device.experience(1, 0).index) > 0
    assert len(server.test_indices()) > 0
    assert calendar.with_test(no_test(calendar)).test_indices().size == 0
    assert (
        build_row(config, device, "class_sums", 1.0).planned() == build_row(config, server, "class_sums", 1.0).planned()
    )
    with pytest.raises(ConfigInvalid, match="another partition than natural"):
        declared_calendar(read_sizes(tmp_path / "sizes.toml"), make_config("scenario.partition=natural"))
    (tmp_path / "sizes.toml").write_text(SIZES.replace("1500", "0"))
    with pytest.raises(ConfigInvalid, match="examples"):
        read_sizes(tmp_path / "sizes.toml")


def _as(digits: Dataset, calendar: PublicCalendar) -> Dataset:
    """Every tenth digit, under the declared names."""
    few = {name: getattr(digits, name)[::10].copy() for name in ("x", "y", "client", "session", "run", "position")}
    train, test = digits.train[::10].copy(), digits.test[::10].copy()
    return Dataset(name="own", **few, train=train, test=test, classes=calendar.source_classes, units="")
