"""Choosing the best cell of a study so that the choice is charged: a hidden number of runs, of which one is shown.

Papernot and Steinke 2022 ask that nothing leaves but the best run. So the number of runs and the cells are drawn once,
before the first; every run lies in a folder that only its owner may open; a run that is not the best is deleted as soon
as that is known; and what is left at the end carries no hour and no number of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.files import atomic_write, read_json, read_jsonl, write_json
from evaluation.strict_json import to_json
from privacy.randomness import system_bytes
from privacy.selection import draw_runs
from privacy.skellam import sample_skellam
from secure_fcl.errors import RunFolderError
from secure_fcl.rows.schedule import written_out
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare
from secure_fcl.studies.bound import Bound, bound
from secure_fcl.studies.choice import Choice
from secure_fcl.studies.crew import Crew, News, Order, shares
from secure_fcl.studies.grid import Cell, Study
from secure_fcl.studies.notes import SELECTION, WINNER
from secure_fcl.studies.results import write_study_page
from secure_fcl.studies.running import Say, held
from secure_fcl.studies.winner import publish, without_hour

_HIDDEN, _DRAWN, _SCORES = ".selection", "drawn.json", "scores.json"
_ANEW = "start it in another folder, and count both: a choice made again is a second release of the same data"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a private choice shows: the best run's folder and cell, its score, and what the choice cost.

    All three are None where no run was drawn, or none finished.
    """

    run: Path | None
    cell: str | None
    score: float | None
    epsilon: float
    delta: float

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "run": None if self.run is None else str(self.run), "cell": self.cell, "score": self.score,
            "epsilon": self.epsilon, "delta": self.delta, "choice_charged": True,
        }  # fmt: skip


def choose(
    study: Study,
    folder: Path,
    say: Say = lambda text: None,
    stopped: Callable[[], bool] = lambda: False,
    jobs: int | None = None,
) -> Chosen:
    """Run a hidden number of cells drawn at random, and show the best of them; a finished choice is only read.

    Nothing is said of how far it is. A run that fails has the worst score and is not tried again.

    Args:
        study: of `open_study`, with a choice.
        folder: of the study, made if it is not there; the best run becomes `winner` in it.
        say: told of what is no secret.
        stopped: asked between rounds; the same call continues.
        jobs: as in `secure_fcl.studies.conduct`.

    *Guarantee*: `epsilon` at `delta` for one example of the unit that the winner's certificate names, against who sees
    the folder when it is done, but not when it was done (the time it took tells something of the number of runs),
    and saw nothing before. Who sees the runs themselves, as a server does, sees each, and they add up.

    Raises:
        ConfigInvalid: a cell has no guarantee, or shows more than its run.
        RunFolderError: the folder is of another grid or of an ordinary study, or what was drawn is gone.
        Interrupted: `stopped()` became true.
        RunInUse: another process chooses in the folder.
    """
    assert study.choice is not None
    with held(folder):
        known = _winner(folder)
        _require_own(folder, study)
        if known is not None:
            return known
        cost = bound(study.cells, study.choice, say)
        say(
            f"the best of a hidden number of runs over {cost.cells} cells: epsilon {cost.epsilon:.4g} at delta "
            f"{cost.delta:g} (each cell once and all shown: {cost.openly:.4g}); nothing is shown until it is chosen"
        )
        hidden = _Hidden.of(folder, study, cost)
        work = _Choosing(study.cells, study.choice, hidden)
        work.work(stopped, jobs)
        return _show(folder, study, cost, work)


def _winner(folder: Path) -> Chosen | None:
    path = folder / WINNER
    if not path.exists():
        return None
    found = read_json(path)
    run = folder / "winner" if found["cell"] is not None else None
    _delete(folder / _HIDDEN)
    return Chosen(
        run=run, cell=found["cell"], score=found["score"], epsilon=found["epsilon"], delta=found["delta"]
    )  # fmt: skip


def _digest(study: Study) -> str:
    assert study.choice is not None
    named = {"cells": [cell.key for cell in study.cells], "choice": study.choice.to_json()}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def _require_own(folder: Path, study: Study) -> None:
    """Refuse a folder in which something else was begun, or of which a part is gone."""
    if (folder / "runs").exists():
        raise RunFolderError(
            f"{folder} holds the runs of a study whose choice is not charged, and they were seen; choose privately in "
            "another folder, and count both"
        )
    if not (folder / SELECTION).exists():
        return
    if read_json(folder / SELECTION)["grid_sha256"] != _digest(study):
        raise RunFolderError(
            f"{folder} was begun with another grid or private_selection, which was fixed when the number of runs was "
            f"drawn; restore the study file, or {_ANEW}"
        )
    if not (folder / WINNER).exists() and not (folder / _HIDDEN / _DRAWN).exists():
        raise RunFolderError(f"what was drawn for {folder} is gone, and may not be drawn again; {_ANEW}")


