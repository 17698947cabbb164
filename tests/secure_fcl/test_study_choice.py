"""A private choice: drawn once, hidden while it runs, and nothing but the best run afterwards."""

import json
import stat
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from privacy.accountants import ORDERS, RdpAccountant
from privacy.selection import selected_epsilon
from secure_fcl.cli.commands import app
from secure_fcl.errors import ConfigInvalid, RunFolderError
from secure_fcl.rows.budgets import planned_budget
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.prepare import prepare
from secure_fcl.studies import Study, choose, choosing, conduct, status, study_of
from secure_fcl.studies.bound import Bound, bound
from secure_fcl.studies.crew import News, Order

TREE: dict[str, Any] = {
    "base": {
        "workers": 1, "data": {"name": "digits"}, "privacy": {"max_dropouts": 1},
        "scenario": {"partition": "iid", "clients": 4, "tasks": 2},
    },
    "grid": {"epsilon": [1.0, 2.0, 4.0]},
    "private_selection": {"distribution": "negative-binomial", "eta": 0.0, "mean": 5.0, "test_data": "public"},
}  # fmt: skip
COST = Bound(epsilon=3.0, delta=1e-5, accounting=1e-5, cells=3, openly=4.0)
Scores = dict[int, float | None]


def study(**changed: Any) -> Study:
    return study_of(TREE | changed)


class Faked:
    """A crew that writes down given scores instead of running anything; a run without one fails."""

    scores: ClassVar[Scores] = {}
    begun: ClassVar[list[int]] = []
    stop_after: ClassVar[int] = 10**9

    def __init__(self, jobs: int) -> None:
        return

    def __enter__(self) -> "Faked":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def work(self, orders: Iterable[Order], told: Callable[[News], None], stopped: Callable[[], bool]) -> None:
        # Later orders end first, as they may with several jobs.
        for order in reversed([*orders]):
            if len(self.begun) >= self.stop_after:
                raise Interrupted
            number = int(order.name)
            self.begun.append(number)
            told(News(order=order, kind="started"))
            score = self.scores.get(number)
            final = {"kind": "final", "micro": score, "forgetting": score}
            (order.run / "metrics.jsonl").write_text(json.dumps(final) + "\n")
            told(News(order=order, kind="failed" if score is None else "finished", sentence="no memory left"))


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> type[Faked]:
    def published(run: Path, place: Path, *_: object) -> None:
        run.rename(place)

    monkeypatch.setattr(choosing, "Crew", Faked)
    monkeypatch.setattr(choosing, "bound", lambda *_: COST)
    monkeypatch.setattr(choosing, "publish", published)
    Faked.begun, Faked.stop_after, Faked.scores = [], 10**9, {}
    return Faked


def draw(monkeypatch: pytest.MonkeyPatch, cells: list[int]) -> None:
    """Let the secret draws give these cells."""
    left = iter(cells)
    monkeypatch.setattr(choosing, "draw_runs", lambda law: len(cells))
    monkeypatch.setattr(choosing.secrets, "randbelow", lambda n: next(left))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != ".lock"}


