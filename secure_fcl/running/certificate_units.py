"""What a certificate says of its unit: an example, or a person as a client with its whole stream."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.tasks import task_name
from privacy import Event
from privacy.cohorts import Spent
from privacy.groups import stepwise_epsilon
from secure_fcl.rows.persons import people_over_noise
from secure_fcl.rows.row_plan import LARGEST_EPSILON, RowPlan
from secure_fcl.strategies import GradientStrategy

#: An epsilon that follows and is larger is not stated: it would allow odds to grow five hundred million fold.
LARGEST_IMPLIED = 20.0

ONE_PERSON = (
    "one client's whole stream over all tasks; a person is a client here, and one person on two clients is not covered"
)


def relation(plan: RowPlan) -> str:
    """Return the neighbouring relation."""
    if plan.persons:
        return (
            "one client's whole stream over all tasks is there, or that client is silent in every round, within a "
            "public timetable; to put another stream in its place is two such steps"
        )
    return "add or remove one example of one client, within a public timetable"


def sampling_of_persons(plan: RowPlan) -> str:
    """Return how persons get into releases."""
    always = "every client sends in every round, and a dropout counts as taking part"
    if not isinstance(plan.strategy, GradientStrategy) or plan.strategy.q_current == 1.0:
        return f"none: {always}"
    return (
        f"Poisson, each client by a private coin of its own: q={plan.strategy.q_current:g}, {plan.training_rounds} "
        f"rounds a task; {always}, be it silence"
    )


def trained_vector(plan: RowPlan) -> str:
    """Return what a person sends in a round of training, and what its norm is."""
    strategy = plan.strategy
    assert isinstance(strategy, GradientStrategy)
    steps = strategy.dpsgd.steps
    vector = (
        "one gradient sum of each client, clipped as a whole, a round (FedSGD)"
        if strategy.sends == "gradient"
        else f"one model difference of each client after {steps} steps of its own without noise, clipped as a whole, a "
        "round (DP-FedAvg)"
    )
    if strategy.learnt is None:
        return f"{vector}, to a given norm of {strategy.dpsgd.clipping_norm:g}"
    return (
        f"{vector}, to a norm that follows the {strategy.learnt.target:g} quantile of the clients' norms by a noisy "
        f"count, one more release in the same sum ({strategy.learnt.share:.3g} of a round's budget, by a private coin "
        "of its own)"
    )


def largest_streams(plan: RowPlan) -> str:
    """Return what is taken as public of the sizes of streams."""
    if plan.persons:
        storage = plan.storage
        return (
            f"a device reads at most {storage.places_per_chunk} positions of a task, as many as its storage budget "
            "holds, and leaves out the rest: a constant of the plan; no maximum of the data is used"
        )
    return (
        f"largest stream of one client and task ({plan.scenario.largest_place} positions), most windows of a position "
        f"({plan.scenario.units.windows_per_unit}): read off the data set and declared public"
    )


def evaluated_persons(plan: RowPlan) -> list[str]:
    """Return what evaluation releases about the persons who trained; nothing where the unit is an example."""
    if not plan.persons:
        return []
    counts = (
        "how many examples were trained on so far, which metrics name, and the digest of the scenario: released beside "
        "the sums, charged to nobody and not covered by epsilon"
    )
    if plan.config.scenario.partition != "natural":
        return [
            counts,
            "test examples are dealt to clients by the public seed: they are nobody's who trained unless the data "
            "set's own persons are on several clients, about whom epsilon then says nothing",
        ]
    return [
        counts,
        "accuracy on test windows of the very persons who trained: a release about these persons that is charged to "
        "nobody and that epsilon does not cover",
    ]


def unseen_persons(plan: RowPlan) -> list[str]:
    """Return what is said of persons who never train; nothing where all of them do."""
    count = plan.config.data.unseen_persons
    if not count:
        return []
    return [
        f"accuracy on test windows of {count} persons who never train, drawn by the public seed: none of their "
        "examples is in any sum, so no epsilon is about them, and this accuracy is charged to nobody"
    ]


def of_persons(plan: RowPlan, certified: Spent) -> dict[str, Any]:
    """Return the entries that only a person's certificate has, or what stands for them under the other unit.

    `certified`: the events of each cohort that are claimed.
    """
    found: dict[str, Any] = {"implied": implied(plan, certified)}
    if not plan.persons:
        return {"most_examples_of_one_person": plan.scenario.most_examples_of_one_client} | found
    return {"people_over_noise": people_over_noise(plan)} | found


def implied(plan: RowPlan, certified: Spent) -> dict[str, Any]:
    """Return what follows for the unit that is not charged: its epsilon, None where nothing is claimed, and in words.

    - Persons charged, an example asked for: one example more, less or other puts one stream in the place of another,
      which is two steps of the relation (out with the one, in with the other), so that it costs more than a person who
      is there or silent.
    - Examples charged, a person asked for: as many steps as the largest stream of one client holds, which is public.

    *Guarantee*: never below what is charged, since it takes one step or more of it. The probability of an overflow, or
    of noise beyond its field, counts for both ends, as in `RowPlan.noise_excess`.
    """
    steps = 2 if plan.persons else plan.scenario.most_examples_of_one_client
    epsilon = math.inf
    if plan.protected and any(certified.values()) and not plan.config.privacy.accountant:
        kinds = {frozenset(events.items()) for events in certified.values()}
        epsilon = _between(plan, [dict(kind) for kind in kinds], steps)
    claimed = epsilon if epsilon <= LARGEST_IMPLIED else None
    unit = "example" if plan.persons else "person"
    return {"unit": unit, "steps": steps, "epsilon": claimed, "said": _said(plan, steps, claimed)}


def _between(plan: RowPlan, histories: Sequence[Mapping[Event, int]], steps: int) -> float:
    """Return epsilon of so many steps at the plan's delta; inf where it is more than would be stated."""
    delta, budget = plan.config.privacy.delta, plan.config.section(plan.name).epsilon
    unlikely = plan.overflow + plan.noise_excess / (1.0 + math.exp(min(budget, LARGEST_EPSILON)))
    left = delta
    while left > 0.0:
        epsilon = stepwise_epsilon(histories, steps, left, LARGEST_IMPLIED)
        if not epsilon <= LARGEST_IMPLIED:
            return math.inf
        # What is unlikely weighs by the epsilon that is found.
        fits = delta - (1.0 + math.exp(epsilon)) * unlikely
        if left <= fits:
            return epsilon
        left = 0.98 * fits
    return math.inf


