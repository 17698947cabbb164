"""What a run shows, in a paragraph of plain words, and the banners a reader must not miss."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evaluation.audit_tables import adjusted_p, is_canary, is_staged
from evaluation.figures import SIGNIFICANT, unhidden
from evaluation.run_folder import Run, mapping, number, objects, texts
from evaluation.sums_tables import sums_of
from evaluation.tables import epsilon_above, epsilon_below, epsilon_of, p_text, percent, quantity, small

#: Rate of false alarms at which a run says whether it could have told members.
_RATE = 0.01
_OLDER = (
    "The audit is of an older version and does not say which of its games were about canaries, staged rounds or one "
    "task; all are shown as games about the run. Play it again with: secure-fcl audit."
)


@dataclass(frozen=True)
class Banner:
    """One banner: `severe` if a claim of privacy fails or is missing, else a caution."""

    text: str
    severe: bool


def _of(run: Run, row: str) -> dict[str, object]:
    finals = run.records("final", row)
    return finals[-1] if finals else {}


def banners(run: Run) -> tuple[Banner, ...]:
    """Everything that limits what the run may claim, the severe first."""
    found = [*_row_banners(run), *_audit_banners(run)]
    if run.certificate is None:
        found.append(Banner("There is no certificate: this run claims no privacy at all.", True))
    if run.finished is not True:
        found.append(Banner("The run is not finished: numbers are those of the last finished task.", False))
    found += [Banner(problem, False) for problem in run.problems]
    if not all("about" in outcome for outcome in objects(mapping(run.attacks).get("outcomes"))):
        found.append(Banner(_OLDER, False))
    return tuple(sorted(found, key=lambda banner: not banner.severe))


def _row_banners(run: Run) -> list[Banner]:
    found = []
    for row in run.rows:
        final, entry = _of(run, row), run.guarantee(row)
        if unhidden(run, row):
            found.append(Banner(f"{row}: uploads were not encrypted; the server saw every client's update.", True))
        if entry is not None:
            certified = mapping(entry)
            if number(certified.get("epsilon")) is None:
                found.append(Banner(f"{row}: no differential privacy; epsilon is not bounded.", True))
            if "epsilon_built_in" in certified and number(certified.get("epsilon")) is not None:
                found.append(_on_whose_word(row, certified))
            found += [Banner(f"{row}: not private: {part}.", True) for part in texts(certified.get("non_private"))]
            found += [Banner(f"{row}: {part}.", False) for part in texts(certified.get("doubts"))]
        elif run.certificate is not None:
            found.append(Banner(f"{row}: the certificate does not mention this row; it claims nothing.", True))
        if final.get("noise") == "none" and number(mapping(entry).get("epsilon")) is not None:
            found.append(Banner(f"{row}: ran without noise, yet its certificate states an epsilon.", True))
    return found


def _on_whose_word(row: str, certified: dict[str, object]) -> Banner:
    """Say that an epsilon is by an accountant of the user's own; severe where ours does not give as little."""
    claimed, ours = number(certified.get("epsilon")), number(certified.get("epsilon_built_in"))
    lower = ours is None or (claimed or 0.0) < ours
    return Banner(
        f"{row}: epsilon {epsilon_above(claimed)} is by {certified.get('accountant')}, code of the user's own; the "
        f"program's accountants give {epsilon_above(ours)}.",
        lower,
    )


def _audit_banners(run: Run) -> list[Banner]:
    judged = mapping(run.attacks).get("contradictions")
    found = _single_bounds(run) if judged is None else _contradictions(judged)
    noise = mapping(mapping(run.attacks).get("noise"))
    if noise.get("too_small") or noise.get("too_large"):
        found.append(
            Banner(
                f"The audit contradicts the ledger: an empty batch was released with noise multiplier "
                f"{small(noise.get('measured'))} where {small(noise.get('declared'))} was charged: the certificate "
                "does not hold.",
                True,
            )
        )
    found += _other_verdicts(run)
    for probe in objects(mapping(run.attacks).get("probes")):
        if probe.get("refused") is None and number(probe.get("recovered")) and probe.get("noise") == "as ran":
            found.append(Banner(f"A server can single out a client in spite of the noise: {probe.get('name')}.", True))
    for channel in objects(mapping(run.attacks).get("channels")):
        if channel.get("unaccounted"):
            found.append(
                Banner(
                    f"Side channel: {channel.get('channel')} tell clients with much data from those with little, and "
                    "no ledger charges that.",
                    False,
                )
            )
    for outcome in objects(mapping(run.attacks).get("outcomes")):
        name = f"{outcome.get('game', '?')}, {outcome.get('attack', '?')}"
        low, high = number(outcome.get("auc_low")), number(outcome.get("auc_high"))
        if outcome.get("control") == "positive" and low is not None and low <= 0.5:
            found.append(Banner(f"{name}: the positive control failed; attacks that find nothing prove nothing.", True))
        if outcome.get("control") == "negative" and low is not None and high is not None and not low <= 0.5 <= high:
            found.append(Banner(f"{name}: the negative control found members among random coins.", False))
    return found


