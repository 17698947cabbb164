"""Membership over rounds: from every sum that the run released, and in staged rounds from clients in the clear.

Played where `attacks.over_rounds` asks for it. The run's own game has its coins and its sums; no record holds an
update in the clear, so those rounds are staged at the models of the run's first slot, without the noise and with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.games.attack import Candidates
from attacks.games.judging import Terms
from attacks.games.play import Outcome
from attacks.games.standard import groups_of
from attacks.games.views import SUMS_ONLY, View
from attacks.membership.rounds import FEWEST_STRANGERS, Observed, RoundLaw, round_tables
from attacks.modules.functions import flat_weights
from attacks.sums.arrival import isolated_clients
from attacks.sums.rounds import Asked, Cohort, StagedNoise, Trajectory, judge_rounds, stage_rounds
from attacks.sums.staged import StagedRule
from privacy import Event, SampledGaussian
from secure_fcl.auditing.charges import cost, spent_by_item
from secure_fcl.auditing.gradient_canaries import recorded_rounds
from secure_fcl.auditing.membership import asked_once
from secure_fcl.auditing.world import AuditWorld, Ints, Played, accounted, finite
from secure_fcl.config.accountants import accountant_of
from secure_fcl.randomness import public_generator

NAME = "membership over rounds"
_OF_A_LABEL = 60
"""Test examples of a label that stand for everybody's gradients."""
_CLIENTS, _FEWEST_CLIENTS, _FEWEST, _STAGED = 5, 3, 20, 8
"""Clients of staged rounds, the fewest of them, their fewest items, and most rounds."""
#: Numbers of 8 bytes that the gradients of one round, or the sums of all, may take: half a gigabyte.
_ROOM = 2**26


@dataclass(frozen=True, eq=False)
class _Recorded:
    """The training rounds of a run: (R, d) models before each, (R, p) sums of weights gained, slots, who was there."""

    models: NDArray[np.float32]
    sums: NDArray[np.float64]
    slots: Ints
    participation: NDArray[np.int8]

    @property
    def view(self) -> View:
        """What the server sees, and whoever it publishes to."""
        fields: dict[str, Any] = {
            "final_model": self.models[-1], "models": self.models, "model_tasks": self.slots, "sums": self.sums,
            "sum_clients": self.participation.sum(axis=1), "participation": self.participation,
        }  # fmt: skip
        return View.of(SUMS_ONLY, fields)


