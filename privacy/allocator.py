"""Allocation before a run: a budget split over tasks, and the noise, memory rate or replay weight that meets it.

Everything here is for schedules fixed in advance (PLD); `privacy.filters` holds a run to one, `privacy.renyi_budget`
holds the budget while a run chooses freely.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from scipy.optimize import brentq

from privacy.accountants import PldAccountant
from privacy.calibration import smallest_multiplier
from privacy.cohorts import undominated
from privacy.errors import BudgetUnreachable, InvalidParameter
from privacy.events import Event, SampledGaussian
from privacy.testing import exact_gaussian


def equal_fractions(tasks: int) -> tuple[float, ...]:
    """Return equal parts of a budget for a known number of tasks.

    Raises:
        InvalidParameter: tasks is below 1.
    """
    if tasks < 1:
        raise InvalidParameter(f"tasks={tasks} must be at least 1")
    return (1.0 / tasks,) * tasks


def geometric_fractions(tasks: int, ratio: float) -> tuple[float, ...]:
    """Return the first `tasks` of the parts (1 - ratio) ratio^t, whose sum stays below 1 for any number of tasks.

    Raises:
        InvalidParameter: tasks is below 1 or the ratio is outside (0, 1).
    """
    if tasks < 1 or not 0.0 < ratio < 1.0:
        raise InvalidParameter(f"tasks={tasks} must be at least 1 and ratio={ratio} in (0, 1)")
    return tuple((1.0 - ratio) * ratio**t for t in range(tasks))


def split_releases(epsilon: float, delta: float, fractions: Sequence[float]) -> tuple[float, ...]:
    """Return one noise multiplier per release of the same examples, so that all together cost `epsilon`.

    A fraction is a part of the squared sensitivity over noise, which is what adds up: Gaussian mechanisms of
    multipliers s_t compose to one of 1 / sqrt(sum 1 / s_t^2), adaptively too (Dong, Roth and Su 2022, section 3), whose
    epsilon is exact (Balle and Wang 2018). Releases about different examples need no split.

    Raises:
        InvalidParameter: epsilon or delta is outside its range, or the fractions are not positive or exceed 1 together.
    """
    if not (epsilon > 0.0 and math.isfinite(epsilon)) or not 0.0 < delta < 1.0:
        raise InvalidParameter(f"epsilon={epsilon} must be positive and finite, delta={delta} in (0, 1)")
    if not fractions or not all(f > 0.0 for f in fractions) or math.fsum(fractions) > 1.0 + 1e-9:
        raise InvalidParameter(f"fractions={tuple(fractions)} must be positive and add up to at most 1")
    high = 1.0
    while exact_gaussian(high, delta) < epsilon:
        high *= 2.0
    mu = float(brentq(lambda m: exact_gaussian(m, delta) - epsilon, 1e-9, high, xtol=1e-12))
    # Rounded up: the split must not spend more than was asked for.
    return tuple((1.0 + 1e-9) / (mu * math.sqrt(f)) for f in fractions)


@dataclass(frozen=True, kw_only=True)
class ReplaySchedule:
    """A planned stream with a memory: every task takes `steps` noisy steps on its own data and on the memory.

    An example of task t is sampled at `q_current` while its task lasts; if kept, at `q_memory` in every later task,
    with its clipped gradient times `replay_weight` (so its noise multiplier is noise_multiplier / replay_weight).

    Raises:
        InvalidParameter: a number is outside its range.
    """

    tasks: int
    steps: int
    q_current: float
    q_memory: float
    noise_multiplier: float
    replay_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.tasks < 1 or self.steps < 1:
            raise InvalidParameter(f"tasks={self.tasks} and steps={self.steps} must be at least 1")
        for name in ("q_current", "q_memory"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InvalidParameter(f"{name}={getattr(self, name)} is outside [0, 1]; give a public probability")
        if not 0.0 < self.noise_multiplier < math.inf or not 0.0 < self.replay_weight <= 1.0:
            raise InvalidParameter(
                f"noise_multiplier={self.noise_multiplier} must be positive and finite, "
                f"replay_weight={self.replay_weight} in (0, 1]"
            )

    def history(self, arrival: int, kept: bool) -> Counter[Event]:
        """Return what an example that arrives in task `arrival` (from 0) spends in the whole run.

        Raises:
            InvalidParameter: the stream has no such task.
        """
        if not 0 <= arrival < self.tasks:
            raise InvalidParameter(f"arrival={arrival} in a stream of {self.tasks} tasks")
        found: Counter[Event] = Counter()
        if self.q_current > 0.0:
            found[SampledGaussian(q=self.q_current, noise_multiplier=self.noise_multiplier)] += self.steps
        later = (self.tasks - 1 - arrival) * self.steps
        if kept and later and self.q_memory > 0.0:
            found[SampledGaussian(q=self.q_memory, noise_multiplier=self.noise_multiplier / self.replay_weight)] += (
                later
            )
        return found

    def histories(self) -> list[Counter[Event]]:
        """Return the histories of all cohorts: every arrival, kept and discarded."""
        return [self.history(t, kept) for t in range(self.tasks) for kept in (False, True)]

    def epsilon(self, delta: float) -> float:
        """Return the worst cohort's epsilon by PLD; 0 if nothing is ever sampled.

        Raises:
            InvalidParameter: delta is outside (0, 1).
        """
        return max(PldAccountant().epsilon(h, delta) for h in undominated(self.histories()))


def solve_noise(schedule: ReplaySchedule, epsilon: float, delta: float) -> ReplaySchedule:
    """Return the plan with the least noise multiplier (to 0.1 %) whose worst cohort stays within epsilon.

    Raises:
        BudgetUnreachable: no noise does.
        InvalidParameter: epsilon or delta is outside its range.
    """
    found = smallest_multiplier(lambda s: replace(schedule, noise_multiplier=s).histories(), epsilon, delta)
    return replace(schedule, noise_multiplier=found)


def solve_memory_rate(schedule: ReplaySchedule, epsilon: float, delta: float) -> ReplaySchedule:
    """Return the plan with the largest memory rate (to 0.1 %) whose worst cohort stays within epsilon.

    Raises:
        BudgetUnreachable: even a memory that is never sampled spends more: the current task alone does.
        InvalidParameter: delta is outside (0, 1).
    """

    def at(rate: float) -> ReplaySchedule:
        return replace(schedule, q_memory=rate)

    if at(0.0).epsilon(delta) > epsilon:
        raise BudgetUnreachable(_too_much(at(0.0), epsilon, delta))
    return _largest(at, 1e-6, epsilon, delta) or at(0.0)


def solve_replay_weight(schedule: ReplaySchedule, epsilon: float, delta: float) -> ReplaySchedule:
    """Return the plan with the largest replay weight (to 0.1 %, at most 1) whose worst cohort stays within epsilon.

    Raises:
        BudgetUnreachable: even a weight of 0.001 spends more.
        InvalidParameter: delta is outside (0, 1).
    """

    def at(weight: float) -> ReplaySchedule:
        return replace(schedule, replay_weight=weight)

    found = _largest(at, 1e-3, epsilon, delta)
    if found is None:
        raise BudgetUnreachable(_too_much(at(1e-3), epsilon, delta))
    return found


def _largest(
    at: Callable[[float], ReplaySchedule], least: float, epsilon: float, delta: float
) -> ReplaySchedule | None:
    """Return the plan of the largest value in [least, 1] that fits; None if `least` does not."""
    if at(1.0).epsilon(delta) <= epsilon:
        return at(1.0)
    low, high = least, 1.0
    if at(low).epsilon(delta) > epsilon:
        return None
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if at(middle).epsilon(delta) <= epsilon else (low, middle)
    return at(low)


def _too_much(schedule: ReplaySchedule, epsilon: float, delta: float) -> str:
    return (
        f"epsilon={epsilon:g} at delta={delta:g} cannot be reached: {schedule} still spends "
        f"{schedule.epsilon(delta):.3g}; raise the noise or epsilon, or lower steps, tasks or q_current"
    )
