"""Folders that were made when Skellam noise was accounted by its Renyi bound alone go on, and verify."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from privacy import Ledger, NonPrivate, PldAccountant, RdpAccountant, SampledGaussian
from privacy.events import Event
from secure_fcl.config import Config
from secure_fcl.errors import RunFolderError
from secure_fcl.rows.build import calibrated_row
from secure_fcl.runner import resume, train, verify
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.kept_noise import as_begun
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.prepare import prepare
from secure_fcl.running.records import Tick
from secure_fcl.streams import Scenario

FOLDER = Path(__file__).parents[2] / "recorded" / "folders" / "format-1"


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Until `undo`: privacy loss distributions know no Skellam event, as before."""

    def supports(self: PldAccountant, event: Event) -> bool:
        return isinstance(event, SampledGaussian | NonPrivate)

    monkeypatch.setattr(PldAccountant, "supports", supports)
    return monkeypatch


def certificate(path: Path) -> dict:
    found: dict = json.loads((path / "certificate.json").read_text(encoding="utf-8"))["rows"]["class_sums"]
    return found


def test_a_run_of_before_goes_on_with_its_own_noise(
    older: pytest.MonkeyPatch, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = make_config('rows=["class_sums"]', "replay_noise=true")
    begun = prepare(config)
    ticks: list[Tick] = []
    with pytest.raises(Interrupted):
        train(begun, RunFolder.create(tmp_path, config, "run"), ticks.append, lambda: len(ticks) == 1)
    older.undo()
    ((_, before),), ((_, anew),) = begun.rows, prepare(config).rows
    assert anew < 0.97 * before
    again, folder = resume(tmp_path / "run")
    assert [multiplier for _, multiplier in again.rows] == [before]
    train(again, folder, ticks.append)
    with Ledger(folder.ledger_path("class_sums")) as ledger:
        assert len(ledger) == len(ticks) == 2
        assert not [what for what in ledger.labels if "retired" in what]
        assert {len(events) for events in ledger.spent().values()} == {1}
    # More noise than today's accountants ask for, so less epsilon than the budget.
    stated = certificate(folder.path)
    assert stated["noise_multiplier"] == before
    assert stated["epsilon"] < 0.97 * config.section("class_sums").epsilon
    assert not verify(folder.path, None).misfits


def test_a_finished_run_of_before_verifies_and_keeps_its_certificate(
    older: pytest.MonkeyPatch, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = make_config('rows=["class_sums"]', "replay_noise=true")
    train(prepare(config), RunFolder.create(tmp_path, config, "run"))
    stated = certificate(tmp_path / "run")
    assert (stated["accountant"], stated["cohorts"][0]["epsilon_pld"]) == ("RDP", None)
    older.undo()
    found = verify(tmp_path / "run", None)
    assert not found.misfits
    assert "certificate.json: row class_sums states no less epsilon than its ledger and budget give" in found.held
    again, folder = resume(tmp_path / "run")
    train(again, folder)
    assert certificate(tmp_path / "run") == stated


def test_the_recorded_folder_is_one_of_before() -> None:
    stated = certificate(FOLDER)
    assert (stated["accountant"], stated["cohorts"][0]["epsilon_pld"]) == ("RDP", None)


@pytest.mark.parametrize(
    ("name", "settings"), [("class_sums", ()), ("calm", ()), ("replay", ("replay.noise=shared", "replay.epsilon=2"))]
)
def test_renyi_accounting_finds_the_noise_of_before_to_the_last_bit(
    older: pytest.MonkeyPatch,
    make_config: Callable[..., Config],
    tiny_scenario: Scenario,
    name: str,
    settings: tuple[str, ...],
) -> None:
    config = make_config(*settings)
    before = calibrated_row(config, tiny_scenario, name)[1]
    older.undo()
    assert calibrated_row(config, tiny_scenario, name, RdpAccountant())[1] == before
    assert calibrated_row(config, tiny_scenario, name)[1] < before


def test_noise_that_no_accounting_finds_is_refused(make_config: Callable[..., Config], tmp_path: Path) -> None:
    config = make_config('rows=["class_sums"]', "replay_noise=true")
    ready, folder = prepare(config), RunFolder.create(tmp_path, config, "run")
    assert as_begun(ready, folder).rows == ready.rows
    other = prepare(make_config('rows=["class_sums"]', "replay_noise=true", "class_sums.epsilon=3.3"))
    with pytest.raises(Interrupted):
        train(other, folder, stopped=lambda: True)
    with pytest.raises(RunFolderError, match=r"row class_sums of .* began with other noise than .*start a new run"):
        as_begun(ready, folder)
