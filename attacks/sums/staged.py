"""Staged rounds: the challenger plays rounds of its own at a run's model, with the run's clipping, rates and noise.

A finished run fixes what its clients did; only a staged round can flip a coin about a whole class, or show every
client's update in the clear. What an attack finds in one is what the mechanism would give away to an adversary with
that view, and no statement about what happened in the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import GameInvalid, TooFew
from attacks.games.attack import Attack, Candidates, FloatArray
from attacks.games.judging import BoolArray, Coin, Terms
from attacks.games.play import MEMBERSHIP, Outcome, blind_baseline, judge, play
from attacks.games.views import ALL_CLIENTS_CLEAR, SUMS_ONLY, View
from attacks.gradients.worlds import clipped_gradients
from attacks.membership.scores import Standardised
from attacks.modules.functions import gradients_of
from attacks.sums.arrival import ARRIVAL, class_arrival
from attacks.sums.federated import FedMia, GradientCosine
from evaluation.evidence import Interval, Score
from evaluation.intervals import clopper_pearson

if TYPE_CHECKING:
    import torch

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class StagedRule:
    """One client's part of one round.

    Attributes:
        clip_norm: norm to which an example's gradient is clipped.
        rate: Poisson rate at which its examples join.
        noise: standard deviation per coordinate of the noise it adds, in gradient units; 0 leaves the noise out.
    """

    clip_norm: float
    rate: float
    noise: float

    def __post_init__(self) -> None:
        if not (self.clip_norm > 0 and 0 < self.rate <= 1 and self.noise >= 0):
            raise GameInvalid(f"{self}: clip norm positive, rate in (0, 1] and noise at least 0 are needed")


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """How often the client that brought a class was named from every client's update in the clear.

    Attributes:
        rounds: in which a class arrived.
        right: share of them in which the right client was accused.
        interval: Clopper-Pearson.
        chance: one over the number of clients.
    """

    rounds: int
    right: float
    interval: Interval
    chance: float


def stage_arrival(
    module: torch.nn.Module,
    weights: NDArray[np.float32],
    bias: slice,
    label: int,
    data: tuple[Data, Data],
    sizes: tuple[int, int, int],
    rule: StagedRule,
    terms: Terms,
    rounds: int = 120,
) -> tuple[Outcome, Attribution]:
    """Plays class arrival (`arrival.ARRIVAL`): in half of the rounds one client holds examples of a class nobody had.

    The sums hold every client, so that they tell of the class and not of the client; who brought it is asked of the
    updates in the clear, which is what an adversary has whom no secure aggregation stops.

    Args:
        module: the architecture.
        weights: (d,), the model at which the rounds are played; it should not know the class.
        bias: where the last layer's bias lies (`layout.last_linear`).
        label: the class that arrives.
        data: examples of classes known before, and examples of the arriving one; clients draw from them.
        sizes: number of clients, examples of one client, and how many of the new class it brings.
        rule: of every client.
        terms: its coin is set to the fair one of the game.
        rounds: at least 20, half of them (by coin) with an arrival.

    Raises:
        GameInvalid: too few rounds, or sizes below 1.
        TooFew: an empty pool.
    """
    (old, new), (clients, held, brought) = data, sizes
    empty = not (len(old[0]) and len(new[0]))
    if rounds < 20 or min(clients, held, brought) < 1 or empty:
        error = TooFew if empty else GameInvalid
        raise error(
            f"{rounds} rounds (at least 20), sizes {sizes}, pools {len(old[0])} and {len(new[0])}: all must be positive"
        )
    random = np.random.default_rng([terms.seed, 11])
    gradient_of = gradients_of(module, weights)
    # The adversary reads bias entries only, so nothing else of a gradient is kept.
    known, fresh = (clipped_gradients(gradient_of, *part, rule.clip_norm)[:, bias].numpy() for part in (old, new))
    arrives, who = random.random(rounds) < 0.5, random.integers(0, clients, size=rounds)
    arrives[:2] = (True, False)
    clear = _arrival_rounds((known, fresh), sizes, rule, arrives, who, random)
    view = View.of(SUMS_ONLY, {"sums": clear.sum(axis=1), "sum_clients": np.full(rounds, clients)})
    whole = slice(0, known.shape[1])
    nothing = np.zeros(rounds, dtype=np.int64)
    asked = Candidates(np.zeros((rounds, 1), dtype=np.float32), nothing, np.arange(rounds), nothing)
    # Without the sums there is nothing to see: the blind guess is one half by construction.
    blind = Score(value=0.5, low=0.5, high=0.5, confidence=terms.confidence, n=rounds)
    scores = class_arrival(view, whole, label).rounds
    names = ("bias of the class", view.threat.name)
    outcome = judge(ARRIVAL, names, scores, asked, arrives, replace(terms, coin=Coin()), blind)
    return outcome, _attribution(clear[arrives], who[arrives], label)


def _arrival_rounds(
    pools: tuple[FloatArray, FloatArray],
    sizes: tuple[int, int, int],
    rule: StagedRule,
    arrives: BoolArray,
    who: NDArray[np.int64],
    random: np.random.Generator,
) -> FloatArray:
    """Every client's update in every round, bias entries only, (rounds, clients, classes)."""
    (known, fresh), (clients, held, brought) = pools, sizes
    total = np.zeros((len(arrives), clients, known.shape[1]))
    for number, client in enumerate(who):
        joined = random.binomial(held, rule.rate, size=clients)
        for one in range(clients):
            total[number, one] = known[random.integers(0, len(known), size=joined[one])].sum(axis=0)
        if arrives[number]:
            chosen = random.integers(0, len(fresh), size=random.binomial(brought, rule.rate))
            total[number, client] += fresh[chosen].sum(axis=0)
    return -(total + rule.noise * random.normal(size=total.shape))


