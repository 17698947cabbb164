"""Whole runs whose rounds share a tree's noise: what ledger, certificate and report say, and that none goes on."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from scipy.optimize import brentq
from scipy.special import i0e
from scipy.stats import norm

from privacy import Ledger, SampledSkellam
from secure_fcl.config import Config
from secure_fcl.errors import RunFolderError
from secure_fcl.runner import resume, train, verify
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.prepare import prepare

DELTA = 1e-5
TREE = (
    "privacy.mechanism=tree", "scenario.kind=online", "online.segments=2", "training.q_current=1", "training.rounds=2",
    "training.model=softmax", 'rows=["finetune"]', "finetune.noise=shared", "finetune.epsilon=4",
)  # fmt: skip


def by_hand(event: SampledSkellam, releases: int) -> float:
    """Epsilon of Skellam releases by the Gaussian that dominates them (docs/skellam.md; Balle and Wang 2018, 8)."""
    mu = 2 * norm.ppf((1 + i0e(event.variance)) / 2) * event.l2 * releases**0.5
    left = DELTA - releases * event.failure
    return float(
        brentq(lambda e: norm.cdf(mu / 2 - e / mu) - norm.cdf(-mu / 2 - e / mu) * 2.718281828459045**e - left, 0, 50)
    )


def stopped_after(rounds: int, config: Config, folder: Path) -> Path:
    """A run that was stopped after so many rounds."""
    prepared, stops = prepare(config), count(1)
    run = RunFolder.create(folder, prepared.config, "run")
    with run.locked(), pytest.raises(Interrupted):
        train(prepared, run, stopped=lambda: next(stops) == rounds)
    return run.path


def test_a_ledger_is_one_tree_for_every_example_and_its_epsilon_that_by_hand(
    make_config: Callable[..., Config], tmp_path: Path, open_run: Callable[[Path], Any]
) -> None:
    # Stopped when all its sums are out: what is left needs none, and ends it.
    prepared, folder = resume(stopped_after(8, make_config(*TREE), tmp_path))
    with folder.locked():
        train(prepared, folder)
    run = open_run(folder.path)
    with Ledger(next((run.path / "ledger").glob("*.jsonl"))) as ledger:
        histories = {frozenset(events.items()) for events in ledger.spent().values()}
        rounds = len(ledger)
    # 8 rounds: nodes of 1, 2, 4 and 8 of them.
    (((event, releases),),) = histories
    assert (rounds, releases, event.q) == (8, 4, 1.0)
    certificate = run.certificate("finetune")
    assert certificate["epsilon"] == pytest.approx(by_hand(event, releases), rel=2e-3)
    assert certificate["epsilon"] == certificate["epsilon_of_what_ran"] <= 4.0
    assert "one binary tree of 8 rounds, one node a round with fresh Skellam noise" in certificate["mechanism"]
    assert "charged the whole tree once: 4 releases of multiplier" in certificate["mechanism"]
    assert certificate["sampling"].startswith("none: each example takes part in one round")
    assert certificate["storage"]["raw sums of open nodes"] == 8 * 650 * 4
    assert not verify(run.path).misfits


def test_an_interrupted_row_does_not_go_on(make_config: Callable[..., Config], tmp_path: Path) -> None:
    """A round that is drawn again would be another node of the same examples: it is refused, and charges nothing."""
    prepared, folder = resume(stopped_after(3, make_config(*TREE), tmp_path))
    path = folder.ledger_path("finetune")
    before = path.read_bytes()
    with folder.locked(), pytest.raises(RunFolderError, match="was interrupted after 3 of 8 rounds") as found:
        train(prepared, folder)
    assert "start a new run" in str(found.value)
    assert path.read_bytes() == before
