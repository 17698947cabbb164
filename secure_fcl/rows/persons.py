"""Rows whose unit is a person: what they refuse, what of a stream a device reads, and how loud the noise may be.

A person is a client. Neighbouring runs differ in one client: its whole stream over all tasks is there, or it is silent
all the way. Everything here follows from the configuration and the public calendar; no maximum of the data enters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from privacy import DistributedSum
from secure_fcl.config import Compression, Config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.memory import StoragePlan, StoredItem
from secure_fcl.memory.storage import KEY_BYTES, plan_storage
from secure_fcl.rows.gradient import sends_gradients_alone
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import GradientStrategy, Method
from secure_fcl.streams import Scenario
from secure_fcl.streams.units import ITEM_WINDOWS

LEAST_PEOPLE_OVER_NOISE = 10.0
"""Below so many people per standard deviation of a sum's noise a model is not worth its training.

Trial on split MNIST and HAPT, people over noise against accuracy: 4 .40 to .50, 14 .87, 22 .93, 42 .95, 140 .97.
"""

LARGEST_DELTA_OF_PEOPLE = 0.1
"""Delta times the number of people may be no more: else a mechanism that names one person in ten runs would pass."""


def of_persons(config: Config) -> bool:
    """Return whether the unit of the run's guarantees is a person."""
    return config.privacy.unit == "person"


def check_persons(config: Config, scenario: Scenario, name: str) -> None:
    """Refuse what the unit is not built for in any row, or a delta that is too large for so few people.

    Raises:
        ConfigInvalid: with what does not fit.
    """
    privacy, clients = config.privacy, scenario.clients
    most = LARGEST_DELTA_OF_PEOPLE / clients
    if privacy.delta > most and config.section(name).noise != "none":
        raise ConfigInvalid(
            f"privacy.delta = {privacy.delta:g} is above 1/(10 n) = {most:.3g} of n = {clients} people, which would "
            "allow to give one of them away; lower it"
        )
    low = [bound for bound in config.section(name).norm_bounds.values() if 0.0 < bound < 1.0]
    if low:
        raise ConfigInvalid(
            f"privacy.unit = 'person' brings what a person sends to norm 1, and {name}.norm_bound = {low[0]:g} would "
            "cut it below the noise that is planned for it; set it to 1 or more, or to 0"
        )
    if config.section(name).noise == "local":
        raise ConfigInvalid(
            f"privacy.unit = 'person' and {name}.noise = 'local' do not go together: local noise is sized for one "
            f"example; set {name}.noise = 'shared'"
        )
    if config.scenario.setting == "cross-silo":
        raise ConfigInvalid(
            "privacy.unit = 'person' reads as much of a stream as a device's storage holds, and scenario.setting = "
            "'cross-silo' has no such bound; set 'cross-device'"
        )
    if config.drift.course != "none":
        raise ConfigInvalid(
            f"privacy.unit = 'person' and drift.course = {config.drift.course!r} do not go together: the longest "
            "stream of any person sets the pace of everybody's drift; set drift.course = 'none'"
        )
    if config.engine != "local":
        raise ConfigInvalid(
            f"privacy.unit = 'person' runs on engine = 'local' alone, not on {config.engine!r}: a deployment's "
            "calendar states the largest stream of any person; set engine = 'local'"
        )
    if config.attacks.enabled and config.attacks.row == name:
        raise ConfigInvalid(
            f"attacks.row = {name!r} attacks single examples, and privacy.unit = 'person' promises nothing about one "
            "beside another of the same person; set attacks.enabled = false"
        )


def check_trained_for_persons(config: Config, name: str, method: Method, at_once: bool) -> None:
    """Refuse a row that trains a network in another way than by one clipped vector of each client.

    Raises:
        ConfigInvalid: names what would have to be clipped beside that sum, or what else does not fit.
    """
    place = config.section(name).noise
    if place != "shared":
        raise ConfigInvalid(
            f"privacy.unit = 'person' and {name}.noise = {place!r} do not go together: only what each client sends to "
            f"a sum with noise inside is clipped as a whole; set {name}.noise = 'shared'"
        )
    if not sends_gradients_alone(method, at_once):
        raise ConfigInvalid(
            f"privacy.unit = 'person' is not there for {name}, which keeps examples, sends more than gradients or sees "
            "all tasks at once; take finetune, or a row of sums"
        )
    if config.compression != Compression():
        raise ConfigInvalid(
            f"privacy.unit = 'person' sends gradients whole, not as compression.kind = {config.compression.kind!r} and "
            "its like would; leave [compression] at its defaults"
        )
    t, bound = config.training, config.section(name).norm_bound
    if t.keep_moments:
        raise ConfigInvalid(
            "privacy.unit = 'person' keeps no optimizer's moments between rounds: under training.keep_moments = true a "
            "client would store them for nothing; set it to false"
        )
    if t.clipping == "learnt" and 0.0 < bound < math.sqrt(2.0):
        raise ConfigInvalid(
            f"{name}.norm_bound = {bound:g} is shared by the vector and the count of training.clipping = 'learnt', and "
            "below sqrt(2) = 1.42 would cut the vector below the noise that is planned for it; raise it, or set it to 0"
        )
    if config.scenario.kind == "online":
        raise ConfigInvalid(
            f"privacy.unit = 'person' and scenario.kind = 'online' do not go together in {name}: the longest stream "
            "of any person decides how many pieces it is read in; take a row of sums"
        )


