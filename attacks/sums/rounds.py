"""Membership over rounds as games: judged after so many rounds, and staged where a run shows no client alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import GameInvalid
from attacks.games.attack import Candidates, FloatArray, IntArray
from attacks.games.judging import BoolArray, Terms, auc_score
from attacks.games.play import MEMBERSHIP, Outcome, blind_baseline, judge
from attacks.games.standard import groups_of
from attacks.games.views import ALL_CLIENTS_CLEAR, SUMS_ONLY, ThreatModel, View
from attacks.gradients.worlds import clipped_gradients
from attacks.membership.rounds import NAMES, Observed, RoundLaw, RoundTables, Way, joined, round_tables
from attacks.modules.functions import gradients_of
from attacks.sums.staged import StagedRule
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
        groups: (n,), within which scores are standardised.
        terms: of judging.
        threat: whose view it is.
        noise: whether the vectors carry the noise of the training.
        blind: of these candidates and coins; None: it is computed.
    """

    candidates: Candidates
    truth: BoolArray
    groups: IntArray
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
        scores = tables.scores(way, asked.groups)
        outcomes.append(judge(MEMBERSHIP, (name, asked.threat.name), scores, candidates, truth, terms, blind))
        grown = tuple(auc_score(tables.scores(way, asked.groups, k), truth, candidates.cluster, terms) for k in counts)
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
        of_client, of_total: terms of the games against either; their coin is that of the clients' examples.
    """

    client: float
    total: float
    of_client: Terms
    of_total: Terms


@dataclass(frozen=True, eq=False, kw_only=True)
class Cohort:
    """The clients of staged rounds, three at least: what each may hold, of one task, and by a coin does.

    Raises:
        GameInvalid: fewer than three clients, or truths that do not match the candidates.
    """

    candidates: tuple[Candidates, ...]
    truths: tuple[BoolArray, ...]
    rule: StagedRule
    """Of every client; its `noise` plays no part."""

    def __post_init__(self) -> None:
        sizes, coins = [len(one) for one in self.candidates], [len(one) for one in self.truths]
        if len(sizes) < 3 or sizes != coins:
            raise GameInvalid(
                f"clients hold {sizes} candidates with {coins} coins; two others, at least, are the law of an update "
                "without the example, and each candidate has one coin"
            )

    @property
    def everyone(self) -> tuple[Candidates, BoolArray, IntArray]:
        """All candidates, their coins, and the groups of their scores: client, task and label."""
        parts = [[getattr(one, name) for one in self.candidates] for name in ("x", "y", "cluster", "task")]
        x, y, cluster, task = (np.concatenate(part) for part in parts)
        owner = np.repeat(np.arange(len(self.candidates)), [len(one) for one in self.candidates])
        candidates = Candidates(x, y, cluster, task)
        by_label = groups_of(candidates)
        return candidates, np.concatenate(self.truths), owner * (int(by_label.max(initial=0)) + 1) + by_label

    def drawn(self, module: torch.nn.Module, models: NDArray[np.float32], seed: int) -> FloatArray:
        """Every client's sum of clipped gradients in every round, (R, clients, d)."""
        random = np.random.default_rng([seed, 13])
        found = np.zeros((len(models), len(self.candidates), models.shape[1]))
        for number, weights in enumerate(models):
            gradient_of = gradients_of(module, weights)
            for client, (one, truth) in enumerate(zip(self.candidates, self.truths, strict=True)):
                joins = truth & (random.random(len(truth)) < self.rule.rate)
                if joins.any():
                    rows = clipped_gradients(gradient_of, one.x[joins], one.y[joins], self.rule.clip_norm)
                    found[number, client] = rows.double().sum(dim=0).numpy()
        return found

    def law(self, candidates: int) -> RoundLaw:
        """What is public of a vector over clients who may hold so many examples, each with even odds."""
        others = max(1.0, 0.5 * self.rule.rate * candidates)
        return RoundLaw(clip_norm=self.rule.clip_norm, rate=self.rule.rate, steps=1, others=others)


def stage_rounds(
    module: torch.nn.Module,
    models: NDArray[np.float32],
    cohort: Cohort,
    strangers: Candidates,
    noises: Sequence[StagedNoise],
) -> tuple[tuple[Outcome, ...], tuple[Trajectory, ...]]:
    """Play membership in clients' data against each one's updates in the clear, and against the sum over all.

    The rounds are one step each at the given models, the same draws for every noise. Each client's examples are asked
    of its own updates, the other clients' being the law of an update without them, in all ways; of the sum of this
    small cohort by the likelihood ratio alone.

    Args:
        module: the architecture.
        models: (R, d), the model before each round.
        cohort: the clients.
        strangers: examples of the same distribution that nobody holds.
        noises: without the noise, and as it is.

    Raises:
        GameInvalid: truths are not by the coins that the terms declare.
        TooFew: they are one-sided, or of too few clusters.
        CandidatesInvalid: see `round_tables`.
    """
    candidates, truth, groups = cohort.everyone
    seed = noises[0].of_client.seed
    clean, random = cohort.drawn(module, models, seed), np.random.default_rng([seed, 14])
    slots = np.full(len(models), int(candidates.task[0]), dtype=np.int64)
    views = [_views(models, slots, clean, noise, random) for noise in noises]
    parts = []
    for client, one in enumerate(cohort.candidates):
        seen = [_in_the_clear(each[client], cohort.law(len(one))) for each, _ in views]
        parts.append(round_tables(module, models, slots, seen, one, strangers))
    clear = [joined([part[place] for part in parts]) for place in range(len(noises))]
    sums = [Observed(-view.array("sums"), cohort.law(len(candidates))) for _, view in views]
    total = round_tables(module, models, slots, sums, candidates, strangers)
    blind = blind_baseline(candidates, truth, noises[0].of_client)
    outcomes: list[Outcome] = []
    grown: list[Trajectory] = []
    for place, noise in enumerate(noises):
        for tables, terms, threat, ways in (
            (clear[place], noise.of_client, ALL_CLIENTS_CLEAR, ALL_WAYS),
            (total[place], noise.of_total, SUMS_ONLY, ALL_WAYS[-1:]),
        ):
            asked = Asked(
                candidates=candidates, truth=truth, groups=groups, terms=terms, threat=threat, noise=noise.total > 0,
                blind=blind,
            )  # fmt: skip
            played, course = judge_rounds(tables, asked, ways)
            outcomes += played
            grown += course
    return tuple(outcomes), tuple(grown)


def _views(
    models: NDArray[np.float32], slots: IntArray, clean: FloatArray, noise: StagedNoise, random: np.random.Generator
) -> tuple[list[View], View]:
    """Return who sees each client in the clear, one after the other, and who sees the sum; all of weights gained."""
    fields: dict[str, Any] = {"final_model": models[-1], "models": models, "model_tasks": slots}
    clear = -(clean + noise.client * random.normal(size=clean.shape))
    total = -(clean.sum(axis=1) + noise.total * random.normal(size=clean[:, 0].shape))
    fields |= {"sums": total, "sum_clients": np.full(len(models), clean.shape[1])}
    alone = [
        View.of(
            ALL_CLIENTS_CLEAR, fields | {"client_updates": clear[:, k], "other_updates": np.delete(clear, k, axis=1)}
        )
        for k in range(clean.shape[1])
    ]
    return alone, View.of(SUMS_ONLY, fields)


def _in_the_clear(view: View, law: RoundLaw) -> Observed:
    return Observed(-view.array("client_updates"), law, -view.array("other_updates"))
