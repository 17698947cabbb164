"""The certificate of a run: what is guaranteed, to whom, under which assumptions, and what is not."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crypto.planning.assumptions import assumption
from evaluation.files import atomic_write, write_json
from privacy import Ledger, statements, worst
from privacy.statement import CohortStatement
from secure_fcl.config.accountants import accountant_of
from secure_fcl.config.outside import OutsideCode, names_code
from secure_fcl.engines.journals import SAME
from secure_fcl.memory import OwnMemory
from secure_fcl.rows.audited import audited, viewed
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.rows.values_cut import values_cut
from secure_fcl.running import certificate_parts as parts
from secure_fcl.running import certificate_units as units
from secure_fcl.running.bonds import files_of, require_not_lower, rollback, signed_heads
from secure_fcl.running.certificate_engines import parts_of_engine
from secure_fcl.running.certificate_norms import norms_of
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.repeats import counted
from secure_fcl.strategies import GradientStrategy
from secure_fcl.streams import Scenario, Wait

_NONE: Mapping[str, Any] = {}


def row_certificate(plan: RowPlan, ledger: Ledger, multiplier: float) -> dict[str, Any]:
    """Return what may be said of one row, from its ledger and its budget.

    `epsilon` is that of all that the budget of a charged cohort admits, whether or not it ran; null where a cohort
    holds a non-private event or nothing was charged.
    """
    spent = ledger.spent()
    certified = parts.certified(plan, spent)
    rows = statements(certified, plan.accounting_delta, accountant_of(plan.config.privacy.accountant))
    reading = parts.epsilon_of_one_reading(plan, certified, rows)
    worst_row = worst(rows)
    finite = worst_row is not None and math.isfinite(worst_row.epsilon)
    found: dict[str, Any] = {
        "epsilon": worst_row.epsilon if worst_row and finite else None,
        "accountant": _accountant(plan, worst_row) if worst_row and finite else None,
        "delta": plan.config.privacy.delta,
        "delta_parts": {
            "accountant": plan.accounting_delta,
            "memory overflow": plan.overflow,
            "noise beyond its field": plan.noise_excess,
        },
        "unit": parts.unit(plan, reading),
        "epsilon_of_one_reading": reading,
        "relation": units.relation(plan),
        "noise": plan.noise,
        "noise_multiplier": multiplier,
        "mechanism": parts.mechanism(plan),
        "trainer": parts.trainer(plan),
        "cohorts": [_cohort(row) for row in rows],
        "sampling": parts.sampling(plan),
        "sent": _sent(plan),
        "public": _public(plan),
        "non_private": _non_private(plan),
        "chosen_on_data": parts.chosen_on_data(plan),
        "held_back": held_back(plan.scenario),
        "evaluation": _evaluation(plan),
        "assumptions": _assumptions(plan),
        "not_checked": parts.not_checked(plan),
        "randomness": _randomness(plan),
        "protection": plan.config.protection,
        **parts_of_engine(plan.config.engine, plan.config.flower.nodes),
        "budget": parts.budget(plan),
        "epsilon_of_what_ran": parts.epsilon_of_what_ran(plan, ledger),
        "tolerated": parts.tolerated(plan),
        "max_dropouts": plan.config.privacy.max_dropouts,
        "colluders": plan.config.privacy.colluders,
        **units.of_persons(plan, certified),
        "scenario_digest": plan.scenario.digest,
        "ledger_entries": len(ledger),
        "ledger_head": ledger.last_hash,
        "storage": plan.storage.table() | {"budget": plan.storage.budget},
    }
    if doubts := values_cut(plan):
        found["doubts"] = doubts
    if repeated := counted(ledger):
        found["repeated_uncharged"] = {"rounds": repeated["all"], "sent_again": repeated[SAME]}
        found["assumptions"] = [*_assumptions(plan), parts.uncharged(repeated["all"], repeated[SAME])]
    return found | parts.of_own_code(plan, rows)


def _cohort(row: CohortStatement) -> dict[str, Any]:
    cohort = row.cohort
    return {
        "group": cohort.group,
        "arrival": cohort.arrival,
        "chunk": cohort.chunk,
        "fate": cohort.fate,
        "epsilon_rdp": row.epsilon_rdp,
        "epsilon_pld": row.epsilon_pld,
        "epsilon": row.epsilon,
        "events": list(row.events),
    }


def _accountant(plan: RowPlan, statement: CohortStatement) -> str:
    """Name whose epsilon it is; one of the user's own is never named like ours."""
    own = plan.config.privacy.accountant
    return f"{statement.accountant} of {own}" if own else statement.accountant