def storage_of_persons(config: Config, scenario: Scenario, kept: Sequence[StoredItem] = ()) -> StoragePlan:
    """Return a device's plan under which every task is read whole: what its storage does not hold it leaves out.

    The size of the largest stream is not asked for, since one person decides it: the number of places read is what the
    configuration's budget holds, beside as many of what waits.

    Raises:
        StorageTooSmall: the stream's smallest piece does not fit.
    """
    data, at_once = scenario.data, 1 + scenario.most_waiting
    shares_readings = data.windows_per_reading > 1
    windows = ITEM_WINDOWS + data.windows_per_reading - 1 if shares_readings else 1
    example_bytes = 4 * math.prod(data.shape) + 16
    budget, examples = config.storage.budget_kib * 1024, config.storage.budget_examples
    free = budget - KEY_BYTES - sum(item.total(0) for item in kept)
    places = free // (at_once * windows * example_bytes)
    if examples:
        places = min(places, examples // (at_once * windows))
    places = max(places, 1)
    return plan_storage(
        budget=budget, example_bytes=example_bytes, windows_per_place=windows, largest_place=places, memory_examples=0,
        held_places=scenario.most_waiting * places, examples=examples or None, kept=kept,
    )  # fmt: skip


def people_over_noise(plan: RowPlan) -> float | None:
    """Return the people of a sum over the standard deviation of its noise, in one person's weight; of the worst slot.

    In other words n / (sigma' sqrt(K)): sigma' the noise of one sum that would spend the whole budget, K the tasks that
    share it. Of training in rounds, the sum is that of all rounds of a task, and people are those expected in it. None
    without noise inside the sums, or where the unit is another.
    """
    found = [people / deviation for people, deviation, _ in _people_and_deviation(plan)]
    return min(found, default=None)


def said_of_the_norm(plan: RowPlan) -> str:
    """Return what a learnt clipping norm costs and how exactly it is counted, in words; empty where none is learnt."""
    learnt, noise = plan.learnt_norm, plan.train_noise
    if learnt is None or not isinstance(noise, DistributedSum):
        return ""
    people = math.sqrt(noise.parties * noise.share_variance) / (plan.wire("train").sent.scale * learnt.weight)
    return (
        f"the norm starts at {plan.config.training.clipping_norm:g} and follows the {learnt.target:g} quantile; its "
        f"count takes {100.0 * learnt.share:.3g} % of a round's budget (of 1 / multiplier^2), for which the noise on "
        f"what is summed beside it is about {1.0 / math.sqrt(1.0 - learnt.share):.4g} times that of a given norm; the "
        f"noise of a count is {people:.3g} people"
    )


def require_people(plan: RowPlan) -> None:
    """Raise ConfigInvalid where the noise drowns the people: says how many it would take.

    Raises:
        ConfigInvalid: fewer than `LEAST_PEOPLE_OVER_NOISE` people per standard deviation of the noise in a sum.
    """
    worst = min(_people_and_deviation(plan), key=lambda found: found[0] / found[1], default=None)
    if worst is None or worst[0] / worst[1] >= LEAST_PEOPLE_OVER_NOISE:
        return
    people, deviation, present = worst
    privacy = plan.config.privacy
    missing = privacy.max_dropouts + privacy.colluders
    # A sum of m clients has the guaranteed noise times sqrt(m / (m - missing)), and people / present of m in it.
    guaranteed = deviation * math.sqrt((present - missing) / present)
    goal = (LEAST_PEOPLE_OVER_NOISE * guaranteed * present / people) ** 2
    in_a_sum = 0.5 * (missing + math.sqrt(missing**2 + 4.0 * goal))
    needed = math.ceil(in_a_sum * plan.scenario.clients / present)
    raise ConfigInvalid(
        f"{plan.name}.epsilon = {plan.config.section(plan.name).epsilon:g} for persons: n / (sigma' sqrt(K)) = "
        f"{people / deviation:.2g}, {people:g} people in a sum whose noise weighs {deviation:.3g}, is below "
        f"{LEAST_PEOPLE_OVER_NOISE:g}, and such a model is mostly noise; it would take {needed} people, a larger "
        "epsilon or fewer tasks"
    )


def _people_and_deviation(plan: RowPlan) -> list[tuple[float, float, int]]:
    """Return, by slot: people expected in its training sums, deviation of their mean, and clients in the sums."""
    if not plan.persons or "train" not in plan.noises:
        return []
    sent, found = plan.wire("train").sent, []
    rate = plan.strategy.q_current if isinstance(plan.strategy, GradientStrategy) else 1.0
    for slot in range(plan.scenario.slots):
        noise = plan.noise_in(slot, "train")
        people = sum(bool(plan.scenario.released(client, slot)) for client in range(plan.scenario.clients))
        if noise is not None and people and sent.sensitivity_l2 is not None:
            one = math.sqrt(noise.parties * noise.share_variance) / (sent.scale * sent.sensitivity_l2)
            found.append((rate * people, one / math.sqrt(plan.training_rounds), noise.parties))
    return found
