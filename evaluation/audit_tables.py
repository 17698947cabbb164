"""The tables of an audit as text, the same for the page and the terminal."""

from __future__ import annotations

import math
from typing import Any

from evaluation.plots import AttackBar
from evaluation.run_folder import Run, mapping, number, objects, texts
from evaluation.tables import (
    MISSING,
    Table,
    epsilon_above,
    epsilon_below,
    p_text,
    percent,
    quantity,
    with_interval,
)

_CONTROLS = ("positive", "negative")


def _outcomes(run: Run) -> list[dict[str, Any]]:
    return objects(mapping(run.attacks).get("outcomes"))


def _task(outcome: dict[str, Any]) -> int | None:
    """The task that an outcome is about, from 0; None if about several or none."""
    task = number(outcome.get("task"))
    return int(task) if task is not None and task.is_integer() and task >= 0 else None


def is_canary(outcome: dict[str, Any]) -> bool:
    """Whether a game was about canaries, which are made to be found, and not about examples of the run."""
    return outcome.get("about") == "canaries"


def is_staged(outcome: dict[str, Any]) -> bool:
    """Whether a game was about rounds played anew, in which a coin was flipped about more than an example."""
    return outcome.get("about") == "staged"


def _stage(outcome: dict[str, Any]) -> str:
    """In a word what was attacked: the run itself, staged rounds, canaries, or a control."""
    if outcome.get("control") in _CONTROLS:
        return "control"
    if is_staged(outcome):
        return "staged, no noise" if outcome.get("control") else "staged rounds"
    return "canaries" if is_canary(outcome) else "the run"


def _kind(control: object) -> str:
    return f"{control} control" if control in _CONTROLS else str(control)


def _rates(rates: object) -> str:
    parts = []
    for rate in objects(rates):
        found = with_interval(rate.get("value"), rate.get("low"), rate.get("high"), 2)
        if number(rate.get("value")) is None:
            found = "n/a: too few"
        parts.append(f"{100 * (number(rate.get('fpr')) or 0.0):g}%: {found}")
    return "; ".join(parts) or MISSING


def _lower(bound: object) -> str:
    known = mapping(bound)
    if not known:
        return MISSING
    return f"{epsilon_below(known.get('value'))} of {epsilon_below(known.get('ceiling'))}"


def _gaussian(bound: object) -> str:
    known = mapping(bound)
    return epsilon_below(known.get("epsilon")) if known else MISSING


def adjusted_p(run: Run, outcome: dict[str, object], key: str = "adjusted") -> float | None:
    """The p-value of "better than chance" after Holm over all games of the run; None for controls and void games.

    With `key` "either_way" the two-sided one.
    """
    names = ("game", "attack", "target")
    for found in objects(mapping(run.attacks).get("discoveries")):
        if not outcome.get("control") and all(found.get(name) == outcome.get(name) for name in names):
            return number(found.get(key))
    return None


def _p_value(value: float | None) -> str:
    if value is None or math.isnan(value):
        return MISSING
    return "<0.001" if value < 0.001 else f"{math.ceil(value * 1000 - 1e-9) / 1000:.3f}"