def _other_verdicts(run: Run) -> list[Banner]:
    """Laws of the mechanism that do not hold, memories against their policy, and games that went wrong."""
    audit = mapping(run.attacks)
    found = [
        Banner(
            f"The audit contradicts the ledger: what it claims does not hold for {law.get('law', '?')} (p = "
            f"{p_text(law.get('p_value'))}): {law.get('means', '?')}: the certificate does not hold.",
            True,
        )
        for law in objects(audit.get("laws"))
        if law.get("broken")
    ]
    for record in sums_of(run):
        mu = mapping(record.get("mu"))
        if mu.get("exceeds"):
            found.append(
                Banner(
                    f"The audit contradicts the ledger: the noise in the sums of {record.get('row', '?')} allows mu "
                    f"{small(mu.get('surely'))} at least where {small(mu.get('ledger'))} was charged: the certificate "
                    "does not hold.",
                    True,
                )
            )
    memory = texts(mapping(audit.get("memory")).get("contradictions"))
    if memory:
        more = f" There are {len(memory) - 1} more like it." if len(memory) > 1 else ""
        found.append(
            Banner(
                f"The memory contradicts its declared policy: {memory[0]}: the certificate does not hold.{more}", True
            )
        )
    return found + [Banner(f"The audit could not be played: {text}.", True) for text in texts(audit.get("failed"))]


def _contradictions(judged: object) -> list[Banner]:
    return [
        Banner(
            f"The audit contradicts the ledger: {one.get('game', '?')}, {one.get('attack', '?')} "
            f"({one.get('target', '?')}) shows epsilon {epsilon_below(one.get('bound'))} where "
            f"{epsilon_above(one.get('ledger_epsilon'))} was charged, at confidence {small(one.get('confidence'))} for "
            "all games together: the certificate does not hold.",
            True,
        )
        for one in objects(judged)
    ]


def _single_bounds(run: Run) -> list[Banner]:
    """Bounds above the ledger in a document that does not judge all games together."""
    found = []
    for outcome in objects(mapping(run.attacks).get("outcomes")):
        bound, spent = mapping(outcome.get("epsilon_lower")), number(outcome.get("ledger_epsilon"))
        shown = number(bound.get("value"))
        if shown is not None and spent is not None and shown > spent:
            found.append(
                Banner(
                    f"{outcome.get('game', '?')}, {outcome.get('attack', '?')}: the attack shows epsilon "
                    f"{epsilon_below(shown)}, above the {epsilon_above(spent)} of the ledger (confidence "
                    f"{small(bound.get('confidence'))}): the ledger is wrong, or this is the chance that the "
                    "confidence leaves.",
                    True,
                )
            )
    return found


def verdict(run: Run) -> str:
    """The run in a paragraph: rows with their own epsilon, what they forgot, what attacks found."""
    if not run.rows:
        return "Nothing has been measured in this folder yet."
    return " ".join([*_rows_in_words(run), *_attacks_in_words(run)])


def _rows_in_words(run: Run) -> list[str]:
    sentences = []
    for row in run.rows:
        final = _of(run, row)
        if not final:
            sentences.append(f"{row} is unfinished after {len(run.tasks(row))} tasks.")
            continue
        epsilon = epsilon_of(run, row)
        claim = "with no epsilon stated" if run.guarantee(row) is None else "without a privacy guarantee"
        if epsilon is not None:
            claim = f"at epsilon {epsilon_above(epsilon)} for its worst cohort"
        forgotten = number(final.get("forgetting"))
        loss = (
            f" and forgot {percent(forgotten)} points of earlier tasks"
            if forgotten is not None and not math.isnan(forgotten)
            else ""
        )
        sentences.append(
            f"{row} ends at {percent(final.get('micro'))} % of all test windows right "
            f"({percent(final.get('task_mean'))} % averaged over tasks){loss}, {claim}."
        )
    return sentences


def _reversed_in_words(run: Run, outcomes: list[dict[str, object]]) -> list[str]:
    """Return how many of the attacks tell members by ranking them last."""
    found = [
        one
        for one in outcomes
        if (auc := number(one.get("auc"))) is not None
        and auc < 0.5
        and (p := adjusted_p(run, one, "either_way")) is not None
        if p < SIGNIFICANT
    ]
    if not found:
        return []
    return [f"{len(found)} of them did worse than chance, which tells as much to whom reads the score the other way."]


def _reach_in_words(run: Run) -> list[str]:
    """Return how many games could not have contradicted the ledger, however wrong it were."""
    reach = mapping(mapping(run.attacks).get("reach"))
    games, able = number(reach.get("games")), number(reach.get("could_contradict"))
    if not games or able is None:
        return []
    return [f"{games - able:.0f} of {games:.0f} games could not have contradicted the ledger, whatever they found."]


