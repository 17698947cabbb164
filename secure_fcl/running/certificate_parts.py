"""What a certificate says of one row's mechanism, sampling, budget and units, from its public plan and its ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from crypto.protocols.catalogue import entry_of as protocol_entry
from privacy import Ledger, PrivacyError, statements, worst
from privacy.cohorts import Spent
from privacy.groups import group_epsilon
from privacy.statement import CohortStatement
from secure_fcl.config.accountants import accountant_of
from secure_fcl.config.names import entry_of
from secure_fcl.config.outside import names_code
from secure_fcl.memory import OwnMemory
from secure_fcl.rows.audited import audited
from secure_fcl.rows.budgets import planned_budget
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.rows.trees import mechanism_of_the_tree
from secure_fcl.running.certificate_units import (
    ONE_PERSON,
    not_checked_of_persons,
    sampling_of_persons,
    trained_vector,
)
from secure_fcl.strategies import GradientStrategy
from secure_fcl.strategies.gradient.models import is_own

_PLACES = {
    "local": "every client adds the full noise itself; holds against everyone, whatever the protocol",
    "shared": "noise shares inside the secure sum; holds against whoever sees the sum and the models",
    "none": "no noise: no guarantee",
}
_COUNTED = "accounted as the Gaussian noise that dominates it, or by its Renyi bound where that gives less"
_TRAINERS = {
    "opacus": "Opacus, client by client",
    "stacked": "stacked, many clients of one worker at once: a simulation's accelerator, the same mechanism and noise",
}


def sees_all(plan: RowPlan) -> bool:
    """Return whether the server sees every client's vector, because the protection hides nothing."""
    return protocol_entry(plan.config.protection).hiding == "nothing"


def of_own_code(plan: RowPlan, rows: tuple[CohortStatement, ...]) -> dict[str, Any]:
    """Return what a certificate says more where a protocol or an accountant is the user's own; nothing elsewhere.

    An epsilon of the user's own accountant never stands alone: the program's own figure is beside it.
    """
    found: dict[str, Any] = {}
    if names_code(plan.config.protection):
        found["hiding"] = protocol_entry(plan.config.protection).hiding
    if plan.config.privacy.accountant:
        ours = max(rows, key=lambda row: row.epsilon_built_in, default=None)
        finite = ours is not None and math.isfinite(ours.epsilon_built_in)
        found["epsilon_built_in"] = ours.epsilon_built_in if ours and finite else None
        found["accountant_built_in"] = ours.accountant_built_in if ours and finite else None
    return found


def whose_epsilon(row: Mapping[str, Any]) -> str:
    """Return whose word an epsilon of the user's own accountant is, and what the program itself computes."""
    ours = row["epsilon_built_in"]
    own = "no guarantee" if ours is None else f"{ours:.4g} ({row['accountant_built_in']})"
    return (
        f"{row['accountant']}, which is not part of secure-fcl: it keeps the laws of privacy.testing, and is not "
        f"proven; secure-fcl's own accountants give {own} for the same ledger"
    )


def trainer(plan: RowPlan) -> str | None:
    """Return what computed clipped gradients, None for a strategy that trains no network."""
    return plan.config.training.trainer if isinstance(plan.strategy, GradientStrategy) else None


def mechanism(plan: RowPlan) -> str:
    """Return what ran, by what, and where the noise is."""
    strategy = plan.strategy
    if not isinstance(strategy, GradientStrategy):
        bounded = "sums of vectors of norm 1, one from each client" if plan.persons else "bounded sums"
        skellam = f"Skellam noise on rounded {bounded}, {_COUNTED}"
        what = "bounded sums without noise" if plan.noise == "none" else skellam
    else:
        by = _TRAINERS[plan.config.training.trainer]
        if plan.noise == "none":
            what = f"training without noise ({by})"
        elif plan.tree is not None:
            what = f"{mechanism_of_the_tree(plan)} ({by}), {_COUNTED}"
        elif strategy.shared:
            summed = trained_vector(plan) if plan.persons else "one clipped gradient sum a round"
            curator = "" if plan.persons else "central DP-SGD without a curator; "
            what = f"{summed} ({curator}{by}), Skellam noise in integers, {_COUNTED}"
        else:
            what = f"DP-SGD ({by}), Gaussian noise"
        if is_own(plan.config.training.model):
            what += f", on the user's own network {plan.config.training.model}"
        if plan.scenario.description != "none":
            what += f", on {plan.scenario.description} public features of the examples"
    return f"{what}; {_PLACES[plan.noise]}"


