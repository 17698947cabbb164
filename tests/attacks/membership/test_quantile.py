"""Quantile regression: false alarms at the rate it promises, and power beside attacks that train 64 models."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from attacks import FINAL_MODEL, Candidates, ShadowMembership, View, continual_models, losses_of
from attacks.controls.memorised import ControlWorld
from attacks.errors import CandidatesInvalid
from attacks.games.attack import run_attack
from attacks.membership.families import LIRA_FIXED
from attacks.membership.quantile import QuantileMembership, fewest
from attacks.membership.scores import OddsScore
from attacks.shadows import BatchedMlp, ContinualRecipe, Rule
from evaluation.roc import auc

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


def _candidates(x: NDArray[np.float32], y: NDArray[np.int64], rows: NDArray[np.int64]) -> Candidates:
    return Candidates(x[rows], y[rows], np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64))


def _losses_from_inputs(noise: float):  # type: ignore[no-untyped-def]
    """A model that never trained: log odds grow with the first input, and spread with the second."""

    def losses(weights: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.float64]:
        own = np.sin(1e6 * x.astype(np.float64).sum(axis=1))
        odds = 3.0 * x[:, 0] + noise * (1.0 + np.abs(x[:, 1])) * own + weights[0]
        return np.logaddexp(0.0, -odds.astype(np.float64))

    return losses


def _fresh(count: int, seed: int) -> Candidates:
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 6)).astype(np.float32)
    return Candidates(x, random.integers(0, 3, count), np.arange(count), np.zeros(count, dtype=np.int64))


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_fresh_non_members_are_accused_at_the_rate_it_promises(alpha: float) -> None:
    """The rate of one population is Beta, so that accusations among fresh non-members are Beta-binomial."""
    population, fresh = _fresh(2000, 1), _fresh(4000, 2)
    attack = QuantileMembership(_losses_from_inputs(0.5), population, alpha=alpha)
    view = View.of(FINAL_MODEL, {"final_model": np.zeros(1, dtype=np.float32), "predictions": np.zeros(1)})
    accused = int((attack.score(view, fresh) > 0.0).sum())
    above = 2001 - int(np.ceil(2001 * (1 - alpha)))
    law = stats.betabinom(len(fresh), above, 2001 - above)
    assert law.ppf(5e-7) <= accused <= law.ppf(1 - 5e-7)


def test_the_quantile_follows_the_example() -> None:
    """The control of the calibration: one threshold for all keeps the rate overall and not where it is asked."""
    population, fresh = _fresh(3000, 1), _fresh(4000, 2)
    view = View.of(FINAL_MODEL, {"final_model": np.zeros(1, dtype=np.float32), "predictions": np.zeros(1)})
    losses = _losses_from_inputs(0.5)
    easy = fresh.x[:, 0] > 1.0
    accused = QuantileMembership(losses, population, alpha=0.1).score(view, fresh) > 0.0
    odds, theirs = (OddsScore(losses).score(view, part) for part in (fresh, population))
    plain = odds > np.quantile(theirs, 0.9)
    assert accused[easy].mean() < 0.25
    assert plain[easy].mean() > 0.4


@pytest.fixture(scope="module")
def overfitted(digits: Data):  # type: ignore[no-untyped-def]
    x, y = digits
    order = np.random.default_rng(0).permutation(len(x))
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.1, momentum=0.9), batch=64, steps=560)
    pool = _candidates(x, y, order[:900])
    models = continual_models(BatchedMlp((64, 64, 10)), pool, recipe, models=48, seed=3)
    return models, pool, _candidates(x, y, order[900:])


def test_one_regressor_finds_members_of_an_overfitted_model_and_shadow_models_find_more(overfitted) -> None:  # type: ignore[no-untyped-def]
    models, pool, population = overfitted
    losses, found = losses_of(_module()), {"quantile": [], "loss": [], "LiRA": []}
    shadows = models.take(np.arange(32))
    for target in range(32, 48):
        view = View.of(FINAL_MODEL, models.transcript(target))
        attacks = {
            "quantile": QuantileMembership(losses, population),
            "loss": OddsScore(losses),
            "LiRA": ShadowMembership(shadows, LIRA_FIXED),
        }
        for name, attack in attacks.items():
            found[name].append(auc(run_attack(attack, view, pool), models.trained[target]))
    mean = {name: float(np.mean(values)) for name, values in found.items()}
    assert mean["quantile"] > 0.53
    assert mean["quantile"] > mean["loss"]
    assert mean["LiRA"] > mean["quantile"]


def _module():  # type: ignore[no-untyped-def]
    import torch

    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))


def test_a_model_that_saw_nobody_gives_nobody_away(overfitted) -> None:  # type: ignore[no-untyped-def]
    models, pool, population = overfitted
    view = View.of(FINAL_MODEL, {"final_model": models.weights[40, 0], "predictions": np.zeros(1)})
    scores = QuantileMembership(losses_of(_module()), population).score(view, pool)
    assert abs(auc(scores, models.trained[40]) - 0.5) < 5 * 0.5 / 900**0.5


def test_candidates_in_the_population_teach_nothing(member_world: ControlWorld) -> None:
    world = member_world
    with pytest.raises(CandidatesInvalid, match=r"population of 0 .* at least 200"):
        QuantileMembership(world.losses, world.candidates).score(world.view, world.candidates)
    assert fewest(0.05) == 200
    one = _fresh(300, 1)
    one = Candidates(one.x, one.y, np.zeros(300, dtype=np.int64), one.task)
    with pytest.raises(CandidatesInvalid, match="population of 1 clusters"):
        QuantileMembership(_losses_from_inputs(0.5), one).score(world.view, _fresh(9, 2))
    with pytest.raises(CandidatesInvalid, match="must lie in"):
        QuantileMembership(world.losses, world.candidates, alpha=0.0)
