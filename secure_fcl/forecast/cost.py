"""What a run would cost, before anything runs: epsilon of every cohort, noise, storage, bytes, and what else to choose.

Nothing printed here depends on what examples hold: data are loaded for public facts alone (shapes, calendar,
clients), as for a run. Where networks see public features, those are computed on the way, for their shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crypto.errors import CryptoError
from privacy import PrivacyError, statements, worst
from privacy.statement import CohortStatement
from secure_fcl.config import Config, validate
from secure_fcl.config.accountants import accountant_of
from secure_fcl.config.reading import write_key
from secure_fcl.data import Dataset, load_chosen
from secure_fcl.errors import SecureFclError
from secure_fcl.forecast.populations import recommendation
from secure_fcl.rows.build import build_row, calibrated_row
from secure_fcl.rows.enforced import enforced_norms
from secure_fcl.rows.persons import people_over_noise, said_of_the_norm
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.rows.schedule import training_advice, with_schedule
from secure_fcl.rows.trees import said_of_the_tree
from secure_fcl.rows.values_cut import all_values_cut
from secure_fcl.streams import Scenario, build_scenario

#: Budgets of the curve over epsilon.
EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, kw_only=True)
class RowCost:
    """One row as configured. Epsilons are None where nothing is guaranteed.

    `noise_in_sum`: standard deviation of the noise of one sum of all clients, in units of what one example weighs at
    most (a client, where the unit is a person); None without noise. Bytes are payload of one client. `norms`: what
    bounds on norms enforce, in words. `people_over_noise`: n / (sigma' sqrt(K)), None where the unit is an example.
    `clipping`: what a learnt clipping norm costs, empty where none is. `mechanism`: what a tree charges and is worth,
    empty where every round has noise of its own.
    `choice`: what the strategy chose by a rule from public numbers, and why; empty for those that choose nothing.
    """

    row: str
    noise: str
    budget: float | None
    noise_multiplier: float
    noise_in_sum: float | None
    epsilon: float | None
    delta: float
    cohorts: tuple[CohortStatement, ...]
    rounds: int
    storage: Mapping[str, int]
    storage_budget: int | None
    bytes_per_round: int
    bytes_in_all: int
    norms: tuple[str, ...] = ()
    people_over_noise: float | None = None
    clipping: str = ""
    mechanism: str = ""
    choice: str = ""

    def by_arrival(self, fate: str) -> list[tuple[int, float]]:
        """Return (arrival task, epsilon of its worst cohort of that fate), in order; of examples alone."""
        found: dict[int, float] = {}
        for statement in self.cohorts:
            if statement.cohort.fate == fate:
                task = statement.cohort.arrival
                found[task] = max(found.get(task, 0.0), statement.epsilon)
        return sorted(found.items())


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One setting changed, the rest as configured.

    `epsilon`: of the worst cohort with the noise as planned; `noise_multiplier`, `noise_in_sum`: what the budget would
    need instead; `storage`: bytes on a device. `refused` says why the setting does not exist; then the others are None.
    """

    row: str
    key: str
    value: float | int | str
    epsilon: float | None = None
    noise_multiplier: float | None = None
    noise_in_sum: float | None = None
    storage: int | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Forecast:
    """The answer of `secure-fcl plan`. curve: per row, (epsilon, noise in the sum); advice: what to set instead."""

    rows: tuple[RowCost, ...]
    alternatives: tuple[Alternative, ...]
    curves: Mapping[str, tuple[tuple[float, float], ...]]
    advice: tuple[str, ...] = ()


def plan_run(config: Config, alternatives: bool = True, data: Dataset | None = None) -> Forecast:
    """Return what every row of `config` costs, and what other choices would. `data`: as in `prepare`.

    Raises:
        SecureFclError, PrivacyError, CryptoError: the configuration itself cannot run; a refused alternative is part
            of the answer.
    """
    scenario = build_scenario(data or load_chosen(config.data), config)
    config = with_schedule(config, scenario)
    planned = [calibrated_row(config, scenario, name) for name in config.rows]
    rows = tuple(_cost(plan, multiplier) for plan, multiplier in planned)
    others: list[Alternative] = []
    curves = {}
    if alternatives:
        for plan, multiplier in planned:
            others += [_alternative(config, scenario, plan, multiplier, *c) for c in _choices(config, plan)]
            curves[plan.name] = tuple(_curve(config, scenario, plan))
    better = recommendation(config.protection, scenario.clients)
    doubts = all_values_cut(plan for plan, _ in planned)
    advice = (*training_advice(config, scenario), *doubts, *(() if better is None else (better,)))
    return Forecast(rows, tuple(others), curves, advice)


def _cost(plan: RowPlan, multiplier: float) -> RowCost:
    cohorts = _statements(plan)
    secure = plan.secure_plan()
    uploads = [secure.client_bytes(upload.name) for upload in secure.uploads]
    budget = plan.config.section(plan.name).epsilon
    return RowCost(
        row=plan.name,
        noise=plan.noise,
        budget=budget if math.isfinite(budget) else None,
        noise_multiplier=multiplier,
        noise_in_sum=_noise_in_sum(plan, multiplier),
        epsilon=_finite(worst(cohorts)),
        delta=plan.config.privacy.delta,
        cohorts=cohorts,
        rounds=plan.rounds,
        storage=plan.storage.table(),
        storage_budget=plan.storage.budget,
        bytes_per_round=uploads[0],
        bytes_in_all=plan.client_bytes,
        norms=enforced_norms(plan),
        people_over_noise=people_over_noise(plan),
        clipping=said_of_the_norm(plan),
        mechanism=said_of_the_tree(plan),
        choice=getattr(plan.strategy, "choice", ""),
    )


def _statements(plan: RowPlan) -> tuple[CohortStatement, ...]:
    # As the certificate: with the spare rounds, used or not.
    return statements(plan.planned(), plan.accounting_delta, accountant_of(plan.config.privacy.accountant))


def _finite(statement: CohortStatement | None) -> float | None:
    return statement.epsilon if statement is not None and math.isfinite(statement.epsilon) else None


def _noise_in_sum(plan: RowPlan, multiplier: float) -> float | None:
    if multiplier == 0.0:
        return None
    shares = plan.train_noise
    if shares is None:
        # Every client adds the full noise to its own.
        return multiplier * math.sqrt(plan.scenario.clients)
    return multiplier * math.sqrt(shares.parties * shares.share_variance / shares.guaranteed_variance)


def _choices(config: Config, plan: RowPlan) -> Iterator[tuple[str, float | int | str]]:
    """Yield (key, value) of every single change worth showing for a row."""
    row, privacy, clients = plan.name, config.privacy, plan.scenario.clients
    for place in ("local", "shared"):
        if place != plan.noise:
            yield f"{row}.noise", place
    if not plan.strategy.once_per_chunk:
        yield from _scaled("training.rounds", config.training.rounds, 1, 10_000)
        yield from _scaled("training.q_current", config.training.q_current, 0.0, 1.0)
    if plan.memory is not None:
        yield from _scaled("training.q_memory", config.training.q_memory, 0.0, 1.0)
        yield from _scaled("memory.keep", config.memory.keep, 0.0, 1.0)
        yield from _scaled("memory.capacity", config.memory.capacity, 1, 10**9)
    if plan.noise == "shared":
        for dropouts in sorted({0, clients // 10, clients // 5, clients // 3} - {privacy.max_dropouts}):
            yield "privacy.max_dropouts", dropouts
        for colluders in sorted({1, clients // 10, clients // 3} - {privacy.colluders, 0}):
            yield "privacy.colluders", colluders
    for tasks in (config.scenario.tasks // 2, config.scenario.tasks * 2):
        if tasks >= 1:
            yield "scenario.tasks", tasks


def _scaled(key: str, value: float | int, least: float, most: float) -> Iterator[tuple[str, float | int]]:
    for changed in (value // 2 if isinstance(value, int) else value / 2, value * 2):
        if max(least, 1e-9) <= changed <= most:
            yield key, changed


def _alternative(
    config: Config, scenario: Scenario, plan: RowPlan, multiplier: float, key: str, value: float | int | str
) -> Alternative:
    try:
        changed = with_setting(config, key, value)
        other = build_scenario(scenario.data, changed) if key.startswith("scenario.") else scenario
        # Without noise there is none to keep; its place is what changes then.
        same = _statements(build_row(changed, other, plan.name, multiplier)) if multiplier else ()
        needed, least = calibrated_row(changed, other, plan.name)
    except (SecureFclError, PrivacyError, CryptoError) as error:
        return Alternative(row=plan.name, key=key, value=value, refused=str(error))
    storage = sum(needed.storage.table().values())
    return Alternative(
        row=plan.name,
        key=key,
        value=value,
        epsilon=_finite(worst(same)),
        noise_multiplier=least,
        noise_in_sum=_noise_in_sum(needed, least),
        storage=storage,
    )


def with_setting(config: Config, key: str, value: float | int | str) -> Config:
    """Return the configuration with one dotted key changed.

    Raises:
        ConfigInvalid: the value does not fit the others.
    """
    tree: dict[str, Any] = config.model_dump(mode="python")
    write_key(tree, key, value)
    return validate(tree)


def _curve(config: Config, scenario: Scenario, plan: RowPlan) -> Iterable[tuple[float, float]]:
    if plan.noise == "none":
        return
    for epsilon in EPSILONS:
        try:
            needed, least = calibrated_row(with_setting(config, f"{plan.name}.epsilon", epsilon), scenario, plan.name)
        except (SecureFclError, PrivacyError):
            # A budget that no noise reaches has no point on the curve.
            continue
        noise = _noise_in_sum(needed, least)
        if noise is not None:
            yield epsilon, noise