def of_own_network(plan: RowPlan) -> list[str]:
    """Return what is taken as public of a network of the user's own; nothing for networks of ours."""
    if not isinstance(plan.strategy, GradientStrategy) or not is_own(plan.config.training.model):
        return []
    replaced = plan.strategy.networks.replaced
    told = [f"layers of the network that others stand in for: {'; '.join(replaced)}"] if replaced else []
    return [
        "the network, with its initial and frozen weights: whatever they were trained on before is outside this "
        "certificate",
        *told,
    ]


def of_public_inputs(plan: RowPlan) -> list[str]:
    """Return what public inputs a row reads, and where they are from."""
    public = plan.strategy.public if isinstance(plan.strategy, GradientStrategy) else None
    if public is None:
        return []
    if not public.held:
        return [f"{len(public.x)} made-up public inputs: their shape and the seed decide them, no example does"]
    return [
        f"{len(public.x)} public inputs, in clear on every device: none is a training or test example as it stands, "
        "compared where examples were at hand; that they are nobody's private data is the word of whoever named them"
    ]


def own_memory(memory: OwnMemory) -> str:
    """Return whose word it is that a memory of the user's own is private, and what was done to refute it."""
    if not memory.private:
        return f"{memory.reference}, which its own code declares non-private"
    return (
        f"{memory.reference}, which its own code declares private: it is shown no values, it keeps the laws of "
        "secure_fcl.testing.memories on made-up courses, and is not proven"
    )


def sampling(plan: RowPlan) -> str:
    """Return how examples get into releases."""
    strategy = plan.strategy
    if plan.persons:
        return sampling_of_persons(plan)
    if strategy.once_per_chunk:
        return "none: each example is summed once"
    if plan.tree is not None:
        return "none: each example takes part in one round, in the nodes that hold it; a stream seen once"
    seen = "a chunk is there for one round" if plan.scenario.seen_once else f"{plan.rounds_per_slot} rounds a task"
    t = plan.config.training
    memory = f", memory q={t.q_memory:g}" if plan.memory else ""
    one = isinstance(strategy, GradientStrategy) and strategy.shared
    steps = "one step a round" if one else f"{t.steps} steps a round"
    return (
        f"Poisson, each example by its own coin: current data q={t.q_current:g}{memory}; "
        f"{steps}, {seen}; no amplification is claimed from which clients take part"
    )


def unit(plan: RowPlan, of_one_reading: float | None) -> str:
    """Return the unit, and what it means for one reading of a sensor and for a person."""
    data = plan.scenario.data
    if plan.persons:
        return ONE_PERSON
    if data.windows_per_reading == 1:
        return "one example"
    windows = data.windows_per_reading
    told = "is not bounded by this certificate" if of_one_reading is None else f"costs epsilon {of_one_reading:.4g}"
    return (
        f"one window; a raw reading lies in up to {windows} windows: to take it out with all its windows {told}, "
        f"and to change it in place replaces {windows} windows. No claim is made about persons: one person owns up to "
        f"{plan.scenario.most_examples_of_one_client} windows here"
    )


def epsilon_of_one_reading(plan: RowPlan, certified: Spent, rows: tuple[CohortStatement, ...]) -> float | None:
    """Return epsilon for adding or removing every window that holds one reading, of the worst cohort.

    None where examples are no windows, nothing is guaranteed, or the cost to a group is not known (Skellam events).
    """
    bad = worst(rows)
    if plan.persons or plan.scenario.data.windows_per_reading == 1 or bad is None or not math.isfinite(bad.epsilon):
        return None
    try:
        found = group_epsilon(certified[bad.cohort], plan.scenario.data.windows_per_reading, plan.accounting_delta)
    except PrivacyError:
        return None
    return found if math.isfinite(found) else None


def budget(plan: RowPlan) -> dict[str, Any] | None:
    """Return what the filter holds every cohort to; None for a row without a guarantee."""
    found = planned_budget(plan)
    if found is None:
        return None
    return {
        "epsilon": found.epsilon,
        "cohorts": len(found.cohorts),
        "spare_rounds": plan.config.privacy.spare_rounds,
    }


