"""Membership over rounds as games: judged after so many rounds, and staged where a run shows no client alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import GameInvalid
from attacks.games.attack import Candidates, FloatArray
from attacks.games.judging import BoolArray, Terms, auc_score
from attacks.games.play import MEMBERSHIP, Outcome, blind_baseline, judge
from attacks.games.views import ALL_CLIENTS_CLEAR, SUMS_ONLY, ThreatModel, View
from attacks.gradients.worlds import clipped_gradients
from attacks.membership.rounds import NAMES, Observed, RoundLaw, RoundTables, Way, round_tables
from attacks.modules.functions import gradients_of
from attacks.sums.staged import Data, StagedRule
from evaluation.evidence import Score

if TYPE_CHECKING:
    import torch

ALL_WAYS: tuple[Way, ...] = ("cosine", "null", "likelihood")


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """How far an attack gets with the first rounds of each task alone.

    Attributes:
        attack, view, target: as those of the outcome over all rounds.
        noise: whether the vectors carried the noise of the training.
        rounds: numbers of rounds: 1, 2, 4 and so on, and all.
        auc: of each number of rounds.
    """

    attack: str
    view: str
    target: str
    noise: bool
    rounds: tuple[int, ...]
    auc: tuple[Score, ...]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who is asked about, and how it is judged.

    Attributes:
        candidates: (n,).
        truth: bool (n,), the coins.
        terms: of judging.
        threat: whose view it is.
        noise: whether the vectors carry the noise of the training.
        blind: of these candidates and coins; None: it is computed.
    """

    candidates: Candidates
    truth: BoolArray
    terms: Terms
    threat: ThreatModel
    noise: bool
    blind: Score | None = None


def judge_rounds(
    tables: RoundTables, asked: Asked, ways: Sequence[Way] = ALL_WAYS
) -> tuple[tuple[Outcome, ...], tuple[Trajectory, ...]]:
    """Return the outcome over all rounds of each way, and how it grew with their number.

    Raises:
        GameInvalid: truth does not match the candidates, or their coins are not those declared.
        TooFew: it is one-sided, or has fewer than two clusters on a side.
    """
    candidates, truth, terms = asked.candidates, asked.truth, asked.terms
    blind = asked.blind or blind_baseline(candidates, truth, terms)
    total = len(tables.cosine)
    counts = tuple(sorted({total, *(2**k for k in range(total.bit_length()))}))
    outcomes, trajectories = [], []
    for way in ways:
        name = f"{NAMES[way]} over rounds"
        scores = tables.scores(way, candidates)
        outcomes.append(judge(MEMBERSHIP, (name, asked.threat.name), scores, candidates, truth, terms, blind))
        grown = tuple(auc_score(tables.scores(way, candidates, k), truth, candidates.cluster, terms) for k in counts)
        trajectories.append(
            Trajectory(
                attack=name, view=asked.threat.name, target=terms.target, noise=asked.noise, rounds=counts, auc=grown
            )
        )
    return tuple(outcomes), tuple(trajectories)


@dataclass(frozen=True, kw_only=True)
class StagedNoise:
    """Noise of a staged round, standard deviations per coordinate in gradient units, and how its games are judged.

    Attributes:
        client: of one client's update, at least 0.
        total: of the sum over all clients, at least 0.
        of_client, of_total: terms of the games against either; their coin is that of the client's examples.
    """

    client: float
    total: float
    of_client: Terms
    of_total: Terms