def _sent(plan: RowPlan) -> str:
    found = []
    for wire in plan.wires["train"]:
        recipe, sent = wire.recipe, wire.sent
        shortened = "all coordinates as they are" if recipe is None else recipe.describe()
        bits = (2 * wire.encoder.bound).bit_length()
        found.append(f"{shortened}: {sent.length} of {wire.source.length} numbers of {bits} bits before noise")
    return "; after the first task ".join(found)


def _public(plan: RowPlan) -> list[str]:
    facts = [
        "label set, task calendar, number of clients, rounds, steps, sampling rates, denominators, bounds",
        "positions of the stream (which time slots exist and their order); whether a slot holds anything is private",
        "scaling of the inputs and features: public constants, chosen with the public data set's literature at hand",
        units.largest_streams(plan),
    ]
    if plan.memory:
        facts.append(f"memory: {_memory(plan)}")
    if plan.config.scenario.partition == "pathological":
        facts.append("which classes a client may hold: dealt by the public seed")
    if plan.config.training.schedule == "written" and not plan.persons:
        facts.append(
            "training examples of a client and task on average, rounded down to a power of two, from which rounds, "
            "rates and bounds were planned: read off the data set and declared public"
        )
    facts += parts.of_own_network(plan)
    facts += parts.of_public_inputs(plan)
    if not plan.scenario.dates.present.all():
        facts.append("which clients join and leave, and when")
    if plan.scenario.drift.course != "none":
        facts.append("the drift of the inputs: its course, kind and amount")
    return facts


def held_back(scenario: Scenario) -> list[str]:
    """Return what waited for its minimum cohort, one line per class that anybody had to hold back."""
    waited = [wait for wait in scenario.waits if wait.longest or wait.never]
    return [_waited(scenario.source_classes[wait.label], wait) for wait in waited]


def _waited(name: str, wait: Wait) -> str:
    met = f"{name}: met first in slot {wait.met + 1}"
    if wait.released is None:
        return f"{met}, never released: too few holders ({wait.experiences} experiences)"
    lost = f"; {wait.never} of {wait.experiences} experiences never released" if wait.never else ""
    return (
        f"{met}, released first in slot {wait.released + 1}; an experience waited up to "
        f"{wait.longest} slots, and at least {wait.cohort} clients released together{lost}"
    )


def _memory(plan: RowPlan) -> str:
    thresholds = getattr(plan.memory, "thresholds", None)
    if thresholds:
        falling = ", ".join(f"{value:.3g}" for value in thresholds)
        return (
            f"an item is kept while its own key is below a public threshold ({falling} by task); "
            f"capacity {plan.memory.capacity if plan.memory else 0}, overflow below {plan.overflow:g}, added to delta"
        )
    if isinstance(plan.memory, OwnMemory):
        return f"{parts.own_memory(plan.memory)}; capacity {plan.memory.capacity}"
    return "everything is kept" if plan.config.scenario.setting == "cross-silo" else "class-balanced herding"


def _non_private(plan: RowPlan) -> list[str]:
    found = []
    if plan.noise == "none":
        found.append("the whole row: trained without noise")
    if plan.noise == "shared" and parts.sees_all(plan):
        found.append(
            "shared noise without encryption: epsilon holds against who sees only sums and models, not the server"
        )
    if plan.memory and not plan.memory.private:
        found.append(
            f"{plan.config.memory.policy} memory: what is kept depends on the values of all examples, so no epsilon "
            "holds"
        )
    found += [
        f"side channel {channel.name}, {channel.size} bytes from every client at the start of every slot: "
        f"{channel.what}; recorded in the folder 'side-channels', and no epsilon holds"
        for channel in plan.channels
    ]
    return found