def play_rounds(world: AuditWorld, count: int) -> Played:
    """Return membership from all sums of the run and, staged, from clients' updates; and which cohorts met.

    Args:
        world: of the audit.
        count: examples asked about, whole items at a time.

    Raises:
        TooFew, TooFewSamples: too few examples to judge.
        GameInvalid, EvaluationError: the game cannot be judged for another reason.
    """
    plan = world.plan
    parts = {part.name for part in world.strategy.uploads["train"].parts}
    if plan.own_models or not {"gradient", "update"} & parts:
        return Played(missing=(f"{NAME}: the sums are not of gradients or updates of one common model",))
    recorded = _recorded(world)
    if recorded is None:
        return Played(missing=(f"{NAME}: models and sums of all rounds are too large, or of different layers",))
    strangers = _strangers(world)
    if len(strangers) < FEWEST_STRANGERS:
        return Played(missing=(f"{NAME}: fewer than {FEWEST_STRANGERS} test examples to compare with",))
    # Gradients of one round are held at once.
    most = min(count, _ROOM // recorded.models.shape[1] - len(strangers))
    if most < 2 * _FEWEST:
        return Played(missing=(f"{NAME}: gradients of {2 * _FEWEST} examples of this network are too large",))
    outcomes, course, missing = _in_the_run(world, recorded, strangers, most)
    staged, more, unstaged = _in_the_clear(world, recorded, strangers, most)
    record = {"trajectories": [_record(one) for one in (*course, *more)], "cohorts": _cohorts(recorded)}
    return Played((*outcomes, *staged), (*missing, *unstaged), (("rounds", record),))


_Found = tuple[tuple[Outcome, ...], tuple[Trajectory, ...], tuple[str, ...]]


def _recorded(world: AuditWorld) -> _Recorded | None:
    """Return the training rounds; None if they take too much room, or sums have different lengths."""
    plan, step = world.plan, world.strategy.dpsgd
    size = len(flat_weights(world.strategy.network(world.strategy.initial())))
    if size * plan.training_rounds * plan.scenario.slots > _ROOM:
        return None
    # An update is in weights; the law of the attacks is in gradients.
    unit = 1.0 if world.strategy.shared else step.denominator / step.learning_rate
    models, sums, slots, there = [], [], [], []
    for (slot, round), state, along in recorded_rounds(plan, world.folder):
        if plan.phase(round) != "train":
            continue
        models.append(flat_weights(world.strategy.network(state)))
        sums.append(-unit * along)
        slots.append(slot)
        there.append(plan.scenario.dates.present[:, slot].astype(np.int8))
        there[-1][[who for who, missed in plan.away(slot, round).items() if missed == "upload"]] = 0
    if len({len(one) for one in models}) > 1 or len({len(one) for one in sums}) > 1:
        return None
    return _Recorded(np.stack(models), np.stack(sums), np.array(slots, dtype=np.int64), np.stack(there))


def _strangers(world: AuditWorld) -> Candidates:
    """Return test examples, the same number of every label as far as there are so many."""
    scenario = world.plan.scenario
    test = public_generator(world.plan.config.seed, NAME, "strangers").permutation(scenario.test_indices())
    labels = scenario.data.y[test]
    chosen = np.concatenate([test[labels == label][:_OF_A_LABEL] for label in np.unique(labels)] or [test])
    return world.candidates(chosen)


def _in_the_run(world: AuditWorld, recorded: _Recorded, strangers: Candidates, most: int) -> _Found:
    """Play against the run's own sums: its coins held examples out."""
    plan, step = world.plan, world.strategy.dpsgd
    share = plan.config.scenario.holdout
    pool, twice = asked_once(world, world.pool())
    pool = pool[np.isin(world.slot_of[pool], recorded.slots)]
    items = public_generator(plan.config.seed, NAME).permutation(np.unique(plan.scenario.units.item[pool]))
    pool = _whole_items(plan.scenario.units.item, pool, items, most)
    truth = ~plan.scenario.held_out[pool]
    if share == 0.0 or truth.all() or not truth.any():
        return (), (), (f"{NAME}: scenario.holdout leaves no non-members by coin",)
    steps = 1 if world.strategy.shared else step.steps
    law = RoundLaw(
        clip_norm=step.clipping_norm, rate=world.strategy.q_current / plan.storage.chunks, steps=steps,
        others=step.denominator * plan.scenario.clients * steps,
    )  # fmt: skip
    view, candidates = recorded.view, world.candidates(pool)
    (tables,) = round_tables(
        world.strategy.network(world.strategy.initial()), view.array("models"), view.array("model_tasks"),
        [Observed(-view.array("sums"), law)], candidates, strangers,
    )  # fmt: skip
    terms = world.terms(f"released sums of {plan.name} over rounds", 1.0 - share, spent_by_item(world))
    asked = Asked(
        candidates=candidates,
        truth=truth,
        groups=groups_of(candidates),
        terms=terms,
        threat=view.threat,
        noise=world.noise_of_sum > 0,
    )
    outcomes, course = judge_rounds(tables, asked)
    return outcomes, course, tuple(f"{NAME}: {sentence}" for sentence in twice)


def _whole_items(item: Ints, pool: Ints, order: Ints, most: int) -> Ints:
    """Return the examples of the first items of an order that together have no more than `most`."""
    rank = np.empty(int(order.max(initial=-1)) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    sizes = np.bincount(rank[item[pool]], minlength=len(order))
    return pool[np.cumsum(sizes)[rank[item[pool]]] <= most]


def _in_the_clear(world: AuditWorld, recorded: _Recorded, strangers: Candidates, most: int) -> _Found:
    """Stage rounds of the first slot: some clients hold each of their items in it by a fair coin."""
    scenario, config, step = world.plan.scenario, world.plan.config, world.strategy.dpsgd
    train, _ = asked_once(world, world.pool()[world.slot_of[world.pool()] == 0])
    rng, item_of = public_generator(config.seed, NAME, "in the clear"), scenario.units.item
    who = rng.permutation(np.unique(scenario.owner[train]))[:_CLIENTS]
    train = train[np.isin(scenario.owner[train], who)]
    index = _whole_items(item_of, train, rng.permutation(np.unique(item_of[train])), most)
    items, item = np.unique(item_of[index], return_inverse=True)
    held = [scenario.owner[index] == client for client in np.unique(scenario.owner[index])]
    if len(items) < _FEWEST or len(held) < _FEWEST_CLIENTS:
        return (), (), (f"{NAME}, clients in the clear: fewer than {_FEWEST} items of {_FEWEST_CLIENTS} clients",)
    truth = (rng.random(len(items)) < 0.5)[item]
    # Every client's updates are held, without the noise and with it, and copied for who sees them.
    models = recorded.models[recorded.slots == 0][:_STAGED]
    models = models[: max(1, _ROOM // (4 * len(held) ** 2 * models.shape[1]))]
    cohort = Cohort(
        candidates=tuple(world.candidates(index[mine]) for mine in held),
        truths=tuple(truth[mine] for mine in held),
        rule=StagedRule(clip_norm=step.clipping_norm, rate=world.strategy.q_current, noise=0.0),
    )
    noisy = (False, True) if world.noise_of_sum > 0 else (False,)
    noises = [_staged_noise(world, noise, len(held), len(models)) for noise in noisy]
    module = world.strategy.network(world.strategy.initial())
    return *stage_rounds(module, models, cohort, strangers, noises), ()


def _staged_noise(world: AuditWorld, noise: bool, clients: int, rounds: int) -> StagedNoise:
    epsilon = None
    if noise and world.plan.protected:
        one = SampledGaussian(q=world.strategy.q_current, noise_multiplier=world.strategy.dpsgd.noise_multiplier)
        event: dict[Event, int] = {one: rounds}
        given = accountant_of(world.plan.config.privacy.accountant)
        epsilon = finite(cost(event, world.plan.scenario.units.largest_item, accounted(world.plan), given))
    # With shared noise an update in the clear is outside the guarantee, and there is nothing to compare with.
    of_client = epsilon if world.plan.noise == "local" else None

    def terms(what: str, ledger: float | None) -> Terms:
        target = f"staged rounds over the first slot, {what}, noise {'as ran' if noise else 'off'}"
        control = None if noise else "without noise"
        return replace(world.terms(target, 0.5, ledger), control=control, about="staged")  # type: ignore[arg-type]

    return StagedNoise(
        client=world.noise_of_client * noise, total=world.noise_of_sum * noise,
        of_client=terms(f"updates of each of {clients} clients in the clear", of_client),
        of_total=terms(f"sum over {clients} clients", epsilon),
    )  # fmt: skip


def _record(one: Trajectory) -> dict[str, Any]:
    return {
        "attack": one.attack, "view": one.view, "target": one.target, "noise": "as ran" if one.noise else "off",
        "rounds": list(one.rounds),
        "auc": [{"value": auc.value, "low": auc.low, "high": auc.high} for auc in one.auc],
    }  # fmt: skip


def _cohorts(recorded: _Recorded) -> list[dict[str, Any]]:
    """Return by slot how many different cohorts its sums were over, and whom some combination of them isolates."""
    found = []
    for slot in np.unique(recorded.slots):
        who = recorded.participation[recorded.slots == slot]
        alone = isolated_clients(who)
        found.append({
            "task": int(slot), "rounds": len(who), "cohorts": len(np.unique(who, axis=0)),
            "isolated": [one.client for one in alone],
            "noise_gain": min((one.noise_gain for one in alone), default=None),
        })  # fmt: skip
    return found
