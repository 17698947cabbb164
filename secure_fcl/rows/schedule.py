"""The rule by which rounds, rates and step sizes follow from public numbers, for data that nobody has tried them on.

Of logistic regression on features of norm at most 1, noise of standard deviation s in every coordinate of a gradient
sum over n examples moves a score by `rate * sqrt(steps) * s / n`. Under a budget of `mu` (a Gaussian mechanism's, Dong,
Roth and Su 2022) `steps` such sums need `s = sqrt(steps) / mu`, so what noise does depends on `rate * steps` alone: the
time that the score has to grow in. The rule spends as many steps as are cheap, asks every example in each of them as
far as that is cheap, and takes the largest rate that keeps the noise of a task's scores at `NOISE_SHARE`.

The constants were chosen on scikit-learn's digits and on two generated sets (benchmarks/schedule.py), on no other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from secure_fcl.config import Config, Training, validate
from secure_fcl.config.names import entry_of
from secure_fcl.config.reading import write_key
from secure_fcl.data import load_chosen
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.gradient import gradient_section
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.section import GradientSection
from secure_fcl.streams import Scenario, build_scenario

#: Steps a task of a row whose noise is shared in the sum (a round is one step), and rounds and steps of the others.
SHARED_ROUNDS = 40
ROUNDS, STEPS = 10, 4
#: Examples that a client's step draws on average, at most.
BATCH = 256
#: Largest rate: of logistic regression on features of norm at most 1, and of every other network.
LINEAR_RATE, OTHER_RATE = 8.0, 0.5
NOISE_SHARE = 0.5
#: Training on all tasks at once without noise bounds the other rows, so it gets as many times their rounds and rate.
BOUND = 4
#: Below this time of learning (rate times steps) rows were near chance on the sets that the rule was chosen on.
LEAST_TIME = 20.0
#: Budgets beyond it hold no rate down.
LARGEST_EPSILON = 50.0
#: Keys of [training] that the rule fills in or counts on.
_PLANNED = (
    "rounds", "steps", "learning_rate", "q_current", "q_memory", "denominator", "upload_clip", "upload_bits",
    "sum_clip", "momentum", "optimizer", "sends",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the rule reads, all of it public.

    Attributes:
        clients: in the federation.
        examples: that one client meets in one slot: all that are planned, spread evenly; 1 where the unit is a person,
            whose sum is clipped as a whole.
        linear: whether the network is logistic regression on features of norm at most 1.
        seen_once: whether an example is there for one round only.
        delta: of the guarantee.
    """

    clients: int
    examples: float
    linear: bool
    seen_once: bool
    delta: float


def held_of(config: Config, scenario: Scenario) -> Held:
    """Return the public numbers of a scenario; of examples only as much as a power of two tells."""
    t, persons = config.training, config.privacy.unit == "person"
    each = max(1.0, scenario.examples / (scenario.clients * scenario.slots))
    return Held(
        clients=scenario.clients,
        examples=1.0 if persons else 2.0 ** math.floor(math.log2(each)),
        linear=t.features != "none" and t.model in ("auto", "softmax"),
        seen_once=scenario.seen_once,
        delta=config.privacy.delta,
    )


def written_out(config: Config) -> Config:
    """Return the configuration as `with_schedule`; its data are read only if the rule is asked.

    Raises:
        SecureFclError: they cannot be read, or the rule does not fit.
    """
    if config.training.schedule != "planned":
        return config
    return with_schedule(config, build_scenario(load_chosen(config.data), config))


def with_schedule(config: Config, scenario: Scenario) -> Config:
    """Return the configuration with all numbers of training written out, where `training.schedule` asks for the rule.

    What returns says `schedule = "written"` and passes unchanged from then on.

    Raises:
        ConfigInvalid: a number that the rule plans was chosen too.
    """
    if config.training.schedule != "planned":
        return config
    _refuse_chosen(config)
    t = config.training
    if t.model == "auto" and t.features == "none":
        # Few examples under noise do not teach a network what to look at; one who wants that names a model.
        config = config.model_copy(update={"training": t.model_copy(update={"features": "refined"})})
    held, tree = held_of(config, scenario), config.model_dump(mode="python")
    rate = min(1.0, BATCH / held.examples)
    batch = max(1.0, rate * held.examples)
    largest = 0.0
    for name, entry, section in _trained(config):
        times = BOUND if entry.at_once and section.noise == "none" else 1
        rounds = times * (SHARED_ROUNDS if section.noise == "shared" and not held.seen_once else ROUNDS)
        size = times * learning_rate(held, section)
        largest = max(largest, size)
        write_key(tree, f"{name}.rounds", rounds)
        write_key(tree, f"{name}.learning_rate", size)
    tree["training"] |= {
        "schedule": "written", "rounds": ROUNDS, "steps": 1 if held.seen_once else STEPS, "q_current": rate,
        "q_memory": rate, "denominator": batch, "upload_clip": max(t.upload_clip, largest), "upload_bits": 20,
        "sum_clip": max(t.sum_clip, batch / 2.0),
    }  # fmt: skip
    return validate(tree)


