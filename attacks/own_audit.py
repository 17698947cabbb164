"""`attacks.audit`: an audit of anyone's models, from their checkpoints and their coins to one JSON document."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attacks.controls.memorised import membership_world, negative_control, positive_control
from attacks.errors import AuditInvalid, CandidatesInvalid, CapabilityMissing, GameInvalid
from attacks.games.attack import Attack, Candidates, Losses, repeated
from attacks.games.judging import BoolArray, Coin, Terms, has_spread
from attacks.games.play import MEMBERSHIP, RETAINED, Game, Outcome, blind_baseline, play
from attacks.games.swaps import SWAPPED, play_swaps
from attacks.games.views import ALL_MODELS, FINAL_MODEL, Capability, View
from attacks.membership.families import BAVARIA, LIRA_FIXED, RATIO
from attacks.membership.history import curve_record, forgetting_curve, history_scores, loss_history
from attacks.membership.quantile import QuantileMembership, fewest
from attacks.membership.retained import RetainedDifference, RetainedLoss, RetainedSlope
from attacks.membership.scores import (
    CheckpointDifference,
    CheckpointRatio,
    LossScore,
    OddsScore,
    SequenceMean,
    Standardised,
)
from attacks.membership.shadow import OFFLINE_RMIA, Rmia, ShadowMembership, ShadowRetained
from attacks.modules.functions import flat_weights, losses_of
from attacks.report import audit_document
from attacks.shadows.models import ShadowModels

if TYPE_CHECKING:
    import torch

#: Rate of false alarms that quantile regression is asked to fix; the order of its scores is the same for all.
_ALPHA = 0.05
_NEVER_TESTED = (
    "gradients and sums: they are not in checkpoints; see attacks.reconstruct_best and attacks.isolated_clients",
    "an active server, colluding clients and side channels",
    "people: every game is about single examples unless the coins are per cluster",
)


@dataclass(frozen=True, eq=False)
class Subject:
    """What is audited: checkpoints of one model, and the coins that decided what it trained on.

    Attributes:
        module: the architecture; its own weights do not matter. BatchNorm is evaluated with its running statistics.
        checkpoints: float32 (T, d), parameters and running statistics (`weights_of`), oldest first.
        tasks: (T,), task in training at each checkpoint, -1 before any. One checkpoint: [0].
        candidates: members and non-members of the same tasks and classes, by coin.
        trained: bool (n,), the coins.
        kept: bool (n,), what the replay memory still held; None without a memory.
        population: examples that nobody trained on and no game asks about, which RMIA compares with and quantile
            regression learns from; None plays neither.
    """

    module: torch.nn.Module
    checkpoints: NDArray[np.float32]
    tasks: NDArray[np.int64]
    candidates: Candidates
    trained: BoolArray
    kept: BoolArray | None = None
    population: Candidates | None = None

    def distinct(self) -> Subject:
        """The same about those candidates that occur once: a model knows a copy under every coin flipped for it."""
        once = np.flatnonzero(~repeated(self.candidates))
        if len(once) == len(self.candidates):
            return self
        return replace(
            self,
            candidates=self.candidates.take(once),
            trained=self.trained[once],
            kept=None if self.kept is None else self.kept[once],
        )

    def transcript(self) -> dict[str, NDArray[Any]]:
        """The fields of FINAL_MODEL and MODEL_SEQUENCE.

        Raises:
            AuditInvalid: checkpoints and tasks do not fit.
        """
        if self.checkpoints.ndim != 2 or self.tasks.shape != self.checkpoints.shape[:1] or not len(self.tasks):
            raise AuditInvalid(
                f"checkpoints have shape {self.checkpoints.shape}, tasks {self.tasks.shape}; give (T, d) and (T,), "
                "T at least 1"
            )
        return {"final_model": self.checkpoints[-1], "models": self.checkpoints, "model_tasks": self.tasks}


def weights_of(module: torch.nn.Module) -> NDArray[np.float32]:
    """A module's parameters, then its running statistics, as one flat vector, float32 (d,) (`modules.functions`)."""
    return flat_weights(module)


