"""Bugs planted in the code that runs: each makes the audit fail loudly, and the same without the bug passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import attacks
from attacks.bounds.gaussian import TwoRunAudit, two_run_audit
from attacks.report import audit_document
from attacks.testing import check_accountant
from privacy import PldAccountant, SampledGaussian
from privacy.secure_gaussian import release_noise
from privacy.secure_optimizer import SecureNoiseOptimizer
from secure_fcl.auditing import bench as module
from secure_fcl.auditing import require_ledger_holds
from secure_fcl.auditing.canaries import play_canaries
from secure_fcl.auditing.world import AuditWorld, open_world
from secure_fcl.cli.commands import app
from secure_fcl.config import Config
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare

# Every example of the memory is replayed in half of the steps; the noise is large enough for a bug to show above it.
SETTINGS = (
    'rows=["replay"]', "scenario.partition=iid", "attacks.enabled=true", "attacks.targets=2",
    "attacks.inversion_steps=3", "attacks.one_client_view=false", "training.q_memory=0.5", "replay.epsilon=2.0",
    "training.rounds=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def honest(run_tiny: Callable[..., Any]) -> Path:
    return Path(run_tiny(*SETTINGS).path)


@pytest.fixture
def audited(make_config: Callable[..., Config]) -> Callable[[Path], dict[str, Any]]:
    """The audit with canaries alone: the other games cost seconds and are tested elsewhere."""

    def play(path: Path) -> dict[str, Any]:
        played = play_canaries(open_world(prepare(make_config(*SETTINGS)), RunFolder.existing(path)))
        document = audit_document(seconds=0.0, row="replay", outcomes=played.outcomes)
        return document | dict(played.more)

    return play


def accused(document: dict[str, Any]) -> set[str]:
    return {found["game"] for found in document["contradictions"]}


def test_the_code_as_it_is_passes(honest: Path, audited: Callable[[Path], dict[str, Any]]) -> None:
    document = audited(honest)
    require_ledger_holds(document, honest)
    assert document["contradictions"] == []
    assert 0.97 < document["noise"]["measured"] / document["noise"]["declared"] < 1.03
    games = {o["game"]: o for o in document["outcomes"] if o["attack"] == "direction of a canary"}
    assert set(games) == {"membership", "retained or merely seen"}
    for game in games.values():
        # The canaries are found, so that a game which accuses nobody says something.
        assert game["auc_low"] > 0.5
        assert 0.0 < game["epsilon_lower"]["value"] < game["ledger_epsilon"] < game["epsilon_lower"]["ceiling"]


@pytest.fixture
def no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(self: SecureNoiseOptimizer) -> None:
        for parameter in self.params:
            parameter.grad = parameter.summed_grad.view_as(parameter)
            parameter.summed_grad = None

    monkeypatch.setattr(SecureNoiseOptimizer, "add_noise", add)


def test_noise_left_out(no_noise: None, honest: Path, audited: Callable[[Path], dict[str, Any]]) -> None:
    document = audited(honest)
    assert accused(document) == {"membership", "retained or merely seen"}
    assert document["noise"]["too_small"]
    with pytest.raises(attacks.LedgerContradicted, match="empty batch"):
        require_ledger_holds(document, honest)
    with pytest.raises(attacks.LedgerContradicted, match="shows epsilon"):
        require_ledger_holds(document | {"noise": None}, honest)


def test_the_command_fails_and_the_report_says_why(no_noise: None, honest: Path) -> None:
    result = CliRunner().invoke(app, ["audit", str(honest)])
    assert result.exit_code == 2
    assert "the audit contradicts the ledger: an empty batch" in result.stderr
    page = (honest / "report.html").read_text()
    assert "The audit contradicts the ledger" in page
    assert "empty batch" in page


@pytest.fixture
def scaled_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise in proportion to the batch that came, one example being what is expected."""

    def add(self: SecureNoiseOptimizer) -> None:
        came = len(self.grad_samples[0]) if self.grad_samples else 0
        for parameter in self.params:
            clean = parameter.summed_grad.double()
            noise = release_noise(self.noise_multiplier * self.max_grad_norm * came, (clean.numel(),), self._random)
            parameter.grad = (clean + noise.view(clean.shape)).to(parameter.dtype).view_as(parameter)
            parameter.summed_grad = None

    monkeypatch.setattr(SecureNoiseOptimizer, "add_noise", add)


