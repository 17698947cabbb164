from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from attacks import ALL_CLIENTS_CLEAR, Candidates, View, gradients_of
from attacks.errors import CandidatesInvalid, GameInvalid
from attacks.games.standard import groups_of
from attacks.gradients.worlds import clipped_gradients
from attacks.membership.rounds import Observed, RoundLaw, RoundTables, round_tables
from attacks.shadows import BatchedMlp
from attacks.sums.federated import FedMia, GradientCosine
from evaluation.intervals import delong_auc
from evaluation.roc import auc

Data = tuple[NDArray[np.float32], NDArray[np.int64]]
Floats = NDArray[np.float64]
MLP = BatchedMlp((64, 16, 10))
CLIP, RATE, ROUNDS = 1.0, 0.3, 6
LAW = RoundLaw(clip_norm=CLIP, rate=RATE, steps=1, others=24.0)
WAYS = ("cosine", "null", "likelihood")


class World:
    """Rounds of DP-SGD on digits: 160 asked about, half of them members; 100 strangers; sums without noise."""

    def __init__(self, digits: Data) -> None:
        x, y = digits
        random = np.random.default_rng(3)
        order = random.permutation(len(x))
        asked, near = order[:160], order[160:260]
        zeros = np.zeros(160, dtype=np.int64)
        self.candidates = Candidates(x[asked], y[asked], np.arange(160), zeros)
        self.strangers = Candidates(x[near], y[near], np.arange(100), zeros[:100])
        self.groups = groups_of(self.candidates)
        self.truth = random.random(160) < 0.5
        weights, models, sums = MLP.initial(np.array([0]))[0], [], []
        for _ in range(ROUNDS):
            rows = clipped_gradients(gradients_of(MLP.module(), weights), x[asked], y[asked], CLIP).double().numpy()
            total = rows[self.truth & (random.random(160) < RATE)].sum(axis=0)
            models.append(weights)
            sums.append(total)
            weights = (weights - 0.02 * total).astype(np.float32)
        self.models, self.sums, self.slots = np.stack(models), np.stack(sums), np.zeros(ROUNDS, dtype=np.int64)

    def tables(self, *observed: Observed, strangers: Candidates | None = None) -> tuple[RoundTables, ...]:
        return round_tables(
            MLP.module(), self.models, self.slots, observed, self.candidates, strangers or self.strangers
        )

    def noise(self, std: float) -> Floats:
        return self.sums + std * np.random.default_rng(5).normal(size=self.sums.shape)


@pytest.fixture(scope="module")
def world(digits: Data) -> World:
    return World(digits)


@pytest.fixture(scope="module")
def seen(world: World) -> tuple[RoundTables, ...]:
    """The sums as they are, under noise, and noise alone."""
    noise = world.noise(2.0)
    return world.tables(Observed(world.sums, LAW), Observed(noise, LAW), Observed(noise - world.sums, LAW))


def test_sums_without_noise_tell_who_was_in_a_small_cohort(world: World, seen: tuple[RoundTables, ...]) -> None:
    found = {way: auc(seen[0].scores(way, world.groups), world.truth) for way in WAYS}
    # Who was never drawn cannot be found: 1 - .7^6 / 2 = .94 is the most there is.
    assert found["likelihood"] > 0.9
    # Who was never drawn cannot be found: 1 - .7^6 / 2 = .94 is the most there is.
    assert found["likelihood"] > max(found["cosine"], found["null"]) > 0.6


def test_rounds_add_up(world: World, seen: tuple[RoundTables, ...]) -> None:
    by_rounds = [auc(seen[0].scores("likelihood", world.groups, k), world.truth) for k in (1, 2, 4, 6)]
    assert by_rounds == sorted(by_rounds)
    # A rate of .3 leaves most members out of any one round.
    assert by_rounds[0] < 0.8


def test_noise_hides_them(world: World, seen: tuple[RoundTables, ...]) -> None:
    for way in WAYS:
        under = auc(seen[1].scores(way, world.groups), world.truth)
        assert under < auc(seen[0].scores(way, world.groups), world.truth)
        assert under < 0.7


def test_vectors_of_noise_alone_tell_nothing(world: World, seen: tuple[RoundTables, ...]) -> None:
    for way in WAYS:
        assert 0.5 in delong_auc(seen[2].scores(way, world.groups), world.truth, 0.999).interval


def test_coins_that_decide_nothing_are_not_found(world: World, seen: tuple[RoundTables, ...]) -> None:
    idle = np.random.default_rng(8).random(160) < 0.5
    for way in WAYS:
        assert 0.5 in delong_auc(seen[0].scores(way, world.groups), idle, 0.999).interval


def test_one_client_in_the_clear_is_read_as_the_known_attacks_do(world: World) -> None:
    random = np.random.default_rng(6)
    others = world.sums[:, None] + random.normal(size=(ROUNDS, 5, world.sums.shape[1]))
    (found,) = world.tables(Observed(world.sums, LAW, others))
    view = View.of(ALL_CLIENTS_CLEAR, {
        "final_model": world.models[-1], "models": world.models, "model_tasks": world.slots, "sums": -world.sums,
        "sum_clients": np.full(ROUNDS, 6), "client_updates": -world.sums, "other_updates": -others,
    })  # fmt: skip
    cosine = GradientCosine(MLP.module()).score(view, world.candidates)
    assert np.allclose(found.cosine.mean(axis=0), cosine, atol=1e-5)
    assert np.allclose(found.null.sum(axis=0), FedMia(MLP.module()).score(view, world.candidates), rtol=1e-3, atol=1e-3)