def stage_rounds(
    module: torch.nn.Module,
    models: NDArray[np.float32],
    target: tuple[Candidates, BoolArray],
    others: Sequence[Data],
    strangers: Candidates,
    rule: StagedRule,
    noises: Sequence[StagedNoise],
) -> tuple[tuple[Outcome, ...], tuple[Trajectory, ...]]:
    """Play membership in one client's data against its updates in the clear, and against the sum over all clients.

    The rounds are one step each at the given models, the same draws for every noise. With updates in the clear all ways
    are played; of the sum of this small cohort the likelihood ratio alone.

    Args:
        module: the architecture.
        models: (R, d), the model before each round.
        target: the client's possible examples, of one task, and which of them it holds, bool (n,), by coin.
        others: (x, y) of every other client, two at least.
        strangers: examples of the same distribution that nobody holds.
        rule: of every client; its `noise` plays no part.
        noises: without the noise, and as it is.

    Raises:
        GameInvalid: fewer than two other clients, or truths that do not fit or are one-sided.
        CandidatesInvalid: see `round_tables`.
    """
    candidates, truth = target
    if len(others) < 2:
        raise GameInvalid(f"{len(others)} other clients give no law of an update without the example; give at least 2")
    random = np.random.default_rng([noises[0].of_client.seed, 13])
    own = (candidates.x[truth], candidates.y[truth])
    clean = np.stack([_round(module, weights, (own, *others), rule, random) for weights in models])
    held = [0.5 * len(candidates), *(len(x) for x, _ in others)]
    slots = np.full(len(models), int(candidates.task[0]) if len(candidates) else 0, dtype=np.int64)
    observed = [seen for noise in noises for seen in _observed(models, slots, clean, noise, (rule, held), random)]
    tables = round_tables(module, models, slots, observed, candidates, strangers)
    blind = blind_baseline(candidates, truth, noises[0].of_client)
    outcomes: list[Outcome] = []
    grown: list[Trajectory] = []
    for place, noise in enumerate(noises):
        for part, terms, threat, ways in (
            (tables[2 * place], noise.of_client, ALL_CLIENTS_CLEAR, ALL_WAYS),
            (tables[2 * place + 1], noise.of_total, SUMS_ONLY, ALL_WAYS[-1:]),
        ):
            asked = Asked(
                candidates=candidates, truth=truth, terms=terms, threat=threat, noise=noise.total > 0, blind=blind
            )
            played, course = judge_rounds(part, asked, ways)
            outcomes += played
            grown += course
    return tuple(outcomes), tuple(grown)


def _round(
    module: torch.nn.Module, weights: NDArray[np.float32], data: Sequence[Data], rule: StagedRule, random: Any
) -> FloatArray:
    """Return every client's sum of clipped gradients in one round, (clients, d)."""
    gradient_of, found = gradients_of(module, weights), []
    for x, y in data:
        joins = random.random(len(x)) < rule.rate
        rows = clipped_gradients(gradient_of, x[joins], y[joins], rule.clip_norm) if joins.any() else None
        found.append(np.zeros(len(weights)) if rows is None else rows.double().sum(dim=0).numpy())
    return np.stack(found)


def _observed(
    models: NDArray[np.float32],
    slots: NDArray[np.int64],
    clean: FloatArray,
    noise: StagedNoise,
    public: tuple[StagedRule, Sequence[float]],
    random: Any,
) -> tuple[Observed, Observed]:
    """Return what is seen of updates in the clear, and of their sum; `public`: the rule, and how much clients hold."""
    clear = -(clean + noise.client * random.normal(size=clean.shape))
    total = -(clean.sum(axis=1) + noise.total * random.normal(size=clean[:, 0].shape))
    fields: dict[str, Any] = {
        "final_model": models[-1], "models": models, "model_tasks": slots, "sums": total,
        "sum_clients": np.full(len(models), clean.shape[1]), "client_updates": clear[:, 0],
        "other_updates": clear[:, 1:],
    }  # fmt: skip
    one, every = View.of(ALL_CLIENTS_CLEAR, fields), View.of(SUMS_ONLY, fields)
    rule, held = public
    laws = [
        RoundLaw(clip_norm=rule.clip_norm, rate=rule.rate, steps=1, others=max(1.0, rule.rate * size))
        for size in (held[0], sum(held))
    ]
    return (
        Observed(-one.array("client_updates"), laws[0], -one.array("other_updates")),
        Observed(-every.array("sums"), laws[1]),
    )