def _said(plan: RowPlan, steps: int, epsilon: float | None) -> str:
    if plan.persons:
        claim = "nothing is claimed" if epsilon is None else f"epsilon {epsilon:.4g} follows"
        return (
            f"about one example {claim}: one more, less or other puts one stream in the place of another, which is two "
            "steps of the relation above; it is not charged beside it"
        )
    if epsilon is None:
        return (
            f"about persons nothing is claimed: one owns up to {steps} examples, and so many steps of the relation "
            "above cost too much to say anything"
        )
    return (
        f"about a person's whole stream epsilon {epsilon:.4g} follows: {steps} examples at most, a step of the "
        "relation above each; it is not charged beside it, and holds while nobody owns more"
    )


def not_checked_of_persons(plan: RowPlan) -> list[str]:
    """Return what of a person is not covered and what nobody looked at; nothing where the unit is an example."""
    if not plan.persons:
        return []
    return [
        "how long a device takes: one with a short stream, or a silent one, answers sooner, and epsilon does not cover "
        "that",
        "that clients are different persons, each on one client",
    ]


def whereabouts(cohort: Mapping[str, Any]) -> str:
    """Return a cohort of a certificate in words."""
    if cohort["fate"] == "whole":
        return f"{cohort['group']}, each with its whole stream over all tasks"
    return f"{cohort['group']}, arrived in {task_name(cohort['arrival'])}, chunk {cohort['chunk']}, {cohort['fate']}"