def _trained(config: Config) -> Iterator[tuple[str, GradientEntry[Any], GradientSection]]:
    for name in config.rows:
        entry = entry_of(name)
        if isinstance(entry, GradientEntry):
            yield name, entry, gradient_section(config, name)


def _refuse_chosen(config: Config) -> None:
    """Refuse two authorities over one number: a value that is not its key's default was chosen."""
    chosen = [
        f"training.{key} = {getattr(config.training, key)!r}"
        for key in _PLANNED
        if getattr(config.training, key) != Training.model_fields[key].default
    ]
    chosen += [
        f"{name}.{key} = {getattr(section, key)!r}"
        for name, _, section in _trained(config)
        for key in ("rounds", "learning_rate")
        if getattr(section, key)
    ]
    if chosen:
        raise ConfigInvalid(
            f"training.schedule = 'planned' and {chosen[0]} both say how to train; leave that key at its default, or "
            "set training.schedule = 'given'"
        )


def learning_rate(held: Held, section: GradientSection) -> float:
    """Return the rule's rate of a row."""
    most = LINEAR_RATE if held.linear else OTHER_RATE
    return min(most, _time(held, section) / _steps(held, section))


def training_advice(config: Config, scenario: Scenario) -> Iterator[str]:
    """Yield what to set instead, for every row of which a network would learn little: a sentence each.

    Nothing where rounds share a tree's noise: the rule is one for independent noise.
    """
    if config.privacy.mechanism == "tree":
        return
    yield from too_noisy(config, scenario)
    yield from too_short(config, scenario)


def too_noisy(config: Config, scenario: Scenario) -> Iterator[str]:
    """Yield a sentence for every row that trains a network under more noise than it could learn from.

    Of examples alone: a plan for too few people is refused where its noise is calibrated.
    """
    if config.privacy.unit == "person":
        return
    held = held_of(config, scenario)
    for name, _, section in _trained(config):
        time = _time(held, section)
        if time < LEAST_TIME:
            more = math.ceil(held.examples * (LEAST_TIME / time))
            shared = "" if section.noise == "shared" else f"{name}.noise = 'shared', "
            yield (
                f"{name}: epsilon = {section.epsilon:g} with {section.noise} noise leaves about {time:.2g} units of "
                f"learning time (rate times steps) a task, and below {LEAST_TIME:g} networks hardly learn; use {shared}"
                f"a larger epsilon, {more} examples a client and task in place of {held.examples:.0f}, or a row of sums"
            )


def too_short(config: Config, scenario: Scenario) -> Iterator[str]:
    """Yield a sentence for every row whose chosen numbers train it for less time than networks need to learn at all.

    Only where its budget would carry more, by the same rule; of plain SGD, whose time is known beforehand.
    """
    t, held = config.training, held_of(config, scenario)
    if t.schedule != "given" or t.optimizer != "sgd" or config.privacy.unit == "person":
        return
    # A step moves by the rate times the mean gradient only as far as the denominator is what a batch has on average.
    full = t.q_current * held.examples / t.denominator
    for name, _, section in _trained(config):
        rounds, rate = section.rounds or t.rounds, section.learning_rate or t.learning_rate
        steps = 1 if section.noise == "shared" or held.seen_once else t.steps
        time = rounds * steps * rate * full / (1.0 - t.momentum)
        if time < LEAST_TIME <= _time(held, section):
            yield (
                f"{name}: rounds times steps times rate are {time:.2g} units of learning time a task, and below "
                f"{LEAST_TIME:g} networks hardly learn; leave the keys of [training] at their defaults and set "
                "training.schedule = 'planned', or raise them"
            )


def _steps(held: Held, section: GradientSection) -> int:
    if held.seen_once:
        return ROUNDS
    return SHARED_ROUNDS if section.noise == "shared" else ROUNDS * STEPS


def _time(held: Held, section: GradientSection) -> float:
    if section.noise == "none":
        return math.inf
    spread = 1.0 if section.noise == "shared" else math.sqrt(held.clients)
    if held.seen_once:
        # A chunk that is there for one round has all its budget for it, and a share of the examples.
        spread *= math.sqrt(_steps(held, section))
    from attacks.bounds.gaussian import gaussian_mu  # brings the attacks' statistics, a second that others never need

    mu = gaussian_mu(min(section.epsilon, LARGEST_EPSILON), held.delta)
    return NOISE_SHARE * mu * held.examples * held.clients / spread