def _yes_or_no(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else MISSING


def _game(outcome: dict[str, object]) -> str:
    control = outcome.get("control")
    name = str(outcome.get("game", "?")) + (f" ({_kind(control)})" if control else "")
    return name + (", void" if outcome.get("void") else "")


def _subject(outcome: dict[str, object]) -> str:
    control = outcome.get("control")
    return _kind(control) if control in _CONTROLS else _game(outcome)


def attacks(run: Run) -> Table:
    """One line per attack over all tasks: what the adversary saw, how well it did, and a guess that saw nothing."""
    columns = (
        "game", "on", "attack", "adversary saw", "target", "members / others", "AUC", "blind AUC",
        "adjusted p", "either way", "found at false alarms of", "epsilon shown", "if Gaussian", "epsilon spent",
        "could contradict",
    )  # fmt: skip
    lines = [
        (
            _game(o),
            _stage(o),
            *(str(o.get(key, "?")) for key in ("attack", "view", "target")),
            f"{o.get('n_members', '?')} / {o.get('n_nonmembers', '?')}",
            with_interval(o.get("auc"), o.get("auc_low"), o.get("auc_high")),
            with_interval(o.get("blind_auc"), o.get("blind_low"), o.get("blind_high")),
            _p_value(adjusted_p(run, o)),
            _p_value(adjusted_p(run, o, "either_way")),
            _rates(o.get("tpr")),
            _lower(o.get("epsilon_lower")),
            _gaussian(o.get("gaussian")),
            MISSING if number(o.get("ledger_epsilon")) is None else epsilon_above(o.get("ledger_epsilon")),
            _yes_or_no(o.get("could_contradict")),
        )
        for o in _outcomes(run)
        if _task(o) is None
    ]
    return Table(columns, tuple(lines), 5)


def attack_bars(run: Run) -> tuple[AttackBar, ...]:
    """The same attacks for the forest plot."""
    return tuple(
        AttackBar(
            f"{_subject(o)}, {o.get('attack', '?')}\n{o.get('view', '?')}, {o.get('target', '?')}",
            (number(o.get("auc")), number(o.get("auc_low")), number(o.get("auc_high"))),
            (number(o.get("blind_auc")), number(o.get("blind_low")), number(o.get("blind_high"))),
            bool(o.get("void")),
        )
        for o in _outcomes(run)
        if _task(o) is None
    )


def by_task(run: Run) -> Table:
    """One line per game and task: one run, one bound for each, against what was charged examples of that task."""
    columns = ("game", "attack", "task", "members / others", "AUC", "adjusted p", "epsilon shown", "epsilon spent")
    lines = [
        (
            _game(o),
            str(o.get("attack", "?")),
            run.task_name(_task(o)),
            f"{o.get('n_members', '?')} / {o.get('n_nonmembers', '?')}",
            with_interval(o.get("auc"), o.get("auc_low"), o.get("auc_high")),
            _p_value(adjusted_p(run, o)),
            _lower(o.get("epsilon_lower")),
            MISSING if number(o.get("ledger_epsilon")) is None else epsilon_above(o.get("ledger_epsilon")),
        )
        for o in _outcomes(run)
        if _task(o) is not None
    ]
    return Table(columns, tuple(lines), 3)


def history(run: Run) -> Table:
    """What is still seen of each task's members at the end, from the last model and from all of them."""
    lines = []
    for curve in objects(mapping(run.attacks).get("history")):
        first, last, kept, premium = (
            _cell(curve.get(name), place)
            for name, place in (("last", 0), ("last", -1), ("sequence", -1), ("premium", -1))
        )
        half = number(curve.get("half_life"))
        lines.append(
            (
                run.task_name(curve.get("task")), first, last, kept, premium,
                "never" if half is None else f"{half:.0f} tasks",
            )
        )  # fmt: skip
    columns = (
        "members of", "AUC when it closed", "AUC at the end", "with all checkpoints", "premium of old checkpoints",
        "half-life",
    )  # fmt: skip
    return Table(columns, tuple(lines), 1)


def _cell(cells: object, place: int) -> str:
    known = objects(cells)
    if not known:
        return MISSING
    cell = known[place]
    return with_interval(cell.get("value"), cell.get("low"), cell.get("high"))


def over_rounds(run: Run) -> Table:
    """What each further round of a task adds to membership, from sums and from one client in the clear."""
    lines = []
    for one in objects(mapping(mapping(run.attacks).get("rounds")).get("trajectories")):
        points, counts = objects(one.get("auc")), one.get("rounds")
        many = counts[-1] if isinstance(counts, list) and counts else "?"
        where = "run" if "staged" not in str(one.get("target")) else "staged"
        lines.append((
            str(one.get("attack", "?")), str(one.get("view", "?")), where, str(one.get("noise", "?")), str(many),
            _cell(points, 0), _cell(points, -1),
        ))  # fmt: skip
    return Table(("attack", "view", "rounds of", "noise", "rounds", "AUC after one", "AUC after all"), tuple(lines), 4)


def mechanism(run: Run) -> Table:
    """What the client's code and the secure sum did when tried: noise, servers, attribution, side channels."""
    audit = mapping(run.attacks)
    lines = [*_noise_line(mapping(audit.get("noise"))), *_law_lines(objects(audit.get("laws")))]
    lines += [*_memory_line(mapping(audit.get("memory"))), *map(_probe_line, objects(audit.get("probes")))]
    lines += [_attribution_line(one) for one in objects(audit.get("attribution"))]
    lines += map(_cohort_line, objects(mapping(audit.get("rounds")).get("cohorts")))
    lines += [_channel_line(one) for one in objects(audit.get("channels"))]
    return Table(("tried", "noise", "found", "so"), tuple(lines), 4)


def _noise_line(noise: dict[str, Any]) -> list[tuple[str, ...]]:
    if not noise:
        return []
    declared, measured = quantity(noise.get("declared")), quantity(noise.get("measured"))
    verdict = "smaller than charged: the ledger is wrong" if noise.get("too_small") else "as charged"
    if noise.get("too_large"):
        verdict = "larger than charged: the ledger is wrong"
    return [("noise multiplier of empty batches", "as ran", f"{measured} where {declared} was charged", verdict)]


def _law_lines(laws: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return a line for every law that is broken, and one for all that hold."""
    broken = [law for law in laws if law.get("broken")]
    found: list[tuple[str, ...]] = [
        (f"law: {law.get('law', '?')}", "as ran", f"p = {p_text(law.get('p_value'))}", str(law.get("means", "?")))
        for law in broken
    ]
    held = [p for law in laws if not law.get("broken") and (p := number(law.get("p_value"))) is not None]
    if held:
        least = f"least p-value {p_text(min(held))} of {len(held)}"
        found.append(("laws of scores under the ledger's claim", "as ran", least, "as charged"))
    return found


def _memory_line(memory: dict[str, Any]) -> list[tuple[str, ...]]:
    if not memory:
        return []
    wrong = texts(memory.get("contradictions"))
    found = wrong[0] if wrong else f"{int(number(memory.get('compared')) or 0)} compared, item by item"
    return [("memories of devices against their policy", "-", found, "contradicted" if wrong else "as declared")]


def _probe_line(probe: dict[str, Any]) -> tuple[str, ...]:
    refused = probe.get("refused")
    similar = number(probe.get("similarity"))
    if refused:
        found, verdict = str(refused), "refused"
    elif number(probe.get("recovered")):
        found, verdict = f"cosine {quantity(similar, 2)} with one client's own update", "one client isolated"
    else:
        found, verdict = f"cosine {quantity(similar, 2)} with one client's own update", "nothing isolated"
    return f"server: {probe.get('name', '?')}", str(probe.get("noise", "?")), found, verdict


def _attribution_line(one: dict[str, Any]) -> tuple[str, ...]:
    right, low, high = (percent(one.get(key)) for key in ("right", "low", "high"))
    rounds, chance_of = one.get("rounds", "?"), percent(one.get("chance"))
    found = f"right in {right} % [{low}, {high}] of {rounds} rounds, by chance {chance_of} %"
    lowest, chance = number(one.get("low")), number(one.get("chance"))
    shown = lowest is not None and chance is not None and lowest > chance
    name = "which client brought a class, from updates in the clear"
    return name, str(one.get("noise", "?")), found, "named better than by chance" if shown else "not shown"


def _cohort_line(one: dict[str, Any]) -> tuple[str, ...]:
    alone, gain = one.get("isolated"), number(one.get("noise_gain"))
    many = len(alone) if isinstance(alone, list) else 0
    found = f"{one.get('cohorts', '?')} different in {one.get('rounds', '?')} rounds"
    if many and gain is not None:
        found += f"; {many} clients stand alone in a combination, noise {quantity(gain, 2)} times that of a sum or more"
    verdict = "only noise hides them, if their updates repeat" if many else "nobody stands alone"
    return f"cohorts of the sums, task {int(number(one.get('task')) or 0) + 1}", "as ran", found, verdict


def _channel_line(one: dict[str, Any]) -> tuple[str, ...]:
    least, largest = number(one.get("least")) or 0.0, number(one.get("largest")) or 0.0
    span = f"{least:.0f} to {largest:.0f} bytes" if one.get("measure") == "bytes" else f"{least:.3g} to {largest:.3g}"
    span += " s" if one.get("measure") == "seconds" else ""
    auc = with_interval(one.get("auc"), one.get("low"), one.get("high"), 2)
    verdict = "tells who has much data, and nobody is charged" if one.get("unaccounted") else "not shown to tell"
    return (
        f"side channel: {one.get('channel', '?')}",
        "as ran",
        f"{span}; AUC {auc}, {one.get('n', '?')} visits",
        verdict,
    )


def reconstructions(run: Run) -> Table:
    """Gradient inversion: correlation of what was rebuilt with the truth, beside a blind guess."""
    lines = [
        (
            str(r.get("world", "?")),
            str(r.get("noise", "?")),
            str(r.get("n", "?")),
            with_interval(r.get("correlation"), r.get("low"), r.get("high"), 2),
            with_interval(r.get("blind"), r.get("blind_low"), r.get("blind_high"), 2),
        )
        for r in objects(mapping(run.attacks).get("reconstructions"))
    ]
    return Table(("gradient of", "noise", "targets", "correlation", "blind guess"), tuple(lines), 2)
