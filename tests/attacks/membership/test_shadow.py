"""Known leaks on scikit-learn's digits, and the contract of attacks with shadow models."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from attacks import (
    ALL_MODELS,
    FINAL_MODEL,
    Candidates,
    ShadowMembership,
    ShadowRetained,
    Terms,
    View,
    continual_models,
    forgetting_curve,
    loss_history,
    losses_of,
)
from attacks.controls.memorised import ControlWorld
from attacks.errors import CandidatesInvalid, CapabilityMissing, GameInvalid, ShadowsInvalid
from attacks.games.attack import run_attack
from attacks.membership.families import BAVARIA, LIRA, LIRA_FIXED, RATIO, Family
from attacks.membership.history import HistoryScores, history_scores
from attacks.membership.leakage import leakage_matrix
from attacks.membership.shadow import Rmia, checkpoint_scores
from attacks.shadows import BatchedMlp, ContinualRecipe, Rule, ShadowModels
from attacks.testing import check_attack, control_shadows
from evaluation.roc import auc

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(scope="module")
def pool(digits: Data) -> Candidates:
    x, y = digits
    return Candidates(x, y, np.arange(len(x)), (y >= 5).astype(np.int64))


@pytest.fixture(scope="module")
def pipelines(pool: Candidates) -> ShadowModels:
    """56 pipelines: digits 0-4, then 5-9 with 20 of the first replayed; the last 8 are attacked."""
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.1, momentum=0.9), batch=32, steps=280, memory=20, replay=16)
    return continual_models(BatchedMlp((64, 64, 10)), pool, recipe, models=56, seed=0)


def _targets(models: ShadowModels, shadows: int) -> range:
    return range(shadows, len(models))


def _retained_auc(models: ShadowModels, shadows: int, family: Family = BAVARIA, change: bool = False) -> float:
    attack = ShadowRetained(models.take(np.arange(shadows)), family, change)
    values = []
    for target in _targets(models, shadows):
        own = np.flatnonzero(models.trained[target] & (models.pool.task == 0))
        view = View.of(ALL_MODELS, models.transcript(target))
        values.append(auc(run_attack(attack, view, models.pool.take(own)), models.kept[target][own]))
    return float(np.mean(values))


def test_what_the_memory_keeps_shows(pipelines: ShadowModels) -> None:
    assert _retained_auc(pipelines, 48) > 0.78
    assert _retained_auc(pipelines, 48, change=True) > 0.78


def test_history_keeps_what_the_model_forgot(pipelines: ShadowModels) -> None:
    shadows = pipelines.take(np.arange(48))
    asked = np.flatnonzero(pipelines.pool.task == 0)
    scores = []
    for target in _targets(pipelines, 48):
        view = View.of(ALL_MODELS, pipelines.transcript(target))
        truth = pipelines.trained[target][asked]
        scores.append(history_scores(BAVARIA, shadows, view, pipelines.pool.take(asked), truth))
    curve = forgetting_curve(0, (0, 1), scores)
    assert curve.last[0].low > 0.53
    assert curve.last[1].value < 0.53
    assert curve.half_life == 1
    assert curve.premium[0].value == pytest.approx(0.0, abs=1e-12)
    assert curve.premium[1].low > 0.0
    alone = forgetting_curve(0, (0, 1), scores[:1])
    assert alone.last[0].n == len(asked)


def test_membership_with_all_checkpoints_is_the_history(pipelines: ShadowModels) -> None:
    shadows, target = pipelines.take(np.arange(48)), 50
    view = View.of(ALL_MODELS, pipelines.transcript(target))
    part = pipelines.pool.take(np.arange(0, 1797, 9))
    both = ShadowMembership(shadows, BAVARIA, "all").score(view, part)
    for task, rows in ((0, [1, 2]), (1, [2])):
        own = part.task == task
        by_hand = checkpoint_scores(BAVARIA, shadows, view, part.take(own), rows)
        assert np.allclose(both[own], by_hand)


def test_the_leakage_matrix_tells_kept_from_discarded(pipelines: ShadowModels) -> None:
    shadows, target = pipelines.take(np.arange(48)), 50
    view = View.of(ALL_MODELS, pipelines.transcript(target))

    def after(task: int, part: Candidates) -> np.ndarray:
        return checkpoint_scores(BAVARIA.offline(), shadows, view, part, [shadows.row_of(task)])

    matrix = leakage_matrix(
        after, pipelines.pool, pipelines.trained[target], pipelines.kept[target], Terms(target="digits")
    )
    assert matrix.tasks == (0, 1)
    assert matrix.kept[0][1] is None
    kept, discarded = matrix.kept[1][0], matrix.discarded[1][0]
    assert kept is not None
    assert discarded is not None
    assert kept.value > 0.3 > discarded.value
    text = matrix.table(accuracy=[[0.97, 0.0], [0.8, 0.97]])
    assert len(text.splitlines()) == 4
    assert "0.800" in text
    with pytest.raises(GameInvalid, match="2 x 2"):
        matrix.table(accuracy=[[1.0]])
    with pytest.raises(GameInvalid, match="only trained"):
        leakage_matrix(
            after, pipelines.pool, ~pipelines.trained[target], pipelines.kept[target], Terms(target="digits")
        )


@pytest.mark.parametrize("family", [BAVARIA, LIRA_FIXED, RATIO, BAVARIA.offline()], ids=lambda f: f.name)
def test_shadow_attacks_pass_the_controls(family: Family, member_world: ControlWorld) -> None:
    shadows = control_shadows(member_world)
    positive, _ = check_attack(lambda losses: ShadowMembership(shadows, family), member_world)
    assert positive.auc.value > 0.9


def test_candidates_are_found_by_content_in_any_order(pipelines: ShadowModels, pool: Candidates) -> None:
    order = np.random.default_rng(0).permutation(len(pool))[:100]
    assert np.array_equal(pipelines.locate(pool.take(order)), order)
    stranger = Candidates(pool.x[:1] + 1, pool.y[:1], [0], [0])
    with pytest.raises(CandidatesInvalid, match="not in the shadow models' pool"):
        pipelines.locate(stranger)


def test_what_is_missing_is_named(pipelines: ShadowModels, pool: Candidates) -> None:
    shadows = pipelines.take(np.arange(8))
    part = pool.take(np.flatnonzero(pool.task == 1)[:20])
    final = View.of(FINAL_MODEL, pipelines.transcript(9))
    with pytest.raises(CapabilityMissing, match="MODEL_SEQUENCE"):
        run_attack(ShadowMembership(shadows, BAVARIA, "all"), final, part)
    everything = pipelines.transcript(9)
    with pytest.raises(CandidatesInvalid, match="no checkpoint follows"):
        ShadowRetained(shadows, since_closing=True).score(View.of(ALL_MODELS, everything), part)
    short = View.of(ALL_MODELS, {**everything, "models": everything["models"][:1], "model_tasks": np.array([0])})
    with pytest.raises(CandidatesInvalid, match="no checkpoint of task 1"):
        ShadowMembership(shadows, BAVARIA, "all").score(short, part)
    with pytest.raises(ShadowsInvalid, match="no checkpoint of task 7"):
        shadows.row_of(7)
    with pytest.raises(GameInvalid, match="one task"):
        history_scores(BAVARIA, shadows, View.of(ALL_MODELS, everything), pool, np.ones(len(pool), dtype=bool))


def test_sets_that_do_not_fit_are_refused(pipelines: ShadowModels) -> None:
    p = pipelines
    with pytest.raises(ShadowsInvalid, match="needed"):
        ShadowModels(p.trainer, p.pool, p.weights, p.tasks[:1], p.trained, p.kept)
    with pytest.raises(ShadowsInvalid, match="trained examples only"):
        ShadowModels(p.trainer, p.pool, p.weights, p.tasks, p.trained, ~p.trained)
    with pytest.raises(ShadowsInvalid, match="batch"):
        ContinualRecipe(rule=Rule(learning_rate=0.1), batch=0)
    with pytest.raises(ShadowsInvalid, match="keep fewer"):
        continual_models(
            p.trainer, p.pool, ContinualRecipe(rule=Rule(learning_rate=0.1), memory=2000), models=2, seed=0
        )


def test_clusters_share_their_coins() -> None:
    random = np.random.default_rng(0)
    cluster = np.repeat(np.arange(30), 4)
    pool = Candidates(
        random.normal(size=(120, 6)), random.integers(0, 3, size=120), cluster, (cluster >= 15).astype(int)
    )
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.1), batch=8, steps=3, memory=3, replay=4)
    models = continual_models(BatchedMlp((6, 5, 3)), pool, recipe, models=4, seed=0, per_cluster=True)
    for coins in (models.trained, models.kept):
        blocks = coins.reshape(4, 30, 4)
        assert (blocks.all(axis=2) | ~blocks.any(axis=2)).all()
    assert (models.kept.reshape(4, 2, 60).sum(axis=2) == 12).all()


def test_rmia_passes_the_controls(member_world: ControlWorld) -> None:
    asked = member_world.candidates
    random = np.random.default_rng(9)
    x = random.normal(size=(200, asked.x.shape[1])).astype(np.float32)
    fresh = Candidates(x, random.integers(0, 6, size=200), np.arange(200), np.zeros(200, dtype=np.int64))
    shadows = control_shadows(member_world)
    positive, _ = check_attack(lambda losses: Rmia(shadows, fresh), member_world)
    assert positive.auc.value > 0.9


def test_histories_without_shadows_and_with_blocks(pipelines: ShadowModels) -> None:
    losses, view = losses_of(BatchedMlp((64, 64, 10)).module()), View.of(ALL_MODELS, pipelines.transcript(50))
    asked = np.flatnonzero(pipelines.pool.task == 0)
    part, truth = pipelines.pool.take(asked), pipelines.trained[50][asked]
    scores = loss_history(losses, view, part, truth)
    assert scores.last.shape == (2, len(asked))
    assert np.allclose(scores.sequence[1], scores.last.sum(axis=0))
    alone = forgetting_curve(0, (0, 1), [scores])
    # Every example four times, in blocks: intervals must not shrink as they would with four times the data.
    four = np.repeat(np.arange(len(asked)), 4)
    copies = HistoryScores(scores.last[:, four], scores.sequence[:, four], truth[four], four)
    blocks = forgetting_curve(0, (0, 1), [copies])
    for one, other in ((alone.last[0], blocks.last[0]), (alone.premium[1], blocks.premium[1])):
        assert other.value == pytest.approx(one.value)
        assert (other.high - other.low) > 0.7 * (one.high - one.low)
    before = {"models": pipelines.weights[50, :1], "model_tasks": np.array([-1])}
    with pytest.raises(CandidatesInvalid, match="no checkpoint of task"):
        loss_history(losses, View.of(ALL_MODELS, before), part, truth)
    with pytest.raises(GameInvalid, match="one task"):
        loss_history(losses, view, pipelines.pool, pipelines.trained[50])


def test_half_life_by_hand() -> None:
    truth = np.array([True] * 50 + [False] * 50)
    random = np.random.default_rng(0)
    strong = truth + random.normal(scale=0.3, size=100)
    weak = random.normal(size=100)
    table = np.stack([strong, strong, weak])
    curve = forgetting_curve(3, (3, 4, 5), [HistoryScores(table, table, truth)])
    assert curve.half_life == 2
    assert forgetting_curve(3, (3,), [HistoryScores(weak[None], weak[None], truth)]).half_life is None
    assert forgetting_curve(3, (3,), [HistoryScores(strong[None], strong[None], truth)]).half_life is None
    with pytest.raises(GameInvalid, match="targets"):
        forgetting_curve(3, (3, 4), [HistoryScores(weak[None], weak[None], truth)])


@pytest.mark.slow
def test_lira_reaches_what_is_known_of_digits(digits: Data) -> None:
    """128 shadows, 32 targets: AUC .59 was measured elsewhere with the same network; the floor is .585."""
    x, y = digits
    everyone = Candidates(x, y, np.arange(len(x)), np.zeros(len(x), dtype=np.int64))
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.1, momentum=0.9), batch=64, steps=560)
    models = continual_models(BatchedMlp((64, 64, 10)), everyone, recipe, models=160, seed=0)
    attack = ShadowMembership(models.take(np.arange(128)), LIRA_FIXED)
    values = []
    for target in range(128, 160):
        view = View.of(FINAL_MODEL, models.transcript(target))
        values.append(auc(run_attack(attack, view, everyone), models.trained[target]))
    assert np.mean(values) >= 0.585


@pytest.mark.slow
def test_a_memory_of_twenty_gives_itself_away(pool: Candidates) -> None:
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.1, momentum=0.9), batch=32, steps=280, memory=20, replay=16)
    models = continual_models(BatchedMlp((64, 64, 10)), pool, recipe, models=160, seed=0)
    assert _retained_auc(models, 128) >= 0.83


@pytest.mark.slow
def test_lira_finds_the_few_that_a_saturated_model_gives_away(digits: tuple[np.ndarray, np.ndarray]) -> None:
    """Overfit digits, 64 shadows, 16 targets: 3.55 % at a false positive rate of .1 %; .12 % from float32 losses."""
    x, y = digits
    order = np.random.default_rng(5).permutation(len(x))[300:]
    pool = Candidates(x[order], y[order], np.arange(len(order)), np.zeros(len(order), dtype=np.int64))
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.2, momentum=0.9), batch=64, steps=2000)
    made = continual_models(BatchedMlp((64, 64, 10)), pool, recipe, models=80, seed=0)
    shadows, rates, members = made.take(np.arange(64)), [], []
    for target in range(64, 80):
        view = View.of(FINAL_MODEL, made.transcript(target))
        scores, truth = run_attack(ShadowMembership(shadows, LIRA), view, pool), made.trained[target]
        threshold = np.sort(scores[~truth])[::-1][int(0.001 * (~truth).sum())]
        rates.append((scores[truth] > threshold).mean())
        members.append((made.losses[target, -1][truth] < 1e-7).mean())
    # In float32 that is a loss of 0.
    assert np.mean(members) > 0.05
    assert 0.02 < np.mean(rates) < 0.06


def test_a_pool_that_holds_an_example_twice_cannot_say_who_saw_it() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(12, 4)).astype(np.float32)
    x[7] = x[2]
    pool = Candidates(x, np.zeros(12, dtype=np.int64), np.arange(12), np.zeros(12, dtype=np.int64))
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.1), batch=4, steps=2)
    made = continual_models(BatchedMlp((4, 2)), pool, recipe, models=8, seed=0)
    assert made.locate(pool.take(np.array([0, 5]))).tolist() == [0, 5]
    with pytest.raises(CandidatesInvalid, match="2 of 12 candidates lie in the shadow models' pool more than once"):
        made.locate(pool)
    shared = Candidates(x, pool.y, np.where(np.arange(12) == 7, 2, np.arange(12)), pool.task)
    same = continual_models(BatchedMlp((4, 2)), shared, recipe, models=8, seed=0, per_cluster=True)
    assert len(same.locate(shared)) == 12
