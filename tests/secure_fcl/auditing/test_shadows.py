import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import attacks
from attacks.games.play import judge
from secure_fcl.auditing import audit, positive_control, require_ledger_holds, world
from secure_fcl.auditing import membership as module
from secure_fcl.auditing.ledger_check import beyond_reach
from secure_fcl.auditing.shadows import _Course, shadow_models
from secure_fcl.auditing.world import AuditWorld
from secure_fcl.cli.commands import app
from secure_fcl.config import Config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import Prepared, prepare

SHADOWED = (
    'rows=["replay"]', "scenario.partition=iid", "attacks.enabled=true", "attacks.targets=2",
    "attacks.inversion_steps=3", "attacks.shadows=6",
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared(make_config: Callable[..., Config]) -> Prepared:
    return prepare(make_config(*SHADOWED))


@pytest.fixture(scope="module")
def shadowed(run_tiny, prepared: Prepared):  # type: ignore[no-untyped-def]
    run = run_tiny(*SHADOWED)
    told: list[str] = []
    document = audit(prepared, RunFolder.existing(run.path), told.append)
    return run, document, told


def own(document: dict) -> list[dict]:
    return [o for o in document["outcomes"] if o["control"] is None]


def course(prepared: Prepared, **more: object) -> tuple[_Course, attacks.Candidates]:
    plan = prepared.rows[0][0]
    world = AuditWorld(plan, plan.strategy, {}, RunFolder(Path()))  # type: ignore[arg-type]
    pool = world.pool()
    candidates, rng = world.candidates(pool), np.random.default_rng(0)
    coins, keys = rng.random((40, len(pool))) < 0.5, rng.random((40, len(pool)))
    return _Course(plan, world.strategy, pool, candidates.task, coins, keys, 1), candidates


def test_shadow_games_join_the_others(shadowed) -> None:  # type: ignore[no-untyped-def]
    _, document, told = shadowed
    played = {(o["game"], o["attack"]) for o in own(document)}
    assert {"LiRA, common variance", "LiRA, common variance, offline", "RMIA"} <= {attack for _, attack in played}
    assert {name for game, name in played if "BaVarIA" in name} == {
        "BaVarIA-n", "BaVarIA-n, all checkpoints", "BaVarIA-n with the change since the task closed",
    }  # fmt: skip
    assert document["shadows"] == 6
    assert not any("attacks.shadows = 0" in line for line in document["not_tested"])
    assert [line for line in told if "slot" in line] == [f"shadow models: 6 through slot {s} of 2" for s in (1, 2)]
    assert {(d["game"], d["attack"]) for d in document["discoveries"]} <= played


def test_models_are_kept_in_simulation_and_read_again(shadowed, prepared: Prepared) -> None:  # type: ignore[no-untyped-def]
    run, document, _ = shadowed
    (path,) = (run.path / "simulation" / "shadows").iterdir()
    before, told = path.stat().st_mtime_ns, list[str]()
    again = audit(prepared, RunFolder.existing(run.path), told.append)
    assert path.stat().st_mtime_ns == before
    assert not any("shadow models" in line for line in told)
    assert [o["auc"] for o in own(again)] == [o["auc"] for o in own(document)]


def test_an_audit_without_shadows_says_so(shadowed, prepared: Prepared) -> None:  # type: ignore[no-untyped-def]
    run, _, _ = shadowed
    document = audit(prepared, RunFolder.existing(run.path), shadows=0)
    assert not any("BaVarIA" in o["attack"] for o in own(document))
    assert any("attacks.shadows = 0" in line for line in document["not_tested"])  # type: ignore[union-attr]


@pytest.mark.parametrize("count", [-1, 1, 3, 1001])
def test_numbers_that_make_no_sense_are_refused(shadowed, prepared: Prepared, count: int) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigInvalid, match=r"attacks\.shadows"):
        audit(prepared, RunFolder.existing(shadowed[0].path), shadows=count)


def test_every_example_is_current_in_its_own_slot_once(make_config: Callable[..., Config]) -> None:
    # A small budget reads each task in several chunks.
    made = prepare(make_config(*SHADOWED, "storage.budget_kib=16", "memory.capacity=20"))
    assert made.rows[0][0].storage.chunks > 1
    plain, candidates = course(made)
    for slot in range(2):
        parts = [current for current, _ in plain.chunks(slot)]
        assert (np.sum(parts, axis=0) == (plain.coins & (candidates.task == slot))).all()
        assert sum(rounds for _, rounds in plain.chunks(slot)) == made.rows[0][0].rounds_per_slot


def test_memories_hold_earlier_members_at_the_runs_rate(prepared: Prepared) -> None:
    made, candidates = course(prepared)
    thresholds = prepared.rows[0][0].memory.thresholds  # type: ignore[union-attr]
    assert not made.kept(-1).any()
    for slot in range(2):
        kept, could = made.kept(slot), made.coins & (candidates.task <= slot)
        assert not (kept & ~could).any()
        share, n = kept.sum() / could.sum(), could.sum()
        assert abs(share - thresholds[slot]) < 5 * np.sqrt(0.25 / n)
    assert not (made.kept(1) & ~made.kept(0) & (candidates.task == 0)).any()