def test_noise_scaled_by_the_batch_that_came(
    scaled_noise: None, honest: Path, audited: Callable[[Path], dict[str, Any]]
) -> None:
    document = audited(honest)
    assert document["noise"]["measured"] == 0.0
    with pytest.raises(attacks.LedgerContradicted, match="empty batch"):
        require_ledger_holds(document, honest)


def _alone(bench: module.Bench) -> TwoRunAudit:
    """One canary or none, so that at most one example is expected in a batch."""
    nobody = np.zeros(module.PER_DEVICE, dtype=np.bool_)
    one = np.arange(module.PER_DEVICE) == 0

    def run(present: bool, number: int) -> float:
        released = bench.visit(one if present else nobody, nobody, number)
        return float(released[0]) if released.any() else -np.inf

    return two_run_audit(run, trials=300, delta=1e-5, confidence=0.999)


@pytest.mark.parametrize("planted", [False, True])
def test_at_expected_batch_one_two_runs_tell(
    planted: bool, honest: Path, make_config: Callable[..., Config], request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "PER_DEVICE", 8)
    if planted:
        request.getfixturevalue("scaled_noise")
    settings = (*SETTINGS, "training.steps=1", "training.q_current=1.0")
    plan = prepare(make_config(*settings)).rows[0][0]
    bench = module.Bench(module.bench_strategy(plan.strategy))  # type: ignore[arg-type]
    charged = PldAccountant().epsilon(plan.strategy.events("current"), 1e-5)
    assert (_alone(bench).epsilon.value > charged) == planted


def test_replay_that_is_not_charged(
    run_tiny: Callable[..., Any], audited: Callable[[Path], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    charges = RowPlan.charges

    def forgetful(self: RowPlan, slot: int, round: int) -> Any:
        return [charge for charge in charges(self, slot, round) if charge.cohort.arrival == slot]

    monkeypatch.setattr(RowPlan, "charges", forgetful)
    path = Path(run_tiny(*SETTINGS).path)
    document = audited(path)
    assert accused(document) == {"retained or merely seen"}
    assert not document["noise"]["too_small"]
    with pytest.raises(attacks.LedgerContradicted, match="retained or merely seen"):
        require_ledger_holds(document, path)


def test_the_planted_mechanisms_agree_with_the_accountant() -> None:
    check_accountant(
        lambda q, sigma, steps, delta: PldAccountant().epsilon(
            {SampledGaussian(q=q, noise_multiplier=sigma): steps}, delta
        )
    )


def test_rows_without_a_clients_own_noise_are_said(make_config: Callable[..., Config]) -> None:
    plan = prepare(make_config(*SETTINGS, "replay.noise=none", "replay.epsilon=inf")).rows[0][0]
    world = AuditWorld(plan, plan.strategy, {}, RunFolder(Path()))  # type: ignore[arg-type]
    (sentence,) = play_canaries(world).missing
    assert sentence.startswith("canaries: replay ran without noise")


SHARED = (*SETTINGS, "replay.noise=shared", "training.rounds=2", "scenario.clients=30")


@pytest.fixture(scope="module")
def shared(run_tiny: Callable[..., Any]) -> Path:
    return Path(run_tiny(*SHARED).path)


@pytest.mark.parametrize("unmasked", [False, True])
def test_one_client_unmasked(
    unmasked: bool, shared: Path, make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With shared noise a sum holds the shares of all honest clients, and an unmasked upload one of them alone."""
    if unmasked:
        monkeypatch.setattr(module, "shares_in_a_sum", lambda noise: 1)
    played = play_canaries(open_world(prepare(make_config(*SHARED)), RunFolder.existing(shared)))
    assert {o.view for o in played.outcomes} == {"sums only"}
    found = attacks.contradictions(played.outcomes)
    assert {one.game for one in found} == ({"membership", "retained or merely seen"} if unmasked else set())
    assert dict(played.more)["noise"]["too_small"] == unmasked
