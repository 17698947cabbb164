"""A round that was interrupted runs again without a charge where its devices signed that nothing new is released.

The first charge stands and is not charged a second time; the ledger gets an entry for the new attempt, with what the
devices signed in it. Whoever cannot be asked, or says nothing, is charged again, and with it its whole group.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crypto.keys.roster import Trust
from privacy import Ledger
from privacy.ledger import read_entry
from secure_fcl.config import Config
from secure_fcl.engines.commands import Failed, Settle, Settled
from secure_fcl.engines.federation import Federation
from secure_fcl.engines.journals import SAME, Attempt, Saying, head_from, heads_bytes
from secure_fcl.errors import JournalRefused, RunFolderError
from secure_fcl.rows.budgets import NO_ARRIVALS, Arrivals, covered_by, planned_budget
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.bonds import signed_heads
from secure_fcl.running.folder import Progress, RunFolder


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """What a round need not charge, and what its entry says of that: which entry it repeats, and what devices said."""

    covered: Arrivals = NO_ARRIVALS
    what: Mapping[str, str | int] = field(default_factory=dict)


FRESH = Repeat()
"""A round that charges all of it."""


def repeat_of(plan: RowPlan, ledger: Ledger, folder: RunFolder, federation: Federation) -> Repeat:
    """Ask the devices what left of the round that the ledger ends in, and return what its repetition need not charge.

    Nothing is asked, and all of it charged, where the run stands at another round, or the row has no budget.

    Raises:
        JournalRefused, WorkerLost: a device refuses the ledger.
    """
    run, entry, progress = folder.identity("run"), len(ledger), folder.progress()
    now = {"run": run, "row": plan.name, "slot": progress.slot, "round": progress.round}
    label = ledger.labels[-1] if entry else {}
    if any(label.get(key) != value for key, value in now.items()) or planned_budget(plan) is None:
        return FRESH
    trust = _trust(folder, ledger, run, plan.name)
    ask, said = Settle(ledger=heads_bytes(ledger.heads), entry=ledger.last_entry), {}
    for answer in federation.parties.ask(dict.fromkeys(federation.parties.present(), ask), federation.deadline):
        if federation.lab is None and isinstance(answer.reply, Failed):
            # A deployed device that cannot say anything is charged again.
            continue
        reply = answer.of(Settled)
        saying = Saying(said=reply.said, proof=reply.proof)
        attempt = Attempt(run=run, row=plan.name, device=answer.party, entry=entry, head=ledger.last_hash)
        if saying.holds(attempt, trust):
            said[answer.party] = saying
    groups = {party: plan.scenario.groups[number] for party, number in federation.numbers.items()}
    charged = {group for party, group in groups.items() if party not in said}
    covered = frozenset(arrival for arrival in _took_part(ledger) if arrival[0] not in charged)
    if not covered:
        return FRESH
    free = {group for group, _ in covered}
    words = {party: [saying.said, saying.proof] for party, saying in said.items() if groups[party] in free}
    return Repeat(covered=covered, what={"repeats": entry, "said": json.dumps(words)})


def how_to_go_on(config: Config, usual: str) -> str:
    """Return what to do about a run that was stopped: `usual`, unless its rounds share a tree's noise."""
    tree = config.privacy.mechanism == "tree"
    return "rows that share a tree's noise do not go on once they began: start a new run" if tree else usual


def require_new(plan: RowPlan, ledger: Ledger, at: Progress) -> None:
    """Refuse to go on with a row whose rounds share a tree's noise and of which rounds are left.

    A round that is drawn again would release its node with other noise, and with it examples of earlier rounds, which
    were charged one tree; and no device keeps its open nodes over an interruption.

    Raises:
        RunFolderError: the row has begun, and has rounds left.
    """
    done = at.slot * plan.rounds_per_slot + at.round
    if plan.tree is not None and len(ledger) and done < plan.rounds:
        raise RunFolderError(
            f"row {plan.name} was interrupted after {done} of {plan.rounds} rounds, and under privacy.mechanism = "
            "'tree' a row does not go on: a round that is drawn again releases nodes of earlier rounds anew; start a "
            "new run, whose epsilon adds to this one's"
        )


def _took_part(ledger: Ledger) -> Arrivals:
    """Return the arrivals that the last entry's round could sample: charged in it, or covered by the entry before."""
    last = read_entry(ledger.last_entry, ledger.last_hash)
    return covered_by(last.what) | {(charge.cohort.group, charge.cohort.arrival) for charge in last.charges}


def _trust(folder: RunFolder, ledger: Ledger, run: str, row: str) -> Trust:
    """Return what the run knows of its devices' keys: the first that each showed in an earlier round."""
    trust = Trust()
    for found in signed_heads(folder.path):
        head_from(found).holds(run, str(found["row"]), trust)
    for attempt, saying in sayings(ledger, run, row):
        saying.holds(attempt, trust)
    return trust


def sayings(ledger: Ledger, run: str, row: str) -> Iterator[tuple[Attempt, Saying]]:
    """Yield what devices signed in the entries of a ledger, each with the attempt that it is of.

    Raises:
        JournalRefused: an entry that repeats another does not say what devices signed of the one before it.
    """
    for place, label in enumerate(ledger.labels, 1):
        if "repeats" not in label:
            continue
        try:
            words: dict[str, Any] = json.loads(label["said"])
            found = [(device, Saying(said=str(said), proof=str(proof))) for device, (said, proof) in words.items()]
            before = ledger.labels[place - 2]
            sound = (
                bool(found)
                and label["repeats"] == place - 1
                and all(label.get(key) == before.get(key) for key in ("run", "row", "slot", "round"))
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            sound = False
        if not sound:
            raise JournalRefused(
                f"entry {place} of {ledger.path} repeats the one before it and does not say what devices signed of "
                "that; restore it from a copy"
            )
        for device, saying in found:
            head = ledger.heads[place - 2]
            yield Attempt(run=run, row=row, device=device, entry=place - 1, head=head), saying


def counted(ledger: Ledger) -> Counter[str]:
    """Count the rounds repeated under an earlier charge: "all", and those in which vectors were sent again."""
    found: Counter[str] = Counter()
    for label in ledger.labels:
        if "repeats" in label:
            found["all"] += 1
            found[SAME] += any(said == SAME for said, _ in json.loads(str(label["said"])).values())
    return found