def _evaluation(plan: RowPlan) -> list[str]:
    found = [
        "accuracies on test windows",
        "hold-out and retention coins, kept in the folder 'simulation' to score the games",
        *units.evaluated_persons(plan),
        *units.unseen_persons(plan),
    ]
    if plan.scenario.together > 1:
        found.append(
            f"an upper bound, not a strategy: all tasks at once, {plan.storage.used} bytes on a device whatever "
            "storage.budget_kib says"
        )
    if plan.own_models:
        alone = isinstance(plan.strategy, GradientStrategy) and plan.strategy.method.mean == "none"
        bound = "a lower bound: " if alone else ""
        found.append(f"{bound}every client's own model on all test windows; accuracies are means over clients")
    if plan.scenario.kind == "task":
        found.append("the test names each input's task: the prediction is the best of that task's own classes")
    if plan.scenario.kind == "online":
        found.append("number of examples and classes arrived per segment, for accuracy over classes seen so far")
    attacks = plan.config.attacks
    if attacks.canaries:
        found.append(
            f"{attacks.canaries} declared canaries beside the clients' data: made-up examples that went through the "
            "run, each in or out by its device's coin, kept in the folder 'simulation'; they are nobody's, so epsilon "
            "is not about them, and accuracies are those of a model that saw them"
        )
    if audited(plan):
        found.append("the attacks read training data to score their guesses")
    if viewed(plan):
        found.append(f"declared view: one clear update of client {attacks.client}, with and without its noise")
    return found


def _assumed(plan: RowPlan) -> str:
    """What the secure sum assumes; a run pins the identities of all parties."""
    made = plan.secure_plan()
    return assumption(made.rules, made.uploads, pinned=True, mode=plan.config.server)


def _assumptions(plan: RowPlan) -> list[str]:
    clear = "uploads are not encrypted: the server sees every client's vector"
    found = [clear] if parts.sees_all(plan) else []
    if names_code(plan.config.protection):
        found.append(f"protection {plan.config.protection}, in its own words: {_assumed(plan)}")
    elif not found:
        found.append(_assumed(plan))
    if plan.noise == "shared":
        p = plan.config.privacy
        found.append(
            f"at most {p.max_dropouts} clients are missing from the sum and at most {p.colluders} reveal their noise; "
            "epsilon holds against those who see the sum, not against a broken secure sum"
        )
    if plan.config.replay_noise:
        found.append("epsilon holds only against who lacks the noise secret (replay_noise = true)")
    return found


def _randomness(plan: RowPlan) -> str:
    source = "a secret outside this folder" if plan.config.replay_noise else "the operating system"
    if plan.train_noise:
        sampled = parts.trainer(plan) is not None
        coins = "; sampling coins: torch generator seeded likewise" if sampled else ""
        noise = f"noise: AES-CTR key stream seeded from {source}, Skellam by transformed rejection in double precision"
        return noise + coins
    if plan.noise == "none":
        return f"sampling coins: torch generator seeded from {source}"
    return (
        f"noise: AES-CTR key stream seeded from {source}, Gaussian in double precision; "
        "sampling coins: torch generator seeded likewise"
    )


def certify(folder: RunFolder, rows: Iterable[tuple[RowPlan, float]], code: Sequence[OutsideCode] = ()) -> None:
    """Write the certificate of a run from the ledgers in its folder, with the digests of all files, and pin it.

    Args:
        folder: of the run.
        rows: plans with their noise multipliers.
        code: the user's own that ran.

    Raises:
        RunFolderError: an earlier certificate of the folder states more than this one would.
    """
    found = {}
    for plan, multiplier in rows:
        with Ledger(folder.ledger_path(plan.name)) as ledger:
            found[plan.name] = row_certificate(plan, ledger, multiplier) | norms_of(plan, folder.path)
    require_not_lower(folder.path, found)
    heads = signed_heads(folder.path)
    bonds = {"files": files_of(folder.path), "devices": heads, "rollback": rollback(heads)}
    for path in write_certificate(folder.path, found, code, bonds):
        folder.pin(path)