def audit(
    subject: Subject,
    *,
    coin: Coin | None = Coin(),  # noqa: B008 - frozen
    memory_coin: Coin | None = None,
    ledger_epsilon: float | None = None,
    memory_epsilon: float | None = None,
    delta: float = 1e-5,
    shadows: ShadowModels | None = None,
    name: str = "model",
    seed: int = 0,
) -> dict[str, Any]:
    """Plays every game that the subject allows and returns the audit as a JSON-ready document.

    Games: membership by loss, by difference and ratio of checkpoints, by the mean over the sequence, by quantile
    regression if there is a population, and with shadow models (BaVarIA on the last and on all checkpoints, LiRA, the
    ratio, and with a population RMIA) if given, the last three also without IN models; retained or merely seen by loss,
    difference, slope and shadow models, and in pairs for a memory of fixed size; curves of forgetting; controls. What
    could not be played is said under "not_tested".

    Args:
        subject: models and coins.
        coin: how `trained` came about; None if not by independent coins (no bound on epsilon then).
        memory_coin: how `kept` came about among the trained; None for a memory of fixed size.
        ledger_epsilon: what the accountant claims for one example at `delta`; None without a claim.
        memory_epsilon: what it claims for the steps that sampled from the memory: of one example for independent coins,
            of two (a swap) for a fixed size.
        delta: of all bounds. At simultaneous confidence .999 Steinke's bound keeps its power up to about 1e-6; ask the
            accountant for its epsilon at such a delta.
        shadows: shadow models of the same architecture and tasks, whose pool holds the candidates.
        name: of the audited model, for the report.
        seed: public seed of judging.

    Returns:
        `report.audit_document`: outcomes with AUC, TPR and intervals, bounds with ceilings next to the ledger,
        discoveries after Holm, and "contradictions": bounds above the ledger at simultaneous confidence .999. Pass the
        document on; or call `simultaneous.require_consistent` on your own outcomes to stop a pipeline.

    Raises:
        AuditInvalid: checkpoints and tasks do not fit.
        GameInvalid: truths of a wrong shape, one-sided or of one cluster, or not from the declared coin; every
            candidate occurs more than once.
    """
    begun = time.perf_counter()
    played = play_games(
        subject,
        Terms(target=name, seed=seed, coin=coin, delta=delta, ledger_epsilon=ledger_epsilon),
        Terms(target=f"{name}, memory", seed=seed, coin=memory_coin, delta=delta, ledger_epsilon=memory_epsilon),
        shadows,
    )
    document = audit_document(
        seconds=time.perf_counter() - begun,
        row=name,
        outcomes=played.outcomes,
        not_tested=[*played.skipped, *_NEVER_TESTED],
    )
    return document | {"history": list(played.curves)}


@dataclass(frozen=True, eq=False)
class Played:
    """All games of one subject.

    Attributes:
        outcomes: controls included.
        skipped: what could not be played and why, a sentence each.
        curves: of forgetting, as `history.curve_record` has them.
    """

    outcomes: tuple[Outcome, ...]
    skipped: tuple[str, ...]
    curves: tuple[dict[str, Any], ...] = ()


def play_games(
    subject: Subject,
    terms: Terms,
    about_memory: Terms,
    shadows: ShadowModels | None = None,
    own: Attack | None = None,
) -> Played:
    """Play every game that the subject allows, as `audit` does, and return its outcomes.

    Args:
        subject: models and coins.
        terms: how membership is judged.
        about_memory: how retention is judged.
        shadows: as of `audit`.
        own: an attack on the final model that takes the place of those on its losses; then neither checkpoints nor the
            memory are played, whose attacks are about losses.

    Raises:
        AuditInvalid, GameInvalid: as `audit`.
    """
    _check_coins(subject)
    distinct, transcript = subject.distinct(), subject.transcript()
    losses = losses_of(subject.module)
    attacks = _member_attacks(losses, shadows, subject.population)
    if own is not None:
        attacks = [own, *(attack for attack in attacks if isinstance(attack, ShadowMembership | Rmia))]
    outcomes, skipped = _play_all(MEMBERSHIP, attacks, transcript, distinct.candidates, distinct.trained, terms)
    curves = []
    if own is None:
        more, left = _play_memory(distinct, losses, transcript, shadows, about_memory)
        outcomes, skipped = outcomes + more, skipped + left
        curves = _curves(distinct, losses, transcript, shadows)
    else:
        skipped.append("losses, checkpoints over time and the memory: a score of your own took the place of the loss")
    outcomes += _controls(distinct, own or Standardised(OddsScore(losses)), transcript, terms)
    return Played(tuple(outcomes), (*skipped, *_lacking(subject, shadows)), tuple(curves))


def _check_coins(subject: Subject) -> None:
    count = len(subject.candidates)
    for name, coins in (("trained", subject.trained), ("kept", subject.kept)):
        if coins is not None and (np.asarray(coins).dtype != np.bool_ or np.shape(coins) != (count,)):
            raise GameInvalid(
                f"{name} has type {np.asarray(coins).dtype} and shape {np.shape(coins)}; give one boolean for each of "
                f"the {count} candidates"
            )
    if count and repeated(subject.candidates).all():
        raise GameInvalid(f"all {count} candidates occur more than once; give examples that differ")