def test_likelihoods_are_those_of_a_normal_law(world: World) -> None:
    """By dense matrices: a linear layer of 3 features and 2 classes, 2 steps, one round."""
    random = np.random.default_rng(9)
    module, law = torch.nn.Linear(12, 2), RoundLaw(clip_norm=0.7, rate=0.4, steps=2, others=5.0)
    models = random.normal(size=(1, 26)).astype(np.float32)

    def drawn(n: int) -> Candidates:
        x, y = random.normal(size=(n, 12)).astype(np.float32), random.integers(0, 2, size=n)
        return Candidates(x, y, np.arange(n), np.zeros(n, dtype=np.int64))

    strangers, asked, vector = drawn(20), drawn(7), random.normal(size=(1, 26))
    (found,) = round_tables(module, models, np.zeros(1, dtype=np.int64), [Observed(vector, law)], asked, strangers)
    gradient_of = gradients_of(module, models[0])
    near, own = (clipped_gradients(gradient_of, part.x, part.y, 0.7).double().numpy() for part in (strangers, asked))
    means = np.stack([near[strangers.y == y].mean(axis=0) for y in (0, 1)])
    apart = np.eye(26) - np.linalg.pinv(means) @ means
    basis = np.linalg.svd(apart)[0][:, :24]
    rows, left, mine = near @ apart @ basis, vector[0] @ apart @ basis, own @ apart @ basis
    span = np.linalg.pinv(rows, rcond=1e-5) @ rows
    noise = float(((left - span @ left) ** 2).sum()) / (24 - np.linalg.matrix_rank(rows, rtol=1e-5))
    logs = []
    for one in mine:
        # The other candidates are in with even odds, and then drawn at .4 in each of two steps.
        rest = mine.T @ mine - np.outer(one, one)
        cov = noise * np.eye(24) + 5.0 / 20 * rows.T @ rows + 0.5 * 2 * 0.4 * rest
        logs.append([stats.multivariate_normal(j * one, cov).logpdf(left) for j in range(3)])
    weights = stats.binom.pmf(np.arange(3), 2, 0.4)
    expected = [np.log((weights * np.exp(np.array(each) - each[0])).sum()) for each in logs]
    assert np.allclose(found.likelihood[0], expected, rtol=1e-4, atol=1e-5)


def test_every_candidate_is_asked_in_its_own_rounds(world: World) -> None:
    two = Candidates(world.candidates.x, world.candidates.y, world.candidates.cluster, np.arange(160) % 2)
    slots = np.repeat([0, 1], ROUNDS // 2)
    (own,) = round_tables(MLP.module(), world.models, slots, [Observed(world.sums, LAW)], two, world.strangers)
    (all_of,) = world.tables(Observed(world.sums, LAW))
    assert own.cosine.shape == (ROUNDS // 2, 160)
    for task in (0, 1):
        assert np.allclose(own.cosine[:, two.task == task], all_of.cosine[slots == task][:, two.task == task])


def test_what_does_not_fit_is_refused(world: World) -> None:
    ask = (MLP.module(), world.models, world.slots, [Observed(world.sums, LAW)])
    few = world.strangers.take(np.arange(19))
    with pytest.raises(CandidatesInvalid, match="19 examples that nobody trained on"):
        round_tables(*ask, world.candidates, few)
    later = Candidates(world.candidates.x, world.candidates.y, world.candidates.cluster, np.ones(160, dtype=np.int64))
    with pytest.raises(CandidatesInvalid, match="no round was observed"):
        round_tables(*ask, later, world.strangers)
    with pytest.raises(CandidatesInvalid, match="no candidates"):
        round_tables(*ask, world.candidates.take(np.arange(0)), world.strangers)
    with pytest.raises(GameInvalid, match="outside 1 to 6"):
        world.tables(Observed(world.sums, LAW))[0].scores("null", world.groups, 7)
    with pytest.raises(CandidatesInvalid, match="6 models for vectors"):
        world.tables(Observed(world.sums[:3], LAW))
    with pytest.raises(CandidatesInvalid, match="two other clients"):
        world.tables(Observed(world.sums, LAW, world.sums[:, None]))
    mixed = Candidates(world.candidates.x, world.candidates.y, world.candidates.cluster, np.arange(160) % 2)
    with pytest.raises(GameInvalid, match="rounds; observe as many"):
        round_tables(MLP.module(), world.models, np.arange(ROUNDS) // 4, ask[3], mixed, world.strangers)
    with pytest.raises(GameInvalid, match="clipping norms"):
        world.tables(Observed(world.sums, LAW), Observed(world.sums, replace(LAW, clip_norm=2.0)))
    with pytest.raises(GameInvalid, match="must be positive"):
        RoundLaw(clip_norm=1.0, rate=0.0, steps=1, others=1.0)