def write_certificate(
    folder: Path, rows: dict[str, dict[str, Any]], code: Sequence[OutsideCode] = (), bonds: Mapping[str, Any] = _NONE
) -> list[Path]:
    """Write certificate.json and certificate.txt of a run folder, each as a whole; return their paths.

    `code`: the user's own that ran; `bonds`: what ties the certificate to other files, as `certify` gives it.
    """
    notes = [
        "Rows of different epsilon are not ranked against each other.",
        "Each row is a run of its own on the same data: to someone who sees all rows, their epsilons add up.",
    ]
    own = {"outside_code": [asdict(one) for one in code]} if code else {}
    paths = [folder / "certificate.json", folder / "certificate.txt"]
    write_json(paths[0], {"rows": rows, "notes": notes} | own | dict(bonds))
    atomic_write(paths[1], render(rows, notes, code, bonds))
    return paths


def render(
    rows: dict[str, dict[str, Any]],
    notes: list[str],
    code: Sequence[OutsideCode] = (),
    bonds: Mapping[str, Any] = _NONE,
) -> str:
    """Return the certificate as text of at most 100 columns, but for long paths."""
    lines = ["PRIVACY CERTIFICATE", ""]
    for name, row in rows.items():
        lines += [name, "-" * len(name)]
        if row["epsilon"] is None:
            lines.append("epsilon: no guarantee")
        else:
            clear = row.get("hiding", row["protection"]) in ("plain", "nothing")
            limit = " - NOT AGAINST THE SERVER" if row["noise"] == "shared" and clear else ""
            worst_cohort = (
                f"epsilon: {row['epsilon']:.4g} at delta {row['delta']:g} ({row['accountant']}), worst cohort"
            )
            lines.append(worst_cohort + limit)
            if "epsilon_built_in" in row:
                lines.append(_line("computed by", parts.whose_epsilon(row)))
        if row["budget"] is not None:
            lines.append(_line("budget", _budget(row)))
        if "hiding" in row:
            lines.append(_line("hidden by", f"{row['hiding']}, as the entry {row['protection']} says of itself"))
        for key in (
            "unit",
            "relation",
            "implied",
            "mechanism",
            "sampling",
            "sent",
            "randomness",
            "protection",
            "engine",
            "code_supplied_by",
            "keys",
            "tolerated",
        ):
            told = row[key]["said"] if key == "implied" else row[key]
            lines.append(_line(key.replace("_", " "), str(told)))
        for key in ("public", "held_back", "non_private", "chosen_on_data", "evaluation", "not_checked", "assumptions"):
            lines += [_line(key.replace("_", "-"), entry) for entry in row[key]]
        lines += [_line(key, entry) for key in ("norms", "doubts") for entry in row.get(key, ())]
        lines.append(_line("ledger", f"{row['ledger_entries']} entries, head {row['ledger_head']}"))
        for c in row["cohorts"]:
            epsilon = "no guarantee" if not math.isfinite(c["epsilon"]) else f"epsilon {c['epsilon']:.4g}"
            lines.append(_line("cohort", f"{units.whereabouts(c)}: {epsilon} [{'; '.join(c['events'])}]"))
        lines.append("")
    for one in code:
        # Unbroken, so that a path or a digest can be searched for.
        lines += [f"code: {one.reference}", f"    {one.path}", f"    SHA-256 {one.digest}"]
    if code:
        lines.append("    (code of the user's own; modules that it imports in turn are not covered by a digest)")
    ends = [_line("note", note) for note in notes]
    if bonds:
        files = f"{len(bonds['files'])} files of the run's folder, by SHA-256 in certificate.json"
        ends += [_line("files", files), _line("rollback", bonds["rollback"])]
    return "\n".join([*lines, *ends, ""])


def _budget(row: dict[str, Any]) -> str:
    budget, ran = row["budget"], row["epsilon_of_what_ran"]
    told = (
        f"what a cohort may be charged was fixed before the first round ({budget['spare_rounds']} spare rounds of a "
        f"kind) and certifies epsilon {budget['epsilon']:.4g} in all; any other event is refused before it runs, on "
        "server and clients; "
    )
    if ran is None:
        return told + "rounds were repeated or left out, so nothing less is claimed for what ran"
    once = "every round released once, as its devices signed" if "repeated_uncharged" in row else "every round once"
    return told + f"what ran is the schedule, {once}: epsilon {ran:.4g}"


def _line(key: str, text: str) -> str:
    return textwrap.fill(f"{key}: {text}", 100, subsequent_indent="    ")
