"""`attacks.audit` on models of one's own, canaries, and audits task by task."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import attacks
from attacks import SUMS_ONLY, Candidates, Coin, ShadowMembership, Subject, Terms, View, continual_models
from attacks.bounds.canaries import (
    DirectionScore,
    direction_canaries,
    memory_coins,
    mislabelled_canaries,
    one_shot_estimate,
)
from attacks.bounds.gaussian import gaussian_epsilon
from attacks.bounds.one_run import audit_retained, audit_tasks
from attacks.errors import AuditInvalid, CandidatesInvalid, GameInvalid, ShadowsInvalid
from attacks.own_audit import weights_of
from attacks.shadows import BatchedMlp, ContinualRecipe, Rule, ShadowModels

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(scope="module")
def models(digits: Data) -> ShadowModels:
    """Nine pipelines over two tasks of digits with wrong labels, learnt by heart; number 8 is audited."""
    x, y = digits
    pool = Candidates(x, y, np.arange(len(x)), (y >= 5).astype(np.int64))
    first, second = (mislabelled_canaries(pool.take(np.flatnonzero(pool.task == t)), 300, 10, t) for t in (0, 1))
    both = [first.candidates, second.candidates]
    joined = Candidates(*(np.concatenate([getattr(c, name) for c in both]) for name in ("x", "y", "cluster", "task")))
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.1, momentum=0.9), batch=32, steps=400, memory=60, replay=32)
    return continual_models(BatchedMlp((64, 64, 10)), joined, recipe, models=9, seed=4)


def _subject(models: ShadowModels, with_memory: bool = True) -> Subject:
    kept = models.kept[8] & (models.pool.task == 0)
    return Subject(
        BatchedMlp((64, 64, 10)).module(), models.weights[8], models.tasks, models.pool, models.trained[8],
        kept if with_memory else None,
    )  # fmt: skip


def test_an_audit_of_ones_own_models(models: ShadowModels) -> None:
    document = attacks.audit(
        _subject(models), ledger_epsilon=0.5, shadows=models.take(np.arange(8)), name="digits", delta=1e-7
    )
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    played = {(o["game"], o["attack"]) for o in document["outcomes"] if o["control"] is None}
    assert len(played) >= 8
    # The memory has a fixed size, so the bound is about pairs.
    swaps = [o for o in document["outcomes"] if o["game"] == "which of two was retained"]
    assert [o["attack"] for o in swaps] == ["difference since the task closed", "slope of the trajectory"]
    assert all(o["epsilon_lower"] is not None and o["auc"] > 0.7 for o in swaps)
    assert all(o["epsilon_lower"] is None for o in document["outcomes"] if o["game"] == "retained or merely seen")
    (curve,) = document["history"]
    assert (curve["task"], curve["checkpoints"]) == (0, [0, 1])
    by = {(o["game"], o["attack"]): o for o in document["outcomes"]}
    assert by["membership", "difference of checkpoints"]["auc"] > 0.8
    assert by["membership", "BaVarIA-n, all checkpoints"]["auc_low"] > 0.8
    assert by["membership", "BaVarIA-n, all checkpoints"]["gaussian"]["mu"] > 0.3
    # The model was trained without any noise: what was claimed for it is refuted.
    assert any(c["bound"] > c["ledger_epsilon"] == 0.5 for c in document["contradictions"])
    assert any(d["adjusted"] < 1e-6 for d in document["discoveries"])
    assert {o["control"] for o in document["outcomes"]} == {None, "positive", "negative"}
    assert any("slope" in text or "people" in text for text in document["not_tested"])


def test_what_cannot_be_played_is_said(models: ShadowModels) -> None:
    subject = _subject(models, with_memory=False)
    final = replace(subject, checkpoints=subject.checkpoints[-1:], tasks=np.array([1]))
    document = attacks.audit(final)
    text = " ".join(document["not_tested"])
    for words in ("difference of checkpoints", "no record of a memory", "none were given"):
        assert words in text
    assert document["contradictions"] == []
    with pytest.raises(AuditInvalid, match="T at least 1"):
        attacks.audit(replace(subject, tasks=subject.tasks[:1]))
    with pytest.raises(GameInvalid, match="coin of rate"):
        attacks.audit(subject, coin=Coin(0.05))


def test_weights_of_a_module_are_its_parameters_in_order() -> None:
    module = torch.nn.Linear(2, 2)
    expected = torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
    assert np.array_equal(weights_of(module), expected)
    assert weights_of(torch.nn.ReLU()).shape == (0,)


def test_each_task_is_judged_against_its_own_charge(models: ShadowModels) -> None:
    subject = _subject(models)
    view = View.of(attacks.ALL_MODELS, subject.transcript())
    attack = ShadowMembership(models.take(np.arange(8)), history="all")
    terms = Terms(target="digits", coin=Coin(), delta=1e-6)
    outcomes = audit_tasks(attack, view, subject.candidates, subject.trained, terms, {0: 0.2, 1: 1000.0})
    assert [o.terms.target for o in outcomes] == ["digits, task 1", "digits, task 2"]
    assert [o.terms.ledger_epsilon for o in outcomes] == [0.2, 1000.0]
    assert [c.target for c in attacks.contradictions(outcomes)] == ["digits, task 1"]
    with pytest.raises(GameInvalid, match="one-sided"):
        audit_tasks(attack, view, subject.candidates, np.ones(len(subject.trained), dtype=bool), terms, {})


def test_the_memory_is_judged_among_the_trained(models: ShadowModels) -> None:
    subject = _subject(models)
    assert subject.kept is not None
    view = View.of(attacks.ALL_MODELS, subject.transcript())
    attack = attacks.ShadowRetained(models.take(np.arange(8)))
    first = subject.candidates.task == 0
    outcomes = audit_retained(
        attack, view, subject.candidates.take(first), (subject.trained[first], subject.kept[first]),
        Terms(target="digits", coin=None), {0: 1.0},
    )  # fmt: skip
    assert len(outcomes) == 1
    assert outcomes[0].n_members == 60
    assert outcomes[0].auc.low > 0.8
    assert outcomes[0].epsilon_lower is None


def test_canary_labels_are_wrong_and_coins_fair(digits: Data) -> None:
    x, y = digits
    pool = Candidates(x, y, np.arange(len(x)), np.zeros(len(x), dtype=np.int64))
    canaries = mislabelled_canaries(pool, 1797, 10, seed=1)
    assert (canaries.candidates.y != y[canaries.candidates.cluster]).all()
    assert abs(canaries.truth.mean() - 0.5) < 5 * 0.5 / 1797**0.5
    for count, classes in ((0, 10), (1798, 10), (5, 1)):
        with pytest.raises(AuditInvalid):
            mislabelled_canaries(pool, count, classes, seed=1)


def test_direction_canaries_in_a_sum_are_found() -> None:
    random = np.random.default_rng(0)
    directions = direction_canaries(200, 2000, seed=2)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1.0)
    truth = random.random(200) < 0.5
    sums = np.stack([4.0 * truth @ directions + random.normal(size=2000) for _ in range(3)])
    view = View.of(SUMS_ONLY, {"sums": sums, "sum_clients": np.full(3, 10)})
    zeros = np.zeros(200, dtype=np.int64)
    candidates = Candidates(directions.astype(np.float32), zeros, np.arange(200), zeros)
    outcomes = audit_tasks(DirectionScore(), view, candidates, truth, Terms(target="clients", coin=Coin()), {0: 0.1})
    assert outcomes[0].auc.low > 0.95
    with pytest.raises(CandidatesInvalid, match="entries"):
        DirectionScore().score(view, candidates.take(np.arange(3)).__class__(
            np.ones((3, 7), dtype=np.float32), zeros[:3], zeros[:3], zeros[:3]
        ))  # fmt: skip
    with pytest.raises(AuditInvalid):
        direction_canaries(0, 5, seed=0)


def test_forced_retention_follows_its_coins() -> None:
    trained = np.arange(4000) % 2 == 0
    kept = memory_coins(trained, 0.25, seed=0)
    assert not (kept & ~trained).any()
    assert abs(kept.sum() / 2000 - 0.25) < 5 * (0.25 * 0.75 / 2000) ** 0.5
    with pytest.raises(AuditInvalid, match="rate"):
        memory_coins(trained, 1.0, seed=0)


def test_the_one_shot_estimate_is_an_estimate() -> None:
    """Cosines N(2, 1) are those of a Gaussian mechanism with mu = 2."""
    cosines = 2 + np.random.default_rng(0).normal(size=20_000)
    found = one_shot_estimate(cosines, 1e-5)
    assert found.value == pytest.approx(gaussian_epsilon(2.0, 1e-5), rel=0.03)
    assert one_shot_estimate(-cosines, 1e-5).value == 0.0
    with pytest.raises(AuditInvalid, match="two finite"):
        one_shot_estimate(np.array([1.0]), 1e-5)


def test_an_audit_plays_rmia_online_and_offline_where_it_has_a_population(models: ShadowModels, digits: Data) -> None:
    x, y = digits
    strangers = Candidates(x[:400] + 0.5, y[:400], np.arange(400), (y[:400] >= 5).astype(np.int64))
    shadows = models.take(np.arange(8))
    document = attacks.audit(replace(_subject(models), population=strangers), shadows=shadows)
    found = {o["attack"]: o["auc"] for o in document["outcomes"] if o["control"] is None}
    assert {"RMIA", "RMIA, offline", "ratio", "ratio, offline"} <= found.keys()
    assert found["RMIA"] > 0.7
    assert found["RMIA, offline"] > 0.65
    assert not [s for s in document["not_tested"] if s.startswith("RMIA")]
    without = attacks.audit(_subject(models), shadows=shadows)
    assert [s for s in without["not_tested"] if "Subject.population" in s]
    # Candidates themselves are no population: their truth would leak into the scores.
    with pytest.raises(ShadowsInvalid, match=r"population \(0\)"):
        attacks.audit(replace(_subject(models), population=models.pool), shadows=shadows)


def test_examples_that_occur_twice_are_left_out_and_said_to_be(models: ShadowModels) -> None:
    subject = _subject(models, with_memory=False)
    pool = subject.candidates
    places = np.r_[np.arange(len(pool)), np.arange(20)]
    # The copies have coins of their own, and no model keeps those apart.
    again = replace(
        subject,
        candidates=Candidates(pool.x[places], pool.y[places], np.arange(len(places)), pool.task[places]),
        trained=np.r_[subject.trained, ~subject.trained[:20]],
    )
    document = attacks.audit(again)
    assert f"40 of {len(places)} candidates: they occur more than once" in " ".join(document["not_tested"])
    loss = next(o for o in document["outcomes"] if o["attack"] == "loss, per class" and o["control"] is None)
    assert loss["n_members"] + loss["n_nonmembers"] == len(pool) - 20
    twice = replace(again, candidates=again.candidates.take(np.r_[:20, len(pool) : len(places)]))
    with pytest.raises(GameInvalid, match="give one boolean for each of the 40"):
        attacks.audit(twice)
    with pytest.raises(GameInvalid, match="all 40 candidates occur more than once"):
        attacks.audit(replace(twice, trained=np.arange(40) < 20))


def test_the_coins_of_people_are_not_taken_for_coins_of_examples(models: ShadowModels) -> None:
    subject = _subject(models, with_memory=False)
    n = len(subject.candidates)
    people = np.arange(n) // 12
    trained = (np.random.default_rng(1).random(n) < 0.5)[people]
    pool = subject.candidates
    person_wise = replace(subject, candidates=Candidates(pool.x, pool.y, people, pool.task), trained=trained)
    with pytest.raises(GameInvalid, match="declare one coin per cluster"):
        attacks.audit(person_wise)
    assert attacks.audit(person_wise, coin=Coin(per_cluster=True))["outcomes"]


def test_no_interval_of_an_audit_is_empty(models: ShadowModels) -> None:
    subject = _subject(models, with_memory=False)
    for members in (np.arange(len(subject.trained)) == 3, np.arange(len(subject.trained)) != 3):
        with pytest.raises(GameInvalid, match="two of each"):
            attacks.audit(replace(subject, trained=members), coin=None)
    document = attacks.audit(subject)
    assert all(
        o[f"{kind}_{end}"] is not None
        for o in document["outcomes"]
        for kind in ("auc", "blind")
        for end in ("low", "high")
    )
