"""What every strategy sends, charges, keeps and needs, read off the code that runs it: no table is kept by hand."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from privacy import DpSgdPlan, NonPrivate
from secure_fcl.config import Config, validate
from secure_fcl.config.names import entry_of
from secure_fcl.data import load_chosen
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.build import build_row
from secure_fcl.rows.gradient import method_of
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import GradientStrategy, Method, Networks, Plain, Rates
from secure_fcl.strategies.catalogue import CHANNELS, ENTRIES, Entry
from secure_fcl.strategies.course import Course, play
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.uploads.choice import SendsOwn
from secure_fcl.strategies.section import NoisePlace
from secure_fcl.streams import Scenario, build_scenario

#: Noise multiplier at which events are read off; what is charged does not depend on it.
_ANY_NOISE = 1.0


@dataclass(frozen=True, kw_only=True)
class FactSheet:
    """One row's facts under a configuration.

    Attributes:
        row: its name.
        what: the first sentence of its class, with the paper.
        noise: place of the noise that the facts below are for; `places` are all that exist for it.
        sums_only: whether the server sees nothing of a client but sums.
        side_channels: what it sends beside the sums, by name.
        per_example_dp: whether every example has an epsilon, with the noise in that place.
        releases: charges of an example in the task it arrives in, by round's purpose and number of rounds.
        releases_kept: charges of an example that is kept, in every later task; 0 without a memory.
        extra_releases: releases beyond those of fine-tuning (of replay, with a memory); None where there are no steps.
        terms: where what it adds acts: in the loss of an example, after the noise, in the server's use of sums, in
            uploads of its own.
        kept_bytes: on a device between rounds, beside examples and keys.
        memory_examples: capacity of its replay memory; 0: none.
        task_identity: whether a prediction needs to be told the task.
        bytes_up: payload of one client in a training round.
        side_bytes: of one client's side channels in a task.
        shared_equals: the row that it is, to the last bit, with noise shared inside the sum; None: no other.
    """

    row: str
    what: str
    noise: str
    places: tuple[str, ...]
    sums_only: bool
    side_channels: tuple[str, ...]
    per_example_dp: bool
    releases: int
    releases_kept: int
    extra_releases: int | None
    terms: tuple[str, ...]
    kept_bytes: int
    memory_examples: int
    task_identity: bool
    bytes_up: int
    side_bytes: int
    shared_equals: str | None


def fact_sheets(config: Config) -> tuple[FactSheet, ...]:
    """Return the facts of every row under a configuration, in the order of the rows' names.

    Raises:
        SecureFclError: the scenario cannot be built, or a row cannot run in it at all; names the reason.
    """
    scenario = build_scenario(load_chosen(config.data), config)
    entries = {**ENTRIES, **{name: entry_of(name) for name in config.rows}}
    equal = _equal_when_shared(config, entries)
    return tuple(_sheet(config, scenario, name, entry, equal.get(name)) for name, entry in entries.items())


def _sheet(config: Config, scenario: Scenario, name: str, entry: Entry, equal: str | None) -> FactSheet:
    plans = {place: _plan(config, scenario, name, place) for place in ("local", "shared")}
    places = tuple(place for place, plan in plans.items() if plan is not None)
    wanted: str = config.section(name).noise
    noise = wanted if wanted in places else places[0]
    plan = plans[noise]
    if plan is None:
        raise ConfigInvalid(f"row {name!r} exists with no noise; nothing can be said of it")
    own, later = _releases(plan)
    secure = plan.secure_plan(0)
    return FactSheet(
        row=name, what=entry.what or _first_sentence(plan), noise=noise, places=places, sums_only=not plan.channels,
        side_channels=tuple(channel.name for channel in plan.channels),
        per_example_dp=plan.protected and not _non_private(plan), releases=own, releases_kept=later,
        extra_releases=_extra(config, scenario, plan, own), terms=_terms(plan),
        kept_bytes=sum(size for _, size in plan.storage.kept), memory_examples=plan.storage.memory_examples,
        task_identity="task" in inspect.signature(plan.strategy.scores).parameters,
        bytes_up=secure.client_bytes(secure.uploads[0].name), side_bytes=sum(c.size for c in plan.channels),
        shared_equals=equal if "shared" in places else None,
    )  # fmt: skip


def _plan(config: Config, scenario: Scenario, name: str, place: NoisePlace) -> RowPlan | None:
    """Return the row with noise in a place, side channels allowed; None where there is no such row."""
    try:
        return build_row(_with_noise(config, name, place), scenario, name, _ANY_NOISE)
    except ConfigInvalid:
        return None


def _with_noise(config: Config, name: str, place: NoisePlace) -> Config:
    channels = {*CHANNELS, *config.side_channels, *entry_of(name).channels}
    tree = config.model_dump(mode="python") | {"side_channels": tuple(channels)}
    tree[name] = {**tree.get(name, {}), "noise": place, "epsilon": 8.0}
    return validate(tree)


def _releases(plan: RowPlan) -> tuple[int, int]:
    """Return how many private releases read an example in its own task, and in each later one if it is kept."""
    phases = [plan.phase(round) for round in range(plan.rounds_per_slot)]
    counts = []
    for stratum in ("current", "memory") if plan.memory else ("current",):
        found = [plan.events(stratum, phase) for phase in phases]
        counts.append(sum(n for events in found for e, n in events.items() if not isinstance(e, NonPrivate)))
    return counts[0], counts[1] if len(counts) > 1 else 0


def _non_private(plan: RowPlan) -> bool:
    charged = (charge.event for round in range(plan.rounds_per_slot) for charge in plan.charges(0, round))
    return any(isinstance(event, NonPrivate) for event in charged)


def _extra(config: Config, scenario: Scenario, plan: RowPlan, own: int) -> int | None:
    if not isinstance(plan.strategy, GradientStrategy) or plan.scenario.together > 1:
        return 0 if isinstance(plan.strategy, GradientStrategy) else None
    usual = _plan(config, scenario, "replay" if plan.memory else "finetune", _place(plan))
    return None if usual is None else own - _releases(usual)[0]


def _place(plan: RowPlan) -> NoisePlace:
    return "shared" if plan.noise == "shared" else "local"


def _terms(plan: RowPlan) -> tuple[str, ...]:
    if not isinstance(plan.strategy, GradientStrategy):
        return ("sums",)
    method: Any = type(plan.strategy.method)
    places = {"loss": "loss of an example", "after": "after the noise", "absorb": "server's use of sums"}
    found = [said for name, said in places.items() if getattr(method, name) is not getattr(Plain, name)]
    return (*found, "uploads of its own") if isinstance(plan.strategy.method, SendsOwn) else tuple(found)


def _first_sentence(plan: RowPlan) -> str:
    strategy: Any = plan.strategy
    owner = strategy.method if isinstance(strategy, GradientStrategy) else getattr(strategy, "classifier", strategy)
    return " ".join((inspect.getdoc(type(owner)) or "").split("\n\n")[0].split())


def _equal_when_shared(config: Config, entries: Mapping[str, Entry]) -> dict[str, str]:
    """Return, by row, an earlier row that ends at the same weights with shared noise in a short made-up course."""
    found: dict[str, str] = {}
    ends: list[tuple[str, np.ndarray]] = []
    for name, entry in entries.items():
        if not isinstance(entry, GradientEntry) or entry.at_once:
            continue
        method = method_of(config, name, entry)
        if method.own:
            continue
        weights = _shared_end(method)
        same = [earlier for earlier, other in ends if np.array_equal(weights, other)]
        if same:
            found[name] = same[0]
        ends.append((name, weights))
    return found


def _shared_end(method: Method) -> np.ndarray:
    shape, classes = (1, 8, 8), 4
    networks = Networks(kind="mlp", shape=shape, classes=classes, seed=1, trainer="stacked")
    rates = Rates(current=0.9, memory=0.9 if method.memory else 0.0)
    plan = DpSgdPlan(steps=1, denominator=4.0, clipping_norm=1.0, noise_multiplier=0.0, learning_rate=0.5)
    strategy = GradientStrategy(
        name="fact",
        dpsgd=plan,
        rates=rates,
        rounds=3,
        networks=networks,
        examples=12,
        method=_emphasised(method),
        shared=True,
    )
    return play(strategy, Course.of_two_tasks(shape, classes, strategy, rounds=3))[0]["weights"]


def _emphasised(method: Method) -> Method:
    """Return the method with penalties that are strong enough to be seen in a few rounds."""
    return replace(method, strength=1000.0) if hasattr(method, "strength") else method  # type: ignore[type-var]


def as_json(sheets: Sequence[FactSheet]) -> list[dict[str, Any]]:
    """Return the sheets as JSON objects."""
    return [asdict(sheet) for sheet in sheets]
