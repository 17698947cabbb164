"""The attacks on released sums as text and as one figure: what was asked, of whom, and what the noise protects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluation.canvas import INK, SERIES, empty_panel, render
from evaluation.run_folder import Run, mapping, number, objects
from evaluation.tables import MISSING, Table, epsilon_above, percent, quantity, with_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MU_COLUMNS = (
    "row", "verdict", "charged", "the noise that is there", "with colluders", "measured in the run's noise",
    "the best attack", "worlds",
)  # fmt: skip


def sums_of(run: Run, row: str | None = None) -> list[dict[str, Any]]:
    """The audit's records of attacks on sums, of one row or of all."""
    return [one for one in objects(mapping(run.attacks).get("sums")) if row is None or one.get("row") == row]


def exceeded(run: Run, row: str) -> bool:
    """Whether the noise in a row's sums allows more than its ledger was charged."""
    return any(bool(mapping(one.get("mu")).get("exceeds")) for one in sums_of(run, row))


def run_games(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Games on the run itself, as it ran: with its noise where it has any, and none that is void."""
    private = bool(mapping(record.get("mu")))
    noise = "as ran" if private else "off"
    games = objects(record.get("games"))
    return [g for g in games if g.get("stage") == "run" and g.get("noise") == noise and g.get("verdict") != "void"]


def mus(run: Run) -> Table:
    """Mu of one example by row: as charged, under the noise that is there, measured, and what an attack got."""
    lines = []
    for record in sums_of(run):
        mu, best = mapping(record.get("mu")), _best(record)
        if not mu:
            continue
        said = "more than charged" if mu.get("exceeds") else "as charged"
        shares = mapping(mu.get("shares"))
        present = f"{quantity(mu.get('present'))} ({shares.get('in_the_sum', '?')} shares"
        lines.append(
            (
                str(record.get("row", "?")), said, quantity(mu.get("ledger")),
                f"{present}, {shares.get('charged_for', '?')} charged for)", quantity(mu.get("with_colluders")),
                with_interval(mu.get("run"), mu.get("low"), mu.get("high")),
                with_interval(best.get("mu"), best.get("mu_low"), best.get("mu_high")),
                str(best.get("trials", MISSING)),
            )
        )  # fmt: skip
    return Table(MU_COLUMNS, tuple(lines), 2)


def _best(record: dict[str, Any]) -> dict[str, Any]:
    """The rehearsal of one example by who knows all others, with the noise."""
    games = objects(record.get("games"))
    return next((g for g in games if g.get("question") == "one example" and g.get("noise") == "as ran"), {})


def games(run: Run) -> Table:
    """One line per game on sums: the question, what the adversary knows, where it was played, and the verdict."""
    columns = ("question", "the adversary knows", "played on", "noise", "verdict", "members / others", "AUC", "mu",
               "adjusted p")  # fmt: skip
    lines = [
        (
            _question(record, game), str(game.get("known", "?")), _stage(game), str(game.get("noise", "?")),
            str(game.get("verdict", "?")), f"{game.get('members', '?')} / {game.get('others', '?')}",
            with_interval(game.get("auc"), game.get("low"), game.get("high")),
            with_interval(game.get("mu"), game.get("mu_low"), game.get("mu_high"), 2), _p(game.get("adjusted_p")),
        )
        for record in sums_of(run)
        for game in objects(record.get("games"))
    ]  # fmt: skip
    lines += [
        (
            f"a whole person in {record.get('row', '?')}", str(game.get("known", "?")), _WORLDS,
            str(game.get("noise", "?")), _found(game),
            f"{mapping(record.get('persons')).get('persons', '?')} persons",
            with_interval(game.get("auc"), game.get("low"), game.get("high")), MISSING, MISSING,
        )
        for record in sums_of(run)
        for game in objects(mapping(record.get("persons")).get("games"))
    ]  # fmt: skip
    return Table(columns, tuple(lines), 5)


_WORLDS = "worlds played anew"


def _question(record: dict[str, Any], game: dict[str, Any]) -> str:
    asked, row = str(game.get("question", "?")), str(record.get("row", "?"))
    return asked.split(", knowing")[0] if game.get("stage") == "run" else f"{asked} in the sums of {row}"


def _stage(game: dict[str, Any]) -> str:
    return "the run itself" if game.get("stage") == "run" else f"{_WORLDS}, {game.get('trials', '?')}"


def _found(game: dict[str, Any]) -> str:
    low, high = number(game.get("low")), number(game.get("high"))
    if low is None or high is None:
        return MISSING
    return "found" if low > 0.5 else "not found" if high < 0.6 else "could not have been found"


def _p(value: object) -> str:
    known = number(value)
    return MISSING if known is None else "<0.001" if known < 0.001 else f"{known:.3f}"


def told(run: Run) -> Table:
    """What else sums tell: of persons, of classes that arrive, of few examples' mean and of the examples."""
    lines: list[tuple[str, ...]] = []
    for record in sums_of(run):
        row, persons, few = str(record.get("row", "?")), mapping(record.get("persons")), mapping(record.get("few"))
        lines += [(row, *line) for line in (*_persons(persons), *_arrival(few), *_means(few), *_products(few))]
    return Table(("row", "asked", "noise", "found"), tuple(lines), 4)


def _persons(persons: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = [
        (
            "what a person did most, all other persons known", str(one.get("noise", "?")),
            f"right for {percent(one.get('right'))} % [{percent(one.get('low'))}, {percent(one.get('high'))}] of "
            f"{one.get('persons', '?')}; by the others' alone {percent(one.get('blind'))} %",
        )
        for one in objects(persons.get("activity"))
    ]  # fmt: skip
    group = mapping(persons.get("group"))
    if group:
        epsilon = "" if number(group.get("epsilon")) is None else f"epsilon {epsilon_above(group.get('epsilon'))}, "
        found.append(
            (
                f"what the ledger says of everything of one person, {group.get('examples', '?')} examples at most",
                "as charged", f"mu {quantity(group.get('mu'), 1)}; {epsilon}{group.get('says', '')}",
            )
        )  # fmt: skip
    return found


def _arrival(few: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (
            "whether anybody has examples of an announced class", str(one.get("noise", "?")),
            f"shown in {one.get('shown', '?')} of {one.get('there', '?')} that have; from "
            f"{math.ceil(number(one.get('least')) or 0.0)} examples on with chance 95 %",
        )
        for one in objects(few.get("arrival"))
    ]  # fmt: skip


def _means(few: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = []
    for noise in ("as ran", "off"):
        known = [n for o in objects(few.get("means")) if o.get("noise") == noise
                 and (n := number(o.get("likeness"))) is not None]  # fmt: skip
        if known:
            text = f"correlation {min(known):.2f} to {max(known):.2f} in {len(known)} classes, 0 for a blind guess"
            found.append(("mean of a rare class, beyond what others of the class tell", noise, text))
    return found


def _products(few: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = []
    for one in objects(few.get("products")):
        noise, spanned = str(one.get("noise", "?")), number(one.get("span_auc"))
        if spanned is not None:
            asked = f"who lies in the span of the products of slot {int(number(one.get('slot')) or 0) + 1}"
            found.append((asked, noise, f"AUC {spanned:.2f}, {one.get('examples')} examples of rank {one.get('rank')}"))
        if number(one.get("rebuilt")):
            text = f"correlation {quantity(one.get('likeness'), 2)} with {one.get('rebuilt')} examples"
            found.append(("a client's only examples of a slot, all others known", noise, text))
    return found


@dataclass(frozen=True, kw_only=True)
class PowerLine:
    """What one row's trade-off figure shows: mu as charged and present, and an attack's (false alarms, found)."""

    row: str
    ledger: float
    present: float
    points: tuple[tuple[float, float], ...]


def power_lines(run: Run) -> tuple[PowerLine, ...]:
    """The rows of sums with a guarantee, for the figure."""
    found = []
    for record in sums_of(run):
        mu = mapping(record.get("mu"))
        ledger, present = number(mu.get("ledger")), number(mu.get("present"))
        curve = _best(record).get("curve")
        pairs = [p for p in curve if isinstance(p, list) and len(p) == 2] if isinstance(curve, list) else []
        points = tuple((a, b) for p in pairs if (a := number(p[0])) is not None and (b := number(p[1])) is not None)
        if ledger is not None and present is not None:
            found.append(PowerLine(row=str(record.get("row", "?")), ledger=ledger, present=present, points=points))
    return tuple(found)


def power_figure(lines: Sequence[PowerLine], name: str = "power") -> str:
    """Members found over false alarms: the ledger's limit, what the noise that is there allows, and what was found."""
    from scipy.special import ndtr, ndtri

    rates = [k / 100 for k in range(1, 100)]

    def draw(figure: Figure) -> None:
        if not lines:
            return empty_panel(figure.subplots(), "No row of sums has a guarantee.")
        panels = figure.subplots(1, len(lines), squeeze=False, sharey=True)[0]
        for axes, line in zip(panels, lines, strict=True):
            for mu, colour, dashes, label in (
                (line.ledger, INK, "-", "ledger"), (line.present, SERIES[0], "--", "noise that is there"),
            ):  # fmt: skip
                axes.plot(rates, [float(ndtr(ndtri(rate) + mu)) for rate in rates], color=colour, linestyle=dashes,
                          linewidth=1.4, label=label)  # fmt: skip
            if line.points:
                axes.plot(*zip(*line.points, strict=True), linestyle="none", marker="o", markersize=4.5,
                          color=SERIES[1], label="attack")  # fmt: skip
            axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=line.row, xlabel="false alarms")
        panels[0].set_ylabel("members found")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", fontsize=9, ncols=3)
        return None

    described = "Power of the best attack on one example beside trade-off curves, for " + (
        ", ".join(line.row for line in lines) or "no row"
    )
    return render(draw, width=4.7, height=3.2, name=name, description=described)