def certified(plan: RowPlan, spent: Spent) -> Spent:
    """Return the events whose epsilon may be claimed: of every cohort all that its budget admits.

    What was skipped or never repeated may have been so because of a release or a crash, so that less is no guarantee;
    see `privacy.Budget`. Without a budget (no guarantee) what was charged.
    """
    found = planned_budget(plan)
    return spent if found is None else found.certified(spent)


def epsilon_of_what_ran(plan: RowPlan, ledger: Ledger) -> float | None:
    """Return epsilon of what was charged, where that is the schedule with every round once; else None.

    Then nothing was stopped, skipped, retired or charged twice: all of it was fixed before the run. A round repeated
    under its first charge was released once, as its devices signed. That no spare round was needed says that nothing
    crashed, or what came of it, and what a crash reveals is not covered by any epsilon.
    """
    spent = ledger.spent()
    if not spent or planned_budget(plan) is None or spent != plan.scheduled():
        return None
    # A round charged twice and one that nobody was left for add up to the schedule and are not it.
    charged = [(label.get("slot"), label.get("round")) for label in ledger.labels if "covered" not in label]
    if len(charged) != len(set(charged)) or any("retired" in label for label in ledger.labels):
        return None
    bad = worst(statements(spent, plan.accounting_delta, accountant_of(plan.config.privacy.accountant)))
    return bad.epsilon if bad is not None and math.isfinite(bad.epsilon) else None


def uncharged(rounds: int, sent_again: int) -> str:
    """Return what an epsilon relies on where rounds were repeated under the charge of their first attempt."""
    again = (
        f", or, in {sent_again} of them, that the very vector that may have left, noise and all, is sent again"
        if sent_again
        else ""
    )
    return (
        f"{rounds} interrupted rounds were repeated and not charged again: every device of the cohorts concerned "
        f"signed, with its journal's key, that nothing of the interrupted attempt had left it{again}; this relies on "
        "devices that write their journals before they send, and on journals that were not set back together with "
        "their file system; what an interruption itself reveals is covered by no epsilon"
    )


def tolerated(plan: RowPlan) -> str:
    """Return the most clients that may be missing or reveal what they know, and what depends on them."""
    p = plan.config.privacy
    depends = (
        "the shares of noise are sized for both"
        if plan.noise == "shared"
        else "the noise does not depend on them, the secure sum does"
    )
    return (
        f"up to {p.max_dropouts} clients missing from a sum, up to {p.colluders} that reveal what they know; {depends}"
    )


def chosen_on_data(plan: RowPlan) -> list[str]:
    """Return which hyper-parameters were chosen by looking at data, charged or not."""
    defaults = "defaults of learning rate, rounds, model and rates: by trials on the shipped HAPT data, uncharged"
    if plan.config.training.schedule == "written":
        defaults = "constants of the rule that planned rounds, rates and bounds: on digits and made-up sets, uncharged"
    described = plan.scenario.description != "none" or not isinstance(plan.strategy, GradientStrategy)
    features = ["constants of the public features: on parts of HAPT and of MNIST themselves, uncharged"]
    weights = [
        "norm 1 for what a person sends: by a trial on the test sets of MNIST and HAPT; calm's directions from a "
        "person's own means: on held-out training examples of both; uncharged"
    ]
    declared = entry_of(plan.name).chosen_on.get(plan.scenario.data.name)
    return [
        *([] if declared is None else [f"{plan.name}'s constants on {plan.scenario.data.name}: {declared}; uncharged"]),
        defaults,
        *(features if described else []),
        *(weights if plan.persons else []),
        *(f"{said} (declared in the configuration, uncharged)" for said in plan.config.privacy.chosen_on_data),
    ]


def not_checked(plan: RowPlan) -> list[str]:
    """Return what no part of the run looked at, so that nobody takes the certificate for more than it is."""
    attacks = plan.config.attacks
    audit = (
        "attacks.json says how they stood the audit's tests"
        if audited(plan)
        else f"no audit of this row belongs to the run; secure-fcl audit tests the row that attacks.row names, "
        f"{attacks.row}"
    )
    found = [f"that noise, rates and memories were those of the ledger, from which all figures here are made: {audit}"]
    if isinstance(plan.strategy, GradientStrategy):
        found.append("clipping on the data itself: the network was tried on made-up inputs before it trained")
    if not sees_all(plan):
        found.append("that parties keep to the assumptions below: nobody can see who works together")
    found.append("timing, traffic and memory of the machines, and the bytes of the operating system's generator")
    return [*found, *not_checked_of_persons(plan)]