def test_only_the_best_run_is_left(faked: type[Faked], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    draw(monkeypatch, [0, 2, 1, 1])
    faked.scores = {0: 0.5, 1: 0.7, 2: None, 3: 0.7}
    said: list[str] = []
    chosen = choose(study(), tmp_path, said.append)
    # Of equals the first drawn, although the other ended before it.
    assert (chosen.run, chosen.score) == (tmp_path / "winner", 0.7)
    assert "epsilon 4" in (chosen.cell or "")
    assert "epsilon = 4.0" in (tmp_path / "winner" / "config.toml").read_text()
    assert names(tmp_path) == {"winner", "winner.json", "selection.json", "study.html"}
    # Nothing said, and nothing left, tells how many runs there were, or that one failed.
    assert len(said) == 1
    for text in (said[0], (tmp_path / "selection.json").read_text(), (tmp_path / "winner.json").read_text()):
        assert "no memory left" not in text
        assert "[0, 2, 1, 1]" not in text
    assert "started" not in json.loads((tmp_path / "winner" / "environment.json").read_text())


def test_what_is_hidden_is_for_its_owner_alone(
    faked: type[Faked], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    draw(monkeypatch, [0, 1, 2])
    faked.scores, faked.stop_after = {2: 0.5, 1: 0.2, 0: 0.1}, 2
    with pytest.raises(Interrupted):
        choose(study(), tmp_path)
    hidden = tmp_path / ".selection"
    assert stat.S_IMODE(hidden.stat().st_mode) == 0o700
    for name in ("drawn.json", "scores.json"):
        assert stat.S_IMODE((hidden / name).stat().st_mode) == 0o600
    # Run 1 ended and is not the best: it is gone already.
    assert names(hidden / "runs") == {"2"}
    assert status(tmp_path) == {
        "private_selection": json.loads((tmp_path / "selection.json").read_text()),
        "finished": False,
    }
    shown = CliRunner().invoke(app, ["study", "status", str(tmp_path)]).stdout
    assert "has not finished; nothing else is shown" in shown
    assert not set("0123456789") & set(shown)


def test_a_number_once_drawn_survives(faked: type[Faked], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    draw(monkeypatch, [0, 1, 2])
    faked.scores, faked.stop_after = {0: 0.1, 1: 0.2, 2: 0.15}, 1
    with pytest.raises(Interrupted):
        choose(study(), tmp_path)

    def again(law: object) -> int:
        raise AssertionError("drawn twice")

    monkeypatch.setattr(choosing, "draw_runs", again)
    faked.stop_after = 10**9
    chosen = choose(study(), tmp_path)
    assert chosen.score == 0.2
    assert faked.begun == [2, 1, 0]
    # A finished choice is read, and nothing runs.
    assert choose(study(), tmp_path) == chosen
    assert faked.begun == [2, 1, 0]


def test_what_was_drawn_may_not_be_drawn_again(
    faked: type[Faked], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    draw(monkeypatch, [0, 1])
    faked.stop_after = 0
    with pytest.raises(Interrupted):
        choose(study(), tmp_path)
    with pytest.raises(RunFolderError, match="another grid"):
        choose(study(grid={"epsilon": [1.0]}), tmp_path)
    with pytest.raises(RunFolderError, match="another grid"):
        choose(study(private_selection=TREE["private_selection"] | {"mean": 6.0}), tmp_path)
    with pytest.raises(RunFolderError, match="may not be run and shown"):
        conduct(study().cells, tmp_path)
    (tmp_path / ".selection" / "drawn.json").unlink()
    with pytest.raises(RunFolderError, match="may not be drawn again"):
        choose(study(), tmp_path)


@pytest.mark.parametrize("cells", [[], [0, 1]])
def test_no_run_and_none_that_finished_look_alike(
    cells: list[int], faked: type[Faked], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    draw(monkeypatch, cells)
    chosen = choose(study(), tmp_path)
    assert (chosen.run, chosen.cell, chosen.score, chosen.epsilon) == (None, None, None, 3.0)
    assert names(tmp_path) == {"winner.json", "selection.json", "study.html"}


def test_less_forgetting_is_better(faked: type[Faked], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    draw(monkeypatch, [0, 1])
    faked.scores = {0: 0.3, 1: 0.1}
    chosen = choose(study(private_selection=TREE["private_selection"] | {"score": "forgetting"}), tmp_path)
    assert "epsilon 2" in (chosen.cell or "")


def test_private_test_data_are_scored_with_noise(
    faked: type[Faked], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    section = TREE["private_selection"] | {"test_data": "private", "score_noise": 5.0}
    scores = set()
    for number in range(3):
        draw(monkeypatch, [0])
        faked.scores = {0: 0.5}
        scores.add(choose(study(private_selection=section), tmp_path / str(number)).score)
    assert len(scores) > 1
    windows = len(prepare(study().cells[0].config).scenario.test_indices())
    assert all(score is not None and abs(score - 0.5) < 50 / windows for score in scores)


def test_the_bound_is_of_the_worst_cell() -> None:
    # The worst stands in the middle.
    asked = study(grid={"epsilon": [1.0, 4.0, 2.0]})
    assert asked.choice is not None
    found = bound(asked.cells, asked.choice)
    ((plan, _),) = prepare(asked.cells[1].config).rows
    budget = planned_budget(plan)
    assert budget is not None
    (events,) = {one.planned for one in budget.cohorts.values()}
    curve = RdpAccountant().curve(dict(events))
    assert len(curve) == len(ORDERS)
    assert found.epsilon == pytest.approx(selected_epsilon(asked.choice.runs, curve, found.accounting), rel=1e-3)
    # Charging one run alone would say the cell's own budget.
    assert found.epsilon > 1.3 * budget.epsilon
    one = bound(asked.cells[:1], asked.choice)
    assert one.epsilon < found.epsilon / 2
    noisy = replace(asked.choice, score_noise=1.0)
    assert bound(asked.cells, noisy).epsilon > found.epsilon


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"grid": {"epsilon": [1.0, float("inf")]}}, "epsilon inf, plain, seed 1 has no guarantee"),
        ({"base": TREE["base"] | {"replay_noise": True}}, "repeats its noise"),
        ({"base": TREE["base"] | {"attacks": {"enabled": True}}}, "audit the winner"),
        ({"grid": {"data.name": ["digits", "hapt"]}}, "cells differ in [data]"),
        ({"private_selection": TREE["private_selection"] | {"delta": 1e-12}}, "private_selection.delta = 1e-12"),
    ],
)
def test_cells_that_show_more_are_refused(changed: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        choose(study(**changed), tmp_path / "out")
    assert named in str(caught.value)
    assert names(tmp_path / "out") == set()


@pytest.mark.slow
@pytest.mark.parametrize("test_data", ["public", "private"])
def test_the_winner_carries_the_certificate_of_the_choice(
    test_data: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    draw(monkeypatch, [0, 2])
    private = test_data == "private"
    section = TREE["private_selection"] | {"test_data": test_data} | ({"score_noise": 3.0} if private else {})
    chosen = choose(study(private_selection=section), tmp_path / "out")
    assert chosen.run is not None
    row = json.loads((chosen.run / "certificate.json").read_text())["rows"]["class_sums"]
    assert row["epsilon"] == chosen.epsilon > row["epsilon_of_one_run"]
    text = (chosen.run / "certificate.txt").read_text()
    assert f"epsilon: {chosen.epsilon:.4g} at delta 1e-05" in text
    assert "the best of a hidden number of runs over 3" in " ".join(text.split())
    assert (chosen.run / "metrics.jsonl").read_text().count("\n") == (0 if private else 5)
    assert not (chosen.run / "simulation").exists()
    costs = [json.loads(line) for line in (chosen.run / "cost.jsonl").read_text().splitlines()]
    assert [(cost["seconds"], cost["wall"]) for cost in costs] == [({}, None)] * 2
    assert len({path.stat().st_mtime_ns for path in chosen.run.rglob("*")}) == 1
    for command in (["verify", str(chosen.run)], ["report", str(chosen.run)]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
