"""An unprotected, overfit network on the run's own data: a leak that the same attacks must find."""

from __future__ import annotations

import numpy as np

from attacks.controls.memorised import negative_control
from attacks.games.attack import Candidates
from attacks.games.judging import Coin, Terms
from attacks.games.play import MEMBERSHIP, Outcome, play
from attacks.games.views import FINAL_MODEL, View
from attacks.membership.scores import OddsScore, Standardised
from attacks.modules.functions import losses_of
from secure_fcl.randomness import public_generator, public_seed
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import GradientStrategy
from secure_fcl.streams import NO_ITEM

_EXAMPLES = 400
_EPOCHS = 120


def overfit_control(plan: RowPlan, strategy: GradientStrategy) -> list[Outcome]:
    """Train the row's network on few examples, without clipping or noise, until it knows them; play membership.

    One example per item, labels drawn at random (Zhang et al. 2017, section 2): such a label can only be learnt by
    heart, so that a member's loss says that it is one. Members by a fair public coin.
    """
    import torch

    scenario = plan.scenario
    rng = public_generator(plan.config.seed, "positive control")
    pool = np.flatnonzero(scenario.data.train & (scenario.units.item != NO_ITEM))
    first = np.unique(scenario.units.item[pool], return_index=True)[1]
    chosen = rng.permutation(pool[first])[:_EXAMPLES]
    labels = rng.integers(0, len(scenario.data.classes), size=len(chosen)).astype(np.int64)
    truth = rng.random(len(chosen)) < 0.5
    network = strategy.network(strategy.initial())
    x, y = torch.from_numpy(scenario.x[chosen][truth]), torch.from_numpy(labels[truth])
    optimiser = torch.optim.Adam(network.parameters(), lr=0.003)
    for _ in range(_EPOCHS):
        optimiser.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(network(x), y))
        optimiser.step()
    weights = torch.cat([p.detach().reshape(-1) for p in network.parameters()]).numpy()
    zeros = np.zeros(len(chosen), dtype=np.int64)
    candidates = Candidates(scenario.x[chosen], labels, scenario.units.item[chosen], zeros)
    terms = Terms(
        target="unprotected network that learnt random labels by heart",
        seed=public_seed(plan.config.seed, "judge", "positive control"),
        coin=Coin(0.5),
        delta=plan.config.privacy.delta,
        control="positive",
    )
    view = View.of(FINAL_MODEL, {"final_model": weights})
    attack = Standardised(OddsScore(losses_of(network)))
    outcome = play(MEMBERSHIP, attack, view, candidates, truth, terms)
    fresh = negative_control(MEMBERSHIP, attack, view, candidates, terms)
    return [outcome, fresh]
