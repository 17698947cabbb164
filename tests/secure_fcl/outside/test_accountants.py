"""The how-to "add an accountant", performed: its two files in an empty folder, its commands in new processes."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from privacy import Charge, Cohort, NonPrivate, RdpAccountant, SampledGaussian, SkellamRelease, spent, statements, worst
from privacy.calibration import smallest_multiplier
from privacy.errors import BudgetUnreachable, ConformanceError
from secure_fcl.auditing.charges import cost
from secure_fcl.config import Config
from secure_fcl.config.accountants import accountant_of
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.build import calibrated_row
from secure_fcl.streams import Scenario

DELTA = 1e-5


def test_an_accountant_of_ones_own_is_planned_run_and_resumed(
    write_how_to: Callable[[str], Path], live_through: Callable[..., Path]
) -> None:
    folder = write_how_to("add-an-accountant")
    run = live_through(folder)
    (row,) = json.loads((run / "certificate.json").read_text())["rows"].values()
    # Calibrated to the budget by its own figure, which stands beside ours: smaller, as ours are tighter.
    assert row["accountant"] == "Mironov of lab:mine"
    assert 1.99 < row["epsilon"] <= 2.0
    assert row["accountant_built_in"] == "PLD"
    assert row["epsilon_built_in"] == max(cohort["epsilon_pld"] for cohort in row["cohorts"]) < 1.9
    text = " ".join((run / "certificate.txt").read_text().split())
    assert "(Mironov of lab:mine), worst cohort" in text
    assert "computed by: Mironov of lab:mine, which is not part of secure-fcl: it keeps the laws" in text
    assert f"own accountants give {row['epsilon_built_in']:.4g} (PLD) for the same ledger" in text
    assert "is by Mironov of lab:mine, code of the user" in (run / "report.html").read_text()
    (planned,) = json.loads((folder / "plan" / "plan.json").read_text())["rows"]
    assert planned["epsilon"] == pytest.approx(row["epsilon"])


class Scaled:
    """Our own accountant times a factor: for what others make of an accountant that claims less or more."""

    name = "scaled"

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def supports(self, event: object) -> bool:
        return RdpAccountant().supports(event)  # type: ignore[arg-type]

    def epsilon(self, events: object, delta: float) -> float:
        return self.factor * RdpAccountant().epsilon(events, delta)  # type: ignore[arg-type]


LAWLESS = """
import math
from privacy import RdpAccountant

class Ours(RdpAccountant):
    name = "mine"

class Cheap(Ours):
    def epsilon(self, events, delta): return 0.5 * super().epsilon(events, delta)

class Lax(Ours):
    def epsilon(self, events, delta): return super().epsilon({e: abs(n) for e, n in events.items()}, delta)

class Broken(Ours):
    def epsilon(self, events, delta): return events.sum() / 0

class Silent:
    name = "silent"
    def supports(self, event): return True

fine, cheap, lax, broken, silent = Ours(), Cheap(), Lax(), Broken(), Silent()
"""


def test_one_that_breaks_a_law_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_laws.py").write_text(LAWLESS)
    for name, said in {
        "own_laws:cheap": r"in .*own_laws\.py breaks a law: accountant 'mine': .* it claims .*, but .* is spent",
        "own_laws:lax": r"breaks a law: accountant 'mine' must refuse .* with InvalidParameter",
        "own_laws:broken": r"in .*own_laws\.py fails with AttributeError: ",
        "own_laws:silent": r"is of type Silent and has no epsilon; write in .*own_laws\.py what privacy\.Acc",
        "own_laws:Ours": r"is a class; write an object of it in .*own_laws\.py, accountant = Ours\(\)",
        "own_laws:absent": r"privacy\.accountant = 'own_laws:absent': .*own_laws\.py defines no 'absent'",
        "pld": r"privacy\.accountant = 'pld' is not of the form module:name; leave it empty",
    }.items():
        with pytest.raises(ConfigInvalid, match=said):
            accountant_of(name)
    fine = accountant_of("own_laws:fine")
    assert fine is not None
    assert fine.name == "mine"
    assert accountant_of("") is None


def test_calibration_keeps_the_budget_of_the_accountant_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_config: Callable[..., Config], tiny_scenario: Scenario
) -> None:
    def schedule(sigma: float) -> list[dict[SampledGaussian, int]]:
        return [{SampledGaussian(q=0.1, noise_multiplier=sigma): 100}]

    double = Scaled(2.0)
    found = smallest_multiplier(schedule, 4.0, DELTA, accountant=double)
    assert double.epsilon(schedule(found)[0], DELTA) <= 4.0 < double.epsilon(schedule(found / 1.01)[0], DELTA)
    assert found > smallest_multiplier(schedule, 4.0, DELTA)
    with pytest.raises(BudgetUnreachable, match="without any guarantee"):
        smallest_multiplier(schedule, 4.0, DELTA, accountant=Scaled(math.inf))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_rows.py").write_text(LAWLESS)
    ours, theirs = (
        calibrated_row(make_config(*settings), tiny_scenario, "finetune")[1]
        for settings in ((), ("privacy.accountant=own_rows:fine",))
    )
    # RDP alone certifies less than the smaller of RDP and PLD.
    assert theirs > 1.01 * ours


def test_statements_hold_both_figures() -> None:
    cohorts = [Cohort(group="all", arrival=task, chunk=0, fate="discarded") for task in range(3)]
    charges = [
        Charge(cohorts[0], SampledGaussian(q=0.1, noise_multiplier=1.0), 50),
        Charge(cohorts[1], SkellamRelease(variance=1e8, l2=4000.0, l1=6e4), 3),
    ]
    plain, own = (statements(spent(charges), DELTA, accountant) for accountant in (None, Scaled(0.1)))
    for one, other in zip(plain, own, strict=True):
        assert one.given is None
        assert (other.epsilon_built_in, other.accountant_built_in) == (one.epsilon, one.accountant)
        assert other.epsilon == pytest.approx(0.1 * one.epsilon_rdp)
        assert other.accountant == "scaled"
    free = spent([Charge(cohorts[2], NonPrivate("shown"), 1)])
    bad = worst(statements(free, DELTA, Scaled(0.0)))
    assert bad is not None
    assert bad.epsilon == math.inf
    with pytest.raises(ConformanceError, match="gives epsilon nan"):
        statements(spent(charges), DELTA, Scaled(math.nan))


@pytest.mark.parametrize("size", [1, 3])
def test_attacks_are_held_against_the_smaller_claim(size: int) -> None:
    history = {SkellamRelease(variance=1e8, l2=4000.0, l1=6e4): 3}
    ours = cost(history, size, DELTA)
    assert cost(history, size, DELTA, Scaled(0.5)) < 0.75 * ours
    assert cost(history, size, DELTA, Scaled(5.0)) == ours
