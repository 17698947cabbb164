"""Five figures of a row, and a verdict in words for each: quality, forgetting, privacy, leakage, cost.

The verdicts follow fixed rules (`RULES`), which the page prints; they rank no row above another. What was not measured
says so, and is never a blank or a zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from evaluation.audit_tables import adjusted_p, is_canary, is_staged
from evaluation.run_folder import Run, mapping, number, objects, texts
from evaluation.sums_tables import exceeded, run_games, sums_of
from evaluation.tables import cost_bars, epsilon_above, epsilon_of, percent, quality, quantity, size, small

Level = Literal["good", "fair", "poor", "unknown"]

NOT_MEASURED = "not measured"
COLUMNS = (
    ("Accuracy", "of all test examples"),
    ("Forgetting", "lost on earlier tasks"),
    ("Epsilon", "spent by the worst cohort"),
    ("Leakage", "found by the attacks"),
    ("Cost", "sent by one client"),
)
RULES = (
    "Accuracy: guessing among all classes counts as 0 and no error as 1; high from 0.8, middling from 0.5, low below, "
    "and like guessing below 0.1.",
    "Forgetting: little up to 5 points, some up to 20, much above.",
    "Epsilon: strong up to 1, moderate up to 10, weak above (the tiers of Ponomareva et al. 2023, section 5.2). It is "
    "an upper bound, and says nothing against whoever its conditions exclude.",
    "Leakage: found where an attack on the run itself does better than chance (adjusted p below 0.05), rebuilds inputs "
    "or singles out a client in spite of the noise; nothing found only where the positive control worked. Staged "
    "rounds are counted beside: what they find of a whole class or a client in the clear, no epsilon of an example "
    "excludes. "
    "Of released sums: as charged where nothing was found and the run's own noise allows the best attack no more than "
    "the ledger says. It is no evidence of privacy.",
    "Cost: small up to 10 MB sent by one client in all rounds, moderate up to 1 GB, large above.",
)
#: Level of the adjusted p-values below which an attack is said to do better than chance.
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Figure:
    """One figure: `value` (empty if there is none), a `verdict` in a few words, its `level`, and a few words `more`."""

    value: str
    verdict: str
    level: Level
    more: str = ""


UNKNOWN = Figure("", NOT_MEASURED, "unknown")


@dataclass(frozen=True)
class Subject:
    """What has five figures: a row of a run, or an audited model; `about` says more in a few words."""

    name: str
    figures: tuple[Figure, ...]
    about: str = ""


def subjects(run: Run) -> tuple[Subject, ...]:
    """The rows of a run in their order, each with the figures of `COLUMNS`."""
    return tuple(
        Subject(
            row,
            (_accuracy(run, row), _forgetting(run, row), _epsilon(run, row), _leakage(run, row), _cost(run, row)),
            _about(run, row),
        )
        for row in run.rows
    )


def _about(run: Run, row: str) -> str:
    places = {"local": "noise on each device", "shared": "noise shared in the sum", "none": "no noise"}
    noise = str(quality(run, row).get("noise", mapping(run.guarantee(row)).get("noise", "")))
    said = places.get(noise, noise)
    return said if run.records("final", row) else f"{said}, unfinished".removeprefix(", ")


def _accuracy(run: Run, row: str) -> Figure:
    found = quality(run, row)
    share = number(found.get("micro"))
    if share is None or math.isnan(share):
        return UNKNOWN
    worst = number(found.get("worst_client"))
    more = "" if worst is None or math.isnan(worst) else f"worst client {percent(worst)} %"
    if number(found.get("unseen_micro")) is not None:
        more += f"{', ' if more else ''}persons who never trained {percent(found['unseen_micro'])} %"
    classes = len(mapping(found.get("per_class")))
    if classes < 2:
        return Figure(f"{percent(share)} %", "so far", "unknown", more)
    above = (share - 1 / classes) / (1 - 1 / classes)
    verdict, level = _step(
        -above, ((-0.8, "high", "good"), (-0.5, "middling", "fair"), (-0.1, "low", "poor")), "like guessing"
    )
    return Figure(f"{percent(share)} %", verdict, level, more)


def _step(value: float, steps: tuple[tuple[float, str, Level], ...], beyond: str) -> tuple[str, Level]:
    """The first step whose bound is not passed; beyond all of them, `beyond`, which is poor."""
    for bound, verdict, level in steps:
        if value <= bound:
            return verdict, level
    return beyond, "poor"


def _forgetting(run: Run, row: str) -> Figure:
    lost = number(quality(run, row).get("forgetting"))
    if lost is None or math.isnan(lost):
        return Figure("", f"{NOT_MEASURED}: one task", "unknown") if len(run.tasks(row)) == 1 else UNKNOWN
    verdict, level = _step(100 * lost, ((5.0, "little", "good"), (20.0, "some", "fair")), "much")
    return Figure(f"{percent(lost)} points", verdict, level)


def _epsilon(run: Run, row: str) -> Figure:
    if run.certificate is None:
        return Figure("", "not stated yet", "unknown")
    entry, known = run.guarantee(row), epsilon_of(run, row)
    if not isinstance(entry, dict) or known is None:
        return Figure("none", "no guarantee", "poor")
    value, more = epsilon_above(known), f"delta {small(entry.get('delta'))}"
    if exceeded(run, row) or (refuted(run) and row == mapping(run.attacks).get("row")):
        return Figure(value, "refuted by the audit", "poor", more)
    if entry.get("noise") == "none" or quality(run, row).get("noise") == "none":
        return Figure(value, "contradicted: no noise", "poor", more)
    if entry.get("noise") == "shared" and unhidden(run, row):
        return Figure(value, "not against the server", "poor", more)
    verdict, level = _step(known, ((1.0, "strong", "good"), (10.0, "moderate", "fair")), "weak")
    return Figure(value, verdict, level, more)


def unhidden(run: Run, row: str) -> bool:
    """Whether one client's uploads of a row were there for the server to read, by what its protocol says of itself."""
    entry = mapping(run.guarantee(row))
    protection = entry.get("protection", quality(run, row).get("protection", "bfv"))
    return entry.get("hiding") == "nothing" or str(protection).lower() in _IN_THE_CLEAR


