"""The audited architecture, made to know examples by heart: a leak that the audit's own attack must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from attacks.errors import AttackError
from attacks.games.attack import Attack, Candidates, repeated
from attacks.games.judging import Coin, Terms, purpose_seed
from attacks.games.play import MEMBERSHIP, Outcome, play
from attacks.games.views import FINAL_MODEL, View
from attacks.membership.scores import LossScore
from attacks.modules.functions import flat_weights, losses_of

if TYPE_CHECKING:
    import torch

    from attacks.own.models import FunctionScore

_EXAMPLES, _STEPS, _MOST = 80, 300, 2_000_000


def planted_control(
    make: Callable[[], torch.nn.Module], pool: Candidates, own: FunctionScore | None, seed: int
) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    """Train a fresh network on half of 80 candidates with random labels, and let the audit's attack look for them.

    Args:
        make: makes a fresh network.
        pool: where examples come from; their true labels and their fate do not matter.
        own: the user's score, if it takes the place of the loss.
        seed: public.

    Returns:
        The outcome, a positive control, or the reason why there is none.
    """
    import torch

    random = np.random.default_rng(purpose_seed(seed, "attacks.own.planted"))
    alone = np.flatnonzero(~repeated(pool))
    chosen = pool.take(random.permutation(alone)[:_EXAMPLES])
    if len(chosen) < 20:
        return (), (
            f"a planted leak in this architecture: {len(chosen)} different candidates are too few to plant one",
        )
    labels = random.permutation(chosen.y)
    asked = replace(chosen, y=labels, cluster=np.arange(len(chosen)), task=np.zeros(len(chosen), dtype=np.int64))
    inside = random.permutation(len(asked)) < len(asked) // 2
    with torch.random.fork_rng(devices=[]):
        # Layers start from torch's global generator, and dropout draws from it.
        torch.manual_seed(int(random.integers(2**31)))
        module = make()
        size = sum(parameter.numel() for parameter in module.parameters())
        if size > _MOST:
            return (), (
                f"a planted leak in this architecture: it has {size} parameters, and up to {_MOST} are trained",
            )
        try:
            _learn_by_heart(module, asked.take(inside))
        except (RuntimeError, ValueError, IndexError) as error:
            first = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
            return (), (f"a planted leak in this architecture: training by cross-entropy failed ({first})",)
    attack: Attack = LossScore(losses_of(module)) if own is None else replace(own, module=module)
    terms = Terms(target="this architecture, random labels learnt by heart", seed=seed, coin=Coin(), control="positive")
    view = View.of(FINAL_MODEL, {"final_model": flat_weights(module)})
    try:
        return (play(MEMBERSHIP, attack, view, asked, inside, terms),), ()
    except AttackError as error:
        return (), (f"a planted leak in this architecture: {error}",)


def _learn_by_heart(module: torch.nn.Module, examples: Candidates) -> None:
    import torch

    x, y = torch.tensor(examples.x), torch.tensor(examples.y)
    optimiser = torch.optim.Adam(module.train().parameters(), lr=0.005)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(module(x), y))
        optimiser.step()