def _lacking(subject: Subject, shadows: ShadowModels | None) -> list[str]:
    """What was not tested for lack of models, population, or candidates that differ."""
    said, copies = [], int(repeated(subject.candidates).sum())
    if shadows is None:
        said.append("shadow models (LiRA, RMIA, BaVarIA): none were given; a failed loss attack proves no privacy")
    if subject.population is None or len(subject.population) < fewest(_ALPHA):
        said.append(f"quantile regression: it takes a population of {fewest(_ALPHA)} examples (Subject.population)")
    if shadows is not None and subject.population is None:
        said.append("RMIA: the subject has no population to compare with (Subject.population)")
    if copies:
        said.append(
            f"{copies} of {len(subject.candidates)} candidates: they occur more than once, so that no coin alone "
            "decided whether the model saw them"
        )
    return said


def _member_attacks(losses: Losses, shadows: ShadowModels | None, population: Candidates | None) -> list[Attack]:
    member: list[Attack] = [
        Standardised(OddsScore(losses)), CheckpointDifference(losses), Standardised(CheckpointRatio(losses)),
        SequenceMean(losses),
    ]  # fmt: skip
    if population is not None and len(population) >= fewest(_ALPHA):
        member.append(QuantileMembership(losses, population, alpha=_ALPHA))
    if shadows is not None:
        member += [ShadowMembership(shadows, family) for family in (BAVARIA, LIRA_FIXED, LIRA_FIXED.offline(), RATIO)]
        member += [ShadowMembership(shadows, RATIO.offline()), ShadowMembership(shadows, BAVARIA, "all")]
        if population is not None:
            member += [Rmia(shadows, population), Rmia(shadows, population, offline=OFFLINE_RMIA)]
    return member


def _curves(
    subject: Subject, losses: Losses, transcript: dict[str, NDArray[Any]], shadows: ShadowModels | None
) -> list[dict[str, Any]]:
    """One curve of forgetting per task that others followed."""
    view, last = View.of(ALL_MODELS, transcript), int(subject.tasks[-1])
    curves = []
    for task in (int(task) for task in np.unique(subject.candidates.task) if int(task) < last):
        own = np.flatnonzero(subject.candidates.task == task)
        part, coins = subject.candidates.take(own), subject.trained[own]
        if task not in subject.tasks or not has_spread(coins, part.cluster):
            continue
        scores = (
            loss_history(losses, view, part, coins)
            if shadows is None
            else history_scores(BAVARIA, shadows, view, part, coins)
        )
        stages = sorted({int(later) for later in subject.tasks if later >= task})
        curves.append(curve_record(forgetting_curve(task, stages, [scores])))
    return curves


def _play_memory(
    subject: Subject, losses: Losses, transcript: dict[str, NDArray[Any]], shadows: ShadowModels | None, terms: Terms
) -> tuple[list[Outcome], list[str]]:
    if subject.kept is None:
        return [], ["retained or merely seen: the subject has no record of a memory"]
    own = np.flatnonzero(subject.trained)
    kept: list[Attack] = [RetainedLoss(losses), RetainedDifference(losses), RetainedSlope(losses)]
    if shadows is not None:
        kept += [ShadowRetained(shadows), ShadowRetained(shadows, since_closing=True)]
    candidates, truth = subject.candidates.take(own), subject.kept[own]
    if terms.coin is not None:
        return _play_all(RETAINED, kept, transcript, candidates, truth, terms)
    # Without independent coins the ledger's counterpart is a swap, asked about in pairs.
    played, left = _play_all(RETAINED, kept, transcript, candidates, truth, replace(terms, ledger_epsilon=None))
    held = np.isin(candidates.task, candidates.task[truth])
    try:
        pairs = play_swaps(
            kept[1:3], View.of(ALL_MODELS, transcript), candidates.take(np.flatnonzero(held)), truth[held], terms
        )
    except (CapabilityMissing, CandidatesInvalid, GameInvalid) as error:
        return played, [*left, f"{SWAPPED.name}: {error}"]
    return [*played, *pairs], left


def _play_all(
    game: Game,
    attacks: Sequence[Attack],
    transcript: dict[str, NDArray[Any]],
    candidates: Candidates,
    truth: BoolArray,
    terms: Terms,
) -> tuple[list[Outcome], list[str]]:
    blind = blind_baseline(candidates, truth, terms)
    played, skipped = [], []
    for attack in attacks:
        threat = ALL_MODELS if Capability.MODEL_SEQUENCE in attack.requires else FINAL_MODEL
        try:
            played.append(play(game, attack, View.of(threat, transcript), candidates, truth, terms, blind))
        except (CapabilityMissing, CandidatesInvalid) as error:
            skipped.append(f"{game.name}, {attack.name}: {error}")
    return played, skipped


def _controls(subject: Subject, attack: Attack, transcript: dict[str, NDArray[Any]], terms: Terms) -> list[Outcome]:
    view = View.of(FINAL_MODEL, transcript)
    return [
        positive_control(LossScore, membership_world(terms.seed), terms.seed),
        negative_control(MEMBERSHIP, attack, view, subject.candidates, terms),
    ]