_IN_THE_CLEAR = ("plain", "none", "clear", "off", "")


def refuted(run: Run) -> bool:
    """Whether the audit contradicts what the attacked row's certificate claims."""
    audit = mapping(run.attacks)
    noise = mapping(audit.get("noise"))
    return bool(
        objects(audit.get("contradictions"))
        or any(law.get("broken") for law in objects(audit.get("laws")))
        or texts(mapping(audit.get("memory")).get("contradictions"))
        or noise.get("too_small")
        or noise.get("too_large")
    )


def own_games(run: Run) -> list[dict[str, object]]:
    """Outcomes that count as attacks on the run: no control, none void, staged or of canaries, all with intervals."""
    return [o for o in _counted(run) if not is_staged(o)]


def staged_games(run: Run) -> list[dict[str, object]]:
    """The same of staged rounds, which are played anew: about the mechanism, and no statement about the run."""
    return [o for o in _counted(run) if is_staged(o)]


def _counted(run: Run) -> list[dict[str, object]]:
    outcomes = objects(mapping(run.attacks).get("outcomes"))
    return [
        o for o in outcomes
        if not o.get("control") and not o.get("void") and not is_canary(o) and number(o.get("auc_low")) is not None
    ]  # fmt: skip


def better_than_chance(run: Run, outcome: dict[str, object]) -> bool:
    """Whether a game did better than chance: by its adjusted p-value, or by its own interval where it has none."""
    adjusted = adjusted_p(run, outcome)
    return (number(outcome.get("auc_low")) or 0.0) > 0.5 if adjusted is None else adjusted < SIGNIFICANT


def _leakage(run: Run, row: str) -> Figure:
    audit = mapping(run.attacks)
    if sums_of(run, row):
        return _leakage_of_sums(run, row)
    if run.attacks is None or audit.get("row") != row:
        return UNKNOWN
    games, staged = own_games(run), staged_games(run)
    found = sum(better_than_chance(run, outcome) for outcome in games)
    value = f"{found} of {len(games)}" if games else ""
    more = "attacks beat chance" if games else ""
    if more and staged:
        more += f"; {sum(better_than_chance(run, o) for o in staged)} of {len(staged)} in staged rounds"
    if _rebuilt(run, row):
        return Figure(value, "inputs rebuilt", "poor", more)
    if _singled_out(audit):
        return Figure(value, "a client singled out", "poor", more)
    if found:
        return Figure(value, "leak found", "poor", more)
    if not games:
        return UNKNOWN
    if not _control_worked(audit):
        return Figure(value, "undecided: no control", "unknown", more)
    if any(channel.get("unaccounted") for channel in objects(audit.get("channels"))):
        return Figure(value, "a side channel tells", "fair", more)
    return Figure(value, "nothing found", "good", more)


def _leakage_of_sums(run: Run, row: str) -> Figure:
    """Judge a row of sums by the games on the run itself, and by what its own noise allows the best attack."""
    record = sums_of(run, row)[0]
    games, mu = run_games(record), mapping(record.get("mu"))
    found = sum(game.get("verdict") == "found" for game in games)
    value = f"{found} of {len(games)}" if games else ""
    more = "attacks beat chance" if games else ""
    if mu:
        more += f"{'; ' if more else ''}mu {quantity(mu.get('run'), 2)} of {quantity(mu.get('ledger'), 2)} charged"
    if exceeded(run, row):
        return Figure(value, "more than charged", "poor", more)
    if found:
        return Figure(value, "leak found", "poor", more)
    if mu:
        return Figure(value, "as charged", "good", more)
    return Figure(value, "undecided: too few", "unknown", more) if games else UNKNOWN


def _rebuilt(run: Run, row: str) -> bool:
    """Whether inputs came out of what somebody sees: of sums, or of one client's gradients where uploads are clear."""
    pairs = [
        (number(r.get("low")), number(r.get("blind_high")))
        for r in objects(mapping(run.attacks).get("reconstructions"))
        if r.get("noise") == "as ran" and ((number(r.get("clients")) or 0) > 1 or unhidden(run, row))
    ]
    return any(low is not None and blind is not None and low > blind for low, blind in pairs)


def _singled_out(audit: dict[str, object]) -> bool:
    return any(
        probe.get("refused") is None and number(probe.get("recovered")) and probe.get("noise") == "as ran"
        for probe in objects(audit.get("probes"))
    )


def _control_worked(audit: dict[str, object]) -> bool:
    controls = [o for o in objects(audit.get("outcomes")) if o.get("control") == "positive"]
    return any((number(o.get("auc_low")) or 0.0) > 0.5 for o in controls)


def _cost(run: Run, row: str) -> Figure:
    bars = [bar for bar in cost_bars(run) if bar.row == row]
    if not bars:
        return UNKNOWN
    verdict, level = _step(bars[0].bytes_up, ((1e7, "small", "good"), (1e9, "moderate", "fair")), "large")
    return Figure(size(bars[0].bytes_up), verdict, level, f"{quantity(bars[0].wall, 0)} s")
