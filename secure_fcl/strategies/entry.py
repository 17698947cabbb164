"""One entry says everything the program asks about a strategy: its section, its builder, its facts, its attackers.

The entry of a strategy stands below its code. `secure_fcl.strategies.catalogue` lists those that come with this
package; any other is named in the configuration as `module:name` of an entry, without a registration call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from secure_fcl.strategies.base import Phase, Strategy
from secure_fcl.strategies.gradient.method import Method
from secure_fcl.strategies.section import GradientSection, SumsSection

G = TypeVar("G", bound=GradientSection)
S = TypeVar("S", bound=SumsSection)


@dataclass(frozen=True, kw_only=True)
class GradientEntry(Generic[G]):
    """A strategy that trains a network by federated DP-SGD, told apart by its method.

    Attributes:
        section: its section of the configuration, with the defaults.
        method: makes the method from the section that a run has.
        what: one sentence with the paper; empty: the first of the method's class.
        attackable: whether the audit can attack it; False where no model is common to all clients, or no stream.
        at_once: whether all tasks are put together, as a bound.
        channels: names of the side channels it sends, as `side_channels` of the configuration allows them.
        check: refuses numbers that do not fit the learning rate in force, with `secure_fcl.errors.ConfigInvalid`.
        chosen_on: by data set, which of the strategy's constants were chosen on its examples: a declaration for the
            certificate and tables, which decides nothing.
    """

    section: G
    method: Callable[[G], Method]
    what: str = ""
    attackable: bool = True
    at_once: bool = False
    channels: tuple[str, ...] = ()
    check: Callable[[G, float], None] = lambda section, rate: None
    chosen_on: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SumsNumbers:
    """The public numbers of a run from which a strategy of sums is built.

    Attributes:
        name: of the row.
        shape: of one example.
        classes: size of the public label set.
        widest_slot: most classes that the calendar announces for one slot.
        examples: public bound on the examples of one chunk.
        noisy: whether noise is added inside the sums.
        persons: whether the unit is a client, whose whole contribution is then brought to norm 1 by the row.
        planned: training examples of all clients; 0: not known.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    widest_slot: int
    examples: int
    noisy: bool
    persons: bool = False
    planned: int = 0


@dataclass(frozen=True, kw_only=True)
class SumsEntry(Generic[S]):
    """A strategy whose uploads are sums of bounded statistics, each example summed once in each exchange.

    Attributes:
        section: its section of the configuration, with the defaults.
        build: makes the strategy from the section that a run has and the run's public numbers.
        what: one sentence with the paper; empty: the first of the strategy's class, or of its `classifier`.
        ratios: each exchange's noise multiplier over the row's, such that together they cost as one of the row's.
            Gaussian mechanisms of multipliers s_i compose to 1 / sqrt(sum of 1 / s_i^2).
        told: returns the strategy told of the noise in its sums: by exchange the standard deviation of an entry, all
            clients present, in units of the sensitivity. What is told is public.
        attackable: whether the audit can attack it.
        channels: see `GradientEntry`.
        chosen_on: see `GradientEntry`.
    """

    section: S
    build: Callable[[S, SumsNumbers], Strategy]
    what: str = ""
    ratios: Callable[[S], Mapping[Phase, float]] = lambda section: {"train": 1.0}
    told: Callable[[Any, Mapping[Phase, float]], Strategy] = lambda strategy, std: strategy
    attackable: bool = True
    channels: tuple[str, ...] = ()
    chosen_on: Mapping[str, str] = field(default_factory=dict)
