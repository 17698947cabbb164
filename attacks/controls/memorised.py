"""Controls: a leak that must be found, and coins that cannot be.

An attack that finds nothing proves nothing unless it finds what is certainly there. The control worlds are
small networks trained without any protection until they know random labels by heart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attacks.games.attack import Attack, Candidates, Losses
from attacks.games.judging import Coin, Stream, Terms, stream_seed
from attacks.games.play import MEMBERSHIP, RETAINED, Game, Outcome, play
from attacks.games.views import ALL_MODELS, View
from attacks.modules.functions import losses_of

if TYPE_CHECKING:
    import torch

MakeAttack = Callable[[Losses], Attack]
"""Builds an attack from a loss function; a class such as `LossScore` is one."""

_DIMENSION, _LABELS, _PER_TASK = 32, 6, 160


@dataclass(frozen=True)
class ControlWorld:
    """A played-out world with a known leak, for attacks on predictions, the final model or the sequence."""

    game: Game
    view: View
    candidates: Candidates
    truth: NDArray[np.bool_]
    losses: Losses = field(repr=False)


def _network(n_labels: int, generator: torch.Generator) -> torch.nn.Module:
    import torch
    from torch.nn.utils import skip_init

    # Building layers the usual way would advance the caller's global generator.
    layers = [
        skip_init(torch.nn.Linear, _DIMENSION, 96),  # type: ignore[no-untyped-call]
        skip_init(torch.nn.Linear, 96, n_labels),  # type: ignore[no-untyped-call]
    ]
    module = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])
    with torch.no_grad():
        for parameter in module.parameters():
            fan = parameter.shape[-1] if parameter.ndim > 1 else 1e6
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan**0.5)
    return module


def _weights(module: torch.nn.Module) -> NDArray[np.float32]:
    import torch

    return np.asarray(torch.cat([p.detach().reshape(-1) for p in module.parameters()]).numpy(), dtype=np.float32)


def _learn_by_heart(module: torch.nn.Module, x: NDArray[np.float32], y: NDArray[np.int64], steps: int) -> None:
    import torch

    features, labels = torch.tensor(x), torch.tensor(y)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(features), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _world(game: Game, n_tasks: int, seed: int) -> ControlWorld:
    """Trains task after task on random labels; only candidates of task 0 are asked about."""
    import torch

    random = np.random.default_rng(seed)
    task = np.repeat(np.arange(n_tasks, dtype=np.int64), _PER_TASK)
    x = random.normal(size=(len(task), _DIMENSION)).astype(np.float32)
    y = _LABELS * task + random.integers(0, _LABELS, size=len(task))
    coin = random.random(len(task)) < 0.5
    module = _network(_LABELS * n_tasks, torch.Generator().manual_seed(seed))
    models, model_tasks = [_weights(module)], [-1]
    for number in range(n_tasks):
        now = task == number
        trained = now & coin if game is MEMBERSHIP else now | ((task < number) & coin)
        for _ in range(2):
            _learn_by_heart(module, x[trained], y[trained], 100)
            models.append(_weights(module))
            model_tasks.append(number)
    asked = task == 0
    with torch.no_grad():
        predictions = module(torch.tensor(x[asked])).softmax(dim=1).numpy()
    transcript = {
        "predictions": predictions,
        "final_model": models[-1],
        "models": np.stack(models),
        "model_tasks": np.array(model_tasks),
    }
    candidates = Candidates(x[asked], y[asked], np.arange(int(asked.sum())), task[asked])
    return ControlWorld(game, View.of(ALL_MODELS, transcript), candidates, coin[asked], losses_of(module))


def membership_world(seed: int = 0) -> ControlWorld:
    """160 candidates of one task, each trained on or not by a fair coin, labels at random."""
    return _world(MEMBERSHIP, 1, seed)


def retained_world(seed: int = 0) -> ControlWorld:
    """160 examples of the first of two tasks, all learned by heart, about half replayed in the second."""
    return _world(RETAINED, 2, seed)


def positive_control(make_attack: MakeAttack, world: ControlWorld, seed: int = 0) -> Outcome:
    """The outcome of an attack on a control world. Expected: an AUC above .9 (`testing` insists on it)."""
    target = "unprotected network that knows its data by heart"
    terms = Terms(target=target, seed=seed, coin=Coin(), control="positive")
    return play(world.game, make_attack(world.losses), world.view, world.candidates, world.truth, terms)


def negative_control(game: Game, attack: Attack, view: View, candidates: Candidates, terms: Terms) -> Outcome:
    """The same game against fresh coins that no run ever saw: the AUC's interval should cover .5.

    At 95 % confidence it misses one time in twenty. The coins follow `terms.seed` by a purpose of their own
    (`judging.stream_seed`), so that they are not the caller's, and the declared coin: per cluster if the game's are.

    Raises:
        GameInvalid: so few candidates that the coins fell all alike.
    """
    random = np.random.default_rng(stream_seed(terms, Stream.NEGATIVE_CONTROL))
    per_cluster = terms.coin is not None and terms.coin.per_cluster
    blocks = np.unique(candidates.cluster, return_inverse=True)[1]
    unit = blocks if per_cluster else np.arange(len(candidates))
    coins = (random.random(len(candidates)) < 0.5)[unit]
    fresh = replace(terms, target="random coins", coin=Coin(0.5, per_cluster), ledger_epsilon=0.0, control="negative")
    return play(game, attack, view, candidates, coins, fresh)
