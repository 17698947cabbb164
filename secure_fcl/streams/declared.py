"""A calendar made of declared sizes, where nobody has the examples of all devices in one place."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from secure_fcl.config import Config, load_tree
from secure_fcl.config.explain import explain
from secure_fcl.errors import ConfigInvalid
from secure_fcl.randomness import public_generator
from secure_fcl.strategies.section import Section
from secure_fcl.streams.calendar import make_calendar
from secure_fcl.streams.cohorts import NEVER, release_slots, waits
from secure_fcl.streams.partition import dealt_classes
from secure_fcl.streams.public import PublicCalendar
from secure_fcl.streams.scenario import Facts
from secure_fcl.streams.tasks import Groups, class_groups


class Sizes(Section):
    """What is declared of all devices' data, and so public: `sizes.toml`."""

    name: str = Field(description="of the data set")
    shape: tuple[int, ...] = Field(min_length=1, description="of one example")
    classes: tuple[str, ...] = Field(min_length=1, description="the label set, fixed before any data is seen")
    units: str = Field("", description="what one unit of an example's numbers is")
    source: str = Field("", description="citation and licence")
    windows_per_reading: int = Field(1, ge=1, description="most examples that one raw reading lies in")
    largest_place: int = Field(ge=1, description="most positions in one task on one device")
    most_in_unit: int = Field(1, ge=1, description="most examples at one position")
    most_in_item: int = Field(1, ge=1, description="most examples that share one coin of the memory")
    examples: int = Field(ge=1, description="training examples of all devices, about: for the progress curve")
    most_of_one: int = Field(ge=1, description="most training examples of one device")


def read_sizes(path: Path) -> Sizes:
    """Return the sizes that a TOML file declares.

    Raises:
        ConfigInvalid: it is missing, or a key is wrong; names the first.
    """
    try:
        return Sizes.model_validate(load_tree(path))
    except ValidationError as error:
        raise ConfigInvalid(f"{path}: {explain(error, model=Sizes)}") from None


def declared_calendar(sizes: Sizes, config: Config) -> PublicCalendar:
    """Return the calendar of a configuration for data of declared sizes. Same arguments, same digest.

    Raises:
        ConfigInvalid: tasks that are no groups of classes, a drift, or as `build_scenario`.
    """
    wanted = config.scenario
    if wanted.kind not in ("class", "task") or config.drift.course != "none" or wanted.partition == "natural":
        raise ConfigInvalid(
            f"scenario.kind = {wanted.kind!r}, drift.course = {config.drift.course!r} and scenario.partition = "
            f"{wanted.partition!r}: without data at hand take kind class or task, no drift, and another partition than "
            "natural (iid says that a device may hold any class)"
        )
    groups = class_groups(len(sizes.classes), sizes.name, wanted)
    announced = np.array([np.isin(np.arange(len(sizes.classes)), group) for group in groups])
    dealt = dealt_classes(
        wanted.partition, len(sizes.classes), wanted.clients, wanted.classes_per_client,
        public_generator(config.seed, "partition"),
    )  # fmt: skip
    dates = make_calendar(config, len(groups))
    release = release_slots(dates, announced, dealt, wanted.min_cohort)
    waited = waits(dates, announced, dealt, release)
    if not dates.present.any(axis=0).all() or all(wait.released is None for wait in waited):
        raise ConfigInvalid(
            f"scenario.min_cohort = {wanted.min_cohort}, joining = {wanted.joining:g} and leaving = "
            f"{wanted.leaving:g} leave a slot without clients, or no class released; lower them"
        )
    return PublicCalendar(
        kind=wanted.kind, data_name=sizes.name, data_digest="declared", shape=sizes.shape, classes=sizes.classes,
        source_classes=sizes.classes, unit_of_x=sizes.units, source=sizes.source,
        windows_per_reading=sizes.windows_per_reading, task_classes=groups, part_classes=groups,
        met=_rows(dates.met), present=_rows(dates.present), release=_rows(release), waits=waited,
        largest_place=sizes.largest_place, bounds=(sizes.most_in_unit, sizes.most_in_item),
        shuffled=wanted.order == "shuffle", segments=1, drift=config.drift,
        facts=_facts(sizes, config, release, dates.met.shape[1], groups),
    )  # fmt: skip


def _facts(sizes: Sizes, config: Config, release: NDArray[np.int64], slots: int, groups: Groups) -> Facts:
    """Return the numbers that stand in for examples nobody counted: as many in every experience, every class there."""
    there = [(release != NEVER) & (release <= slot) for slot in range(slots)]
    every = max(1, int((release != NEVER).sum()))
    digest = hashlib.sha256(f"{sizes!r} {config.seed} {config.scenario!r}".encode() + release.tobytes()).hexdigest()
    return Facts(
        digest=digest,
        digest_at_once=hashlib.sha256(f"{digest} at once".encode()).hexdigest(),
        examples=sizes.examples,
        most_of_one=sizes.most_of_one,
        released=tuple(round(sizes.examples * int(now.sum()) / every) for now in there),
        arrived=tuple(
            tuple(sorted({c for task in np.flatnonzero(now.any(axis=0)).tolist() for c in groups[task]}))
            for now in there
        ),
    )


def _rows(array: NDArray[Any]) -> tuple[tuple[Any, ...], ...]:
    return tuple(map(tuple, array.tolist()))
