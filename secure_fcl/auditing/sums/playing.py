"""All attacks on one closed-form row of a run, as one record of attacks.json."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from attacks.errors import AttackError
from attacks.games.play import Outcome
from attacks.games.simultaneous import LOUD, discoveries
from attacks.sums.power import composed, noise_found
from evaluation.errors import EvaluationError
from evaluation.power import auc_power
from secure_fcl.auditing.charges import epsilon_of_mu
from secure_fcl.auditing.run_canaries import without
from secure_fcl.auditing.sums.examples import (
    WORLDS,
    Rehearsal,
    RunGame,
    asked_by_slot,
    rehearse_one_example,
    rehearse_rare_items,
    run_games,
)
from secure_fcl.auditing.sums.few import play_few
from secure_fcl.auditing.sums.items import Item, items_of
from secure_fcl.auditing.sums.persons import play_persons
from secure_fcl.auditing.sums.recorded import judge_sums
from secure_fcl.auditing.sums.released import NotReadable, Release, SumsRow
from secure_fcl.auditing.sums.view import MOST, Attacked
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder

Ints = NDArray[np.int64]
T = TypeVar("T")

#: The smallest AUC that matters, as in audits of one's own model, and the level of verdicts after Holm.
LEAK, LEVEL = 0.6, 0.05


@dataclass(frozen=True, eq=False)
class SumsAudit:
    """What the attacks on a closed-form row found.

    Attributes:
        record: of its games.
        outcomes: that all games are judged with.
        canaries: the record of its canaries; None where none were declared.
    """

    record: dict[str, Any]
    outcomes: tuple[Outcome, ...] = ()
    canaries: dict[str, Any] | None = None


def audit_sums(
    plan: RowPlan, folder: RunFolder, slot_of: Ints, most: int | None = MOST, worlds: int = WORLDS
) -> SumsAudit:
    """Return the attacks on a row whose releases are sums.

    Args:
        plan: of the row.
        folder: of its finished run.
        slot_of: slot of each example (`AuditWorld.slot_of`).
        most: see `secure_fcl.auditing.sums.view.MOST`.
        worlds: of a rehearsal of one example.
    """
    begun, row = time.process_time(), SumsRow(plan, folder)
    try:
        if plan.wire("train").recipe is not None or plan.bounds_norms:
            raise NotReadable("uploads are shortened, or clipped as a whole, so that examples do not simply add up")
        attacked = Attacked(row, most)
        items = items_of(row, slot_of)
        require_additive(attacked, items)
        played = _played(attacked, items, worlds)
        if plan.scenario.canaries is not None:
            played = replace(played, canaries=judge_sums(attacked))
    except NotReadable as reason:
        canaries = None if plan.scenario.canaries is None else without(plan, str(reason))
        missing = [f"sums of {plan.name}: {reason}"]
        return SumsAudit({"row": plan.name, "missing": missing}, canaries=canaries)
    played.record["cpu_seconds"] = time.process_time() - begun
    return played


def require_additive(attacked: Attacked, items: Sequence[Item]) -> None:
    """Pass if what examples add together is the sum of what each adds.

    Raises:
        NotReadable: it is not, so that no sum can be taken apart.
    """
    for release in attacked.releases[:2]:
        mine = [one.moved for one in items if one.slot == release.slot][:2]
        if not mine:
            continue
        index = np.concatenate(mine)
        one_by_one = [attacked.row.added(release, index[[k]]) for k in range(len(index))]
        if not np.allclose(np.sum(one_by_one, axis=0), attacked.row.added(release, index), atol=1e-6):
            raise NotReadable("what examples add to a sum depends on the other examples")


def _played(attacked: Attacked, items: Sequence[Item], worlds: int) -> SumsAudit:
    row = attacked.row
    largest, mu = max((len(one.moved) for one in items), default=1), row.charged_mu
    epsilon = None if mu is None else epsilon_of_mu(largest * mu, row.plan.accounting_delta)
    asked, missing = asked_by_slot(attacked, items), list[str]()

    def tried(name: str, play: Callable[[], T], instead: T) -> T:
        try:
            return play()
        except (AttackError, EvaluationError) as error:
            missing.append(f"{name} in the sums of {row.plan.name}: {error}")
            return instead

    nothing: dict[str, Any] = {}
    games = tried("membership", lambda: run_games(attacked, asked, epsilon), list[RunGame]())
    single = tried("one example", lambda: rehearse_one_example(attacked, asked, worlds), list[Rehearsal]())
    of_rare = tried("items of rare classes", lambda: rehearse_rare_items(attacked, asked), list[Rehearsal]())
    record: dict[str, Any] = {
        "row": row.plan.name, "noise": row.plan.noise, "mu": mu_record(attacked),
        "games": [*_of_the_run(games), *map(_rehearsed, [*single, *of_rare])],
        "persons": tried("persons", lambda: play_persons(attacked), nothing),
        "few": tried("few examples", lambda: play_few(attacked), nothing),
    }  # fmt: skip
    missing += _missing(attacked, games)
    if "missing" in record["persons"]:
        missing.append(record["persons"].pop("missing"))
    return SumsAudit(record | {"missing": missing}, tuple(one.outcome for one in games))


def mu_record(attacked: Attacked) -> dict[str, Any] | None:
    """Return mu of one example: as charged, under the noise that should be there, and under the run's own noise.

    The run's noise is what is left of its sums once every example is taken off; each entry is a draw of it. `exceeds`:
    at the audit's confidence the run's noise allows a larger mu than the ledger was charged. That is conditional on the
    declared family: the same mechanism with another amount of noise.
    """
    row = attacked.row
    if row.charged_mu is None:
        return None
    by_phase: dict[str, list[Release]] = {}
    for release in attacked.releases:
        by_phase.setdefault(row.plan.phase(release.in_slot), []).append(release)
    present, colluders, found, sure = [], [], [], []
    for releases in by_phase.values():
        weight = row.upload(releases[0]).sensitivity_l2 or 1.0
        noise = np.concatenate([attacked.noise(one, True) for one in releases])
        worst = min(one.deviation() for one in releases)
        hidden = min(one.deviation(row.plan.config.privacy.colluders) for one in releases)
        present.append(weight / worst)
        colluders.append(weight / hidden)
        found.append(noise_found(noise))
        sure.append(noise_found(noise, 1.0 - (1.0 - LOUD) / len(by_phase)))
    value, low, high = (
        composed([mu / getattr(one, side) for mu, one in zip(present, found, strict=True)])
        for side in ("ratio", "high", "low")
    )
    surely = composed([mu / one.high for mu, one in zip(present, sure, strict=True)])
    return {
        "ledger": row.charged_mu, "present": composed(present), "with_colluders": composed(colluders),
        "run": value, "low": low, "high": high, "entries": sum(one.entries for one in found),
        "surely": surely, "confidence": LOUD, "exceeds": surely > row.charged_mu,
        "shares": {"in_the_sum": min(len(one.clients) for one in attacked.releases), "charged_for": _honest(row)},
    }  # fmt: skip


def _honest(row: SumsRow) -> int:
    noise = next(iter(row.plan.noises.values()))
    return noise.honest if row.plan.noise == "shared" else 1


def _of_the_run(games: Sequence[RunGame]) -> list[dict[str, Any]]:
    """Return the games on the run itself with their verdicts, corrected for how many there are (Holm)."""
    adjusted = {(d.attack, d.target): d.adjusted for d in discoveries([game.outcome for game in games])}
    found = []
    for game in games:
        one = game.outcome
        p = adjusted.get((one.attack, one.terms.target), one.p_value if one.terms.control == "without noise" else None)
        enough = auc_power(LEAK, one.n_members, one.n_nonmembers, level=LEVEL / max(len(adjusted), 1)) >= 0.95
        verdict = "void" if one.void else "found" if p is not None and p < LEVEL else (
            "not found" if enough else "could not have been found"
        )  # fmt: skip
        found.append(
            {"question": one.terms.target, "known": game.known, "stage": "run", "noise": game.noise, "trials": 1,
             "members": one.n_members, "others": one.n_nonmembers, "auc": one.auc.value, "low": one.auc.low,
             "high": one.auc.high, "mu": None, "adjusted_p": p, "verdict": verdict, "curve": []}
        )  # fmt: skip
    return found


def _rehearsed(one: Rehearsal) -> dict[str, Any]:
    game = one.game
    verdict = "found" if game.auc.low > 0.5 else "not found" if game.auc.high < LEAK else "could not have been found"
    return {
        "question": one.question, "known": one.known, "stage": "rehearsal", "noise": one.noise, "trials": game.trials,
        "members": game.trials, "others": game.trials, "auc": game.auc.value, "low": game.auc.low,
        "high": game.auc.high, "mu": _finite(game.mu), "mu_low": _finite(game.mu_low), "mu_high": _finite(game.mu_high),
        "adjusted_p": None, "verdict": verdict, "curve": [list(point) for point in game.curve],
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _missing(attacked: Attacked, games: Sequence[RunGame]) -> list[str]:
    name, found = attacked.row.plan.name, [f"retained or merely seen: {attacked.row.plan.name} keeps no example"]
    if attacked.left_out:
        found.append(
            f"sums of {name}: {attacked.left_out} releases of a later exchange hold more than {attacked.most} examples "
            "and were not attacked, to save time"
        )
    if not games:
        found.append(f"membership in the sums of {name} in the run itself: no coins held any item out")
    return found