def _attribution(clear: FloatArray, who: NDArray[np.int64], label: int) -> Attribution:
    rise = clear[:, :, label] - np.delete(clear, label, axis=2).mean(axis=2)
    hits = int((rise.argmax(axis=1) == who).sum())
    return Attribution(
        rounds=len(who), right=hits / len(who), interval=clopper_pearson(hits, len(who)), chance=1.0 / clear.shape[1]
    )


def stage_clear_updates(
    module: torch.nn.Module,
    models: NDArray[np.float32],
    target: tuple[Candidates, BoolArray],
    others: Sequence[Data],
    rule: StagedRule,
    terms: Terms,
) -> tuple[Outcome, ...]:
    """Plays membership in one client's data against updates in the clear: gradient cosine, and FedMIA if it can.

    The adversary is a server that no secure aggregation stops, or one that got at a client's update all the same.

    Args:
        module: the architecture.
        models: (R, d), the model at the start of every round.
        target: the client's possible examples, and which of them it holds, bool (n,), by coin.
        others: (x, y) of every other client; FedMIA needs two.
        rule: of every client.
        terms: the coin is that of `target`.

    Raises:
        GameInvalid: truths that do not fit or are one-sided.
    """
    candidates, truth = target
    random = np.random.default_rng([terms.seed, 12])
    own = (candidates.x[truth], candidates.y[truth])
    table = np.stack([
        np.stack([_update(module, weights, part, rule, random) for part in (own, *others)]) for weights in models
    ])  # fmt: skip
    rounds = len(models)
    fields: dict[str, Any] = {
        "final_model": models[-1], "models": models, "model_tasks": np.zeros(rounds, dtype=np.int64),
        "sums": table.sum(axis=1), "sum_clients": np.full(rounds, len(table[0])), "client_updates": table[:, 0],
        "other_updates": table[:, 1:],
    }  # fmt: skip
    view = View.of(ALL_CLIENTS_CLEAR, fields)
    # Gradients of one class are alike: without this step the noise along a class would pass for its members.
    plain: list[Attack] = [GradientCosine(module), *([FedMia(module)] if len(others) >= 2 else [])]
    ways = [Standardised(way) for way in plain]
    blind = blind_baseline(candidates, truth, terms)
    return tuple(play(MEMBERSHIP, way, view, candidates, truth, terms, blind) for way in ways)


def _update(
    module: torch.nn.Module, weights: NDArray[np.float32], data: Data, rule: StagedRule, random: np.random.Generator
) -> FloatArray:
    joins = random.random(len(data[0])) < rule.rate
    total = np.zeros(len(weights))
    if joins.any():
        rows = clipped_gradients(gradients_of(module, weights), data[0][joins], data[1][joins], rule.clip_norm)
        total = rows.double().sum(dim=0).numpy()
    return -(total + rule.noise * random.normal(size=total.shape))