def test_a_memory_without_coins_is_imitated_by_filling_it(make_config: Callable[..., Config]) -> None:
    made, _ = course(prepare(make_config(*SHADOWED, "memory.policy=herding", "memory.capacity=30")))
    held = made.kept(1).sum(axis=1).mean()
    assert 0.35 * 5 * 30 < held < 0.65 * 5 * 30


def test_blocks_share_a_coin_and_models_start_where_the_run_does(shadowed, prepared: Prepared) -> None:  # type: ignore[no-untyped-def]
    plan = prepared.rows[0][0]
    made, found = course(prepared)
    blocks = attacks.Candidates(found.x, found.y, np.arange(len(found)) // 4, found.task)
    folder = RunFolder.existing(shadowed[0].path)
    models = shadow_models(plan, plan.strategy, folder, made.pool, blocks, 4)  # type: ignore[arg-type]
    for coins in (models.trained, models.kept):
        first = coins[:, blocks.cluster * 4]
        # A block that reaches into the next slot is kept in parts: only where the slots agree must the coins.
        same = blocks.task == blocks.task[blocks.cluster * 4]
        assert (coins == first)[:, same].all()
    assert models.trained.sum(axis=0).tolist() == [2] * len(found)
    assert (models.weights[:, 0] == plan.strategy.initial()["weights"]).all()
    assert np.ptp(models.weights[:, -1], axis=0).max() > 0.0


@pytest.fixture
def leak(monkeypatch: pytest.MonkeyPatch, prepared: Prepared) -> None:
    """The run's loss tells members from others: a model that lies as far from private as can be."""
    scenario = prepared.scenario
    hidden = {x.tobytes() for x in scenario.x[scenario.held_out]}

    def losses(weights: object, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        spread = np.random.default_rng(0).random(len(x)) / 10
        return (np.array([row.tobytes() in hidden for row in x]) + spread).astype(np.float32)

    for user in (world, positive_control):
        monkeypatch.setattr(user, "losses_of", lambda network: losses)
    monkeypatch.setattr(module, "spent_by_item", lambda world: 0.5)


def test_a_planted_contradiction_ends_the_command(leak: None, shadowed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = shadowed[0].path
    result = CliRunner().invoke(app, ["audit", str(path), "--shadows", "0"])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("secure-fcl: the audit contradicts the ledger: membership, ")
    assert "where 0.50 was charged" in line
    assert str(path / "report.html") in line
    document = json.loads((path / "attacks.json").read_text())
    assert document["shadows"] == 0
    assert all(c["bound"] > c["ledger_epsilon"] for c in document["contradictions"])
    assert '<li class="severe">' in (path / "report.html").read_text()
    assert "The audit contradicts the ledger" in (path / "report.html").read_text()


def test_a_run_that_contradicts_itself_ends_with_2(
    leak: None, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    settings = (*SHADOWED, "attacks.shadows=0")
    config = tmp_path / "config.toml"
    from secure_fcl.config import dump_config

    config.write_text(dump_config(make_config(*settings)))
    result = CliRunner().invoke(app, ["run", str(config), "--runs", str(tmp_path), "--name", "run"])
    assert (result.exit_code, "the audit contradicts the ledger" in result.stderr) == (2, True)
    assert "The audit contradicts the ledger" in (tmp_path / "run" / "report.html").read_text()


def test_no_contradiction_no_error(shadowed) -> None:  # type: ignore[no-untyped-def]
    run, document, _ = shadowed
    assert document["contradictions"] == []
    require_ledger_holds(document, run.path)


def judged(ledger: float | None) -> attacks.Outcome:
    """A game of 400 fair coins in which a faultless attack could show an epsilon of about 3 (simultaneously)."""
    truth = np.random.default_rng(5).random(400) < 0.5
    scores = truth + np.random.default_rng(6).random(400) / 2
    terms = attacks.Terms(target="a", coin=attacks.Coin(0.5), ledger_epsilon=ledger, repeats=100)
    candidates = attacks.Candidates(
        np.zeros((400, 2), dtype=np.float32),
        np.zeros(400, dtype=np.int64),
        np.arange(400),
        np.zeros(400, dtype=np.int64),
    )
    return judge(attacks.MEMBERSHIP, ("test", "final model"), scores, candidates, truth, terms)


def test_audits_that_cannot_contradict_say_so() -> None:
    assert beyond_reach([]) == []
    assert beyond_reach([judged(None)]) == []
    assert beyond_reach([judged(0.5)]) == []
    (line,) = beyond_reach([judged(8.0)])
    assert "a wrong ledger" in line
    assert beyond_reach([judged(8.0), judged(0.5)]) == []


@pytest.mark.slow
def test_shadows_find_members_where_the_loss_does_not(run_tiny, make_config: Callable[..., Config]) -> None:  # type: ignore[no-untyped-def]
    settings = (
        *SHADOWED, "replay.epsilon=inf", "replay.noise=none", "training.rounds=150", "scenario.holdout=0.5",
        "training.learning_rate=2.0", "training.clipping_norm=4.0", "training.upload_clip=4.0",
    )  # fmt: skip
    run = run_tiny(*settings)
    document = audit(prepare(make_config(*settings)), RunFolder.existing(run.path), shadows=48)
    found = {o["attack"]: o for o in own(document) if o["game"] == "membership"}  # type: ignore[arg-type]
    assert found["BaVarIA-n, all checkpoints"]["auc_low"] > 0.5
    assert found["BaVarIA-n, all checkpoints"]["auc"] > found["loss, per class"]["auc"]