def _few_in_words(run: Run) -> list[str]:
    """Return what it takes to tell members found at one false alarm in a hundred, where the run held out too few."""
    lacking = [
        (wanted, held, told)
        for outcome in objects(mapping(run.attacks).get("outcomes"))
        if outcome.get("stage") == "run" and not outcome.get("control") and outcome.get("game") == "membership"
        for rate in objects(outcome.get("tpr"))
        if rate.get("fpr") == _RATE and (told := number(rate.get("told"))) is not None
        if (wanted := number(mapping(rate.get("needed")).get("nonmembers"))) is not None
        if (held := number(outcome.get("nonmember_units"))) is not None and wanted > held
        if outcome.get("task") is None
    ]
    if not lacking:
        return []
    wanted, held, told = min(lacking, key=lambda one: one[0])
    return [
        f"To tell whether {percent(told)} % of members are found at {percent(_RATE)} % false alarms takes about "
        f"{wanted:.0f} independent held-out examples, and {held:.0f} were held out."
    ]


def _staged_in_words(run: Run, outcomes: list[dict[str, object]]) -> list[str]:
    """Return what staged rounds found: of the mechanism, not of this run."""
    found = [o for o in outcomes if not o.get("void") and (p := adjusted_p(run, o)) is not None and p < SIGNIFICANT]
    names = sorted({str(o.get("game", "?")) for o in found})
    if not names:
        return []
    return [
        f"In staged rounds, which are about more than one example and not about this run, {' and '.join(names)} did "
        "better than chance: an epsilon of one example does not exclude that."
    ]


def _sums_in_words(run: Run) -> list[str]:
    """Return for each row of sums what its noise allows, and what is found of whole persons."""
    found = []
    for record in sums_of(run):
        row, mu = record.get("row", "?"), mapping(record.get("mu"))
        games = objects(record.get("games"))
        off = [g for g in games if g.get("noise") == "off" and g.get("stage") == "run"]
        beaten = sum(g.get("verdict") == "found" for g in off)
        if mu:
            found.append(
                f"The sums of {row} allow the best attack on one example mu {quantity(mu.get('run'), 2)}, of "
                f"{quantity(mu.get('ledger'), 2)} charged"
                + (f"; without their noise {beaten} of {len(off)} attacks find who was trained on." if off else ".")
            )
        persons = [p for p in objects(mapping(record.get("persons")).get("games")) if p.get("noise") == "as ran"]
        told = [f"AUC {quantity(p.get('auc'), 2)} by who knows {p.get('known', '?')}" for p in persons if _above(p)]
        if told:
            found.append(f"Epsilon is not about persons: in {row} whole persons are found, {' and '.join(told)}.")
    return found


def _above(game: dict[str, object]) -> bool:
    low = number(game.get("low"))
    return low is not None and low > 0.5


def _attacks_in_words(run: Run) -> list[str]:
    if run.attacks is None:
        return ["No attack has been run, so nothing is known about what leaks in practice."]
    # Canaries are made to be found: that they are says nothing about the run's examples.
    every = [o for o in objects(run.attacks.get("outcomes")) if not o.get("control") and not is_canary(o)]
    outcomes = [o for o in every if not is_staged(o)]
    counted = [o for o in outcomes if not o.get("void") and number(o.get("auc_low")) is not None]
    above = [o for o in counted if (number(o.get("auc_low")) or 0.0) > 0.5]
    sentences = []
    tested = [p for o in counted if (p := adjusted_p(run, o)) is not None]
    if tested:
        better, row = sum(p < SIGNIFICANT for p in tested), run.attacks.get("row", "the run")
        sentences.append(
            f"{better} of {len(tested)} attacks on {row} did better than chance (p < {SIGNIFICANT}, corrected for how "
            "many were tried)."
        )
    elif counted:
        sentences.append(
            f"{len(above)} of {len(counted)} attacks on {run.attacks.get('row', 'the run')} did better than "
            "chance by their own interval (not corrected for how many were tried)."
        )
    judged = len(tested) or len(counted)
    if len(outcomes) > judged:
        sentences.append(f"{len(outcomes) - judged} more are void or without interval.")
    sentences += _reversed_in_words(run, counted) + _reach_in_words(run) + _few_in_words(run)
    sentences += _staged_in_words(run, [o for o in every if is_staged(o)]) + _sums_in_words(run)
    for r in objects(run.attacks.get("reconstructions")):
        low, blind = number(r.get("low")), number(r.get("blind_high"))
        if low is not None and blind is not None and low > blind:
            sentences.append(f"Gradient inversion beats a blind guess for {r.get('world')}, noise {r.get('noise')}.")
    sentences.append("An attack that fails is no evidence of privacy.")
    return sentences