@dataclass(frozen=True, eq=False)
class _Hidden:
    """The folder that nobody but its owner opens, and the cells drawn: as many as there are runs. Never prints."""

    path: Path
    cells: tuple[int, ...] = field(repr=False)

    @staticmethod
    def of(folder: Path, study: Study, cost: Bound) -> _Hidden:
        """Return what was drawn for a study; the first call draws it, and writes it down before anything runs."""
        assert study.choice is not None
        path, digest = folder / _HIDDEN, _digest(study)
        path.mkdir(mode=0o700, exist_ok=True)
        drawn = path / _DRAWN
        if not drawn.exists():
            cells = [secrets.randbelow(len(study.cells)) for _ in range(draw_runs(study.choice.runs))]
            atomic_write(drawn, to_json({"grid_sha256": digest, "cells": cells}), mode=0o600)
        kept = read_json(drawn)
        if kept["grid_sha256"] != digest:
            raise RunFolderError(f"{folder} was begun with another grid or private_selection; restore the study file")
        if not (folder / SELECTION).exists():
            write_json(folder / SELECTION, {"grid_sha256": digest, **study.choice.to_json(), **cost.to_json()})
        return _Hidden(path, tuple(kept["cells"]))

    def run(self, number: int) -> Path:
        """Return the folder of a run."""
        return self.path / "runs" / str(number)

    def scores(self) -> dict[int, float | None]:
        """Return the scores of the runs that ended, None where one failed."""
        path = self.path / _SCORES
        return {int(number): score for number, score in read_json(path).items()} if path.exists() else {}

    def keep(self, scores: dict[int, float | None]) -> None:
        """Write the scores down, and delete every run that ended and is not the best so far."""
        atomic_write(self.path / _SCORES, to_json({str(number): score for number, score in scores.items()}), mode=0o600)
        for number in scores:
            if number != best(scores):
                _delete(self.run(number))


def _delete(path: Path) -> None:
    # What cannot be deleted is no longer hidden, so that is an error and nothing to pass over.
    if path.exists():
        shutil.rmtree(path)


def best(scores: dict[int, float | None]) -> int | None:
    """Return the run of the highest score, the first drawn among equals; None if none finished.

    Runs are drawn alike, so the first among equals is as good as one drawn among them; which one *ended* first would
    tell something of time.
    """
    finished = [(-score, number) for number, score in scores.items() if score is not None]
    return min(finished)[1] if finished else None


class _Choosing:
    """The runs of a choice under way."""

    def __init__(self, cells: Sequence[Cell], choice: Choice, hidden: _Hidden) -> None:
        self._cells = cells
        self._choice = choice
        self.hidden = hidden
        self.scores = hidden.scores()

    def cell(self, number: int) -> Cell:
        """Return the cell that a run is of."""
        return self._cells[self.hidden.cells[number]]

    def work(self, stopped: Callable[[], bool], jobs: int | None) -> None:
        """Run what has not ended."""
        self.hidden.keep(self.scores)
        numbers = [number for number in range(len(self.hidden.cells)) if number not in self.scores]
        # By the grid, which is public: how many run at once may not depend on how many there are.
        count, workers = shares((cell.config for cell in self._cells), jobs)
        orders = [
            Order(name=str(n), run=self.hidden.run(n), workers=workers(self.cell(n).config), train_only=True)
            for n in numbers
        ]
        with Crew(count) as crew:
            crew.work(orders, self._told, stopped)

    def _told(self, news: News) -> None:
        number = int(news.order.name)
        if news.kind == "started" and not (news.order.run / "state.json").exists():
            without_hour(
                RunFolder.create(news.order.run.parent, written_out(self.cell(number).config), news.order.name)
            )
        elif news.kind in ("finished", "failed"):
            self.scores[number] = self._score(number) if news.kind == "finished" else None
            self.hidden.keep(self.scores)

    def _score(self, number: int) -> float | None:
        cell, run = self.cell(number), self.hidden.run(number)
        final = next(r for r in read_jsonl(run / "metrics.jsonl").records if r["kind"] == "final")
        value = final[self._choice.score]
        if value is None:
            return None
        if self._choice.score_noise is None:
            return -float(value) if self._choice.score == "forgetting" else float(value)
        windows = len(prepare(cell.config).scenario.test_indices())
        noise = int(sample_skellam(self._choice.score_noise**2, 1, system_bytes)[0])
        return (round(float(value) * windows) + noise) / windows


def _show(folder: Path, study: Study, cost: Bound, work: _Choosing) -> Chosen:
    """Make the best run public, then delete all else."""
    assert study.choice is not None
    number = best(work.scores)
    found: dict[str, Any] = {"cell": None, "score": None}
    if number is not None:
        if not (folder / "winner").exists():
            publish(work.hidden.run(number), folder / "winner", work.cell(number), study.choice, cost)
        found = {"cell": work.cell(number).label, "score": work.scores[number]}
    write_json(folder / WINNER, found | {"epsilon": cost.epsilon, "delta": cost.delta})
    chosen = _winner(folder)
    assert chosen is not None
    for path in (write_study_page(folder), folder / WINNER, folder / SELECTION):
        os.utime(path)
    return chosen
