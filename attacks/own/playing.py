"""`audit.toml` to one record: read, play, answer. Nothing is claimed that was not played."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import AttackError, AuditInvalid
from attacks.games.attack import Attack, Candidates
from attacks.games.judging import Coin, Terms
from attacks.games.play import MEMBERSHIP, RETAINED, Game, Outcome, play
from attacks.games.views import ALL_MODELS, FINAL_MODEL, View
from attacks.membership.scores import OddsScore
from attacks.modules.functions import losses_of
from attacks.own.checkpoints import parameter_vector, read_tensors, weight_vector
from attacks.own.examples import Examples, joined, read_examples
from attacks.own.models import FunctionScore, Load, declared_training, made_module, require_fits, train_shadows
from attacks.own.planted import planted_control
from attacks.own.questions import Answer, epsilon_answer, membership_answers, sizes_of, update_answers
from attacks.own.record import code_of, commit_of, digests, versions
from attacks.own.settings import AuditSettings, Coins, read_settings
from attacks.own.updates import UpdateAttack, attack_updates
from attacks.own_audit import Played, Subject, play_games
from attacks.report import audit_document
from attacks.shadows.models import ShadowModels
from evaluation.strict_json import plain

if TYPE_CHECKING:
    import torch

CANARIES = Game("canaries", "was this canary put in?")
"""As MEMBERSHIP, about examples that were made to be found, put in by coins that somebody kept."""

_QUESTIONS = {
    f"{MEMBERSHIP.name}|{FINAL_MODEL.name}": "does the last model tell who was trained on?",
    f"{MEMBERSHIP.name}|{ALL_MODELS.name}": "do the models over time tell who was trained on?",
    f"{RETAINED.name}|{FINAL_MODEL.name}": "does the last model tell what the memory still holds?",
    f"{RETAINED.name}|{ALL_MODELS.name}": "do the models over time tell what the memory still holds?",
    f"{CANARIES.name}|{FINAL_MODEL.name}": "are planted canaries found in the last model?",
}
_NEVER = (
    "an active server, colluding clients and side channels: they are in no file of this audit",
    "people: every game is about single examples, or about clusters where the files name them",
    "model extraction, inference of attributes, and backdoors",
)

Watch = Callable[[str], None]


def _silent(text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, eq=False, kw_only=True)
class _Inputs:
    """Everything that was read, before anything is played."""

    settings: AuditSettings
    module: torch.nn.Module = field(repr=False)
    make: Callable[[], torch.nn.Module] = field(repr=False)
    weights: NDArray[np.float32] = field(repr=False)
    candidates: Candidates
    truth: NDArray[np.bool_] = field(repr=False)
    kept: NDArray[np.bool_] | None
    clustered: bool
    nonmembers: Candidates
    population: Candidates | None
    canaries: Examples | None
    own: FunctionScore | None
    train: tuple[str, object] | None
    background: Candidates | None
    updates: tuple[NDArray[np.float32], Candidates] | None


def audit_model(path: Path, load: Load | Mapping[str, object], watch: Watch = _silent) -> dict[str, Any]:
    """Play every attack that the files of an `audit.toml` allow, and return the record as strict JSON.

    Args:
        path: of the `audit.toml`; paths in it are relative to its folder.
        load: imports a `module:function` for a key of the file, or the objects themselves by that name. Importing runs
            code: this function imports nothing by itself.
        watch: told in a few words what is going on.

    Returns:
        `report.audit_document` of all games, and "answers" (`questions.Answer`), "updates", "controls", "roc",
        "digests", "versions", "commit", "seeds", "settings", "code".

    Raises:
        AuditInvalid: the file, or what it names, is wrong or does not fit together; one sentence.
        AttackError: a game cannot be played as set up.
    """
    begun = time.perf_counter()
    settings = read_settings(path)
    if isinstance(load, Mapping):
        load = _given(load)
    taken = digests([path, *_files(settings)])
    read = _read(settings, load)
    watch("playing")
    shadows = _shadows(read, watch)
    played = _play(read, shadows)
    canaries = _play_canaries(read)
    planted, unplanted = planted_control(read.make, read.candidates, read.own, settings.seed)
    watch("updates") if read.updates is not None else None
    attacked, left = _play_updates(read)
    everything = (*played.outcomes, *canaries, *planted)
    document = audit_document(
        seconds=time.perf_counter() - begun,
        row=settings.name,
        outcomes=everything,
        not_tested=[*played.skipped, *unplanted, *left, *_not_given(settings), *_NEVER],
    )
    answers = _answers(read, (*played.outcomes, *canaries), attacked)
    return {
        "kind": "audit of a model",
        "format": 1,
        **document,
        "history": list(played.curves),
        "answers": plain(answers),
        "updates": plain(attacked),
        "controls": _controls(everything),
        "roc": [
            {"game": o.game, "attack": o.attack, "view": o.view, "target": o.terms.target, "points": plain(o.roc)}
            for o in everything
            if o.terms.control is None
        ],
        "digests": taken,
        "versions": versions(),
        "commit": commit_of(path.resolve().parent),
        "seeds": {"seed": settings.seed},
        "settings": settings.model_dump(mode="json"),
        "code": [code_of(reference) for reference in settings.references()],
    }


def _given(functions: Mapping[str, object]) -> Load:
    """The objects of a mapping as what loads them."""

    def load(reference: str, key: str) -> object:
        if reference not in functions:
            raise AuditInvalid(f"{key} = {reference!r} is not among those given ({', '.join(functions)}); add it")
        return functions[reference]

    return load


def _files(settings: AuditSettings) -> list[Path]:
    named: list[Path | None] = [
        *settings.checkpoints, settings.members, settings.nonmembers, settings.population,
        settings.canaries.file if settings.canaries else None,
        settings.shadows.background if settings.shadows else None,
        *(settings.updates.files if settings.updates else ()), settings.updates.truth if settings.updates else None,
    ]  # fmt: skip
    return [one for one in named if one is not None]


def _read(settings: AuditSettings, load: Load) -> _Inputs:
    # Files first: nothing of the user's code runs before they are known to be plain arrays.
    tensors = [read_tensors(path) for path in settings.checkpoints]
    members, others = (_examples(settings, path) for path in (settings.members, settings.nonmembers))
    candidates, truth = joined(members, others)
    canaries = _examples(settings, settings.canaries.file) if settings.canaries else None
    if canaries is not None and "inserted" not in canaries.flags:
        raise AuditInvalid(
            f"canaries {settings.canaries and settings.canaries.file} have no array 'inserted'; save the coins"
        )
    population = _optional(settings, settings.population)
    background = _optional(settings, settings.shadows.background if settings.shadows else None)
    function = load(settings.model, "model")
    module = made_module(settings.model, function)
    weights = np.stack(
        [weight_vector(module, one, path) for one, path in zip(tensors, settings.checkpoints, strict=True)]
    )
    if settings.score == "loss":
        require_fits(module, weights[-1], candidates, settings.model)
    kept = members.flags.get("kept")
    return _Inputs(
        settings=settings,
        module=module,
        make=lambda: made_module(settings.model, function),
        weights=weights,
        candidates=candidates,
        truth=truth,
        kept=None if kept is None else np.append(kept, np.zeros(len(others), dtype=np.bool_)),
        clustered=members.clusters is not None,
        nonmembers=others.candidates,
        population=population,
        canaries=canaries,
        own=None if settings.score == "loss" else FunctionScore(module, load(settings.score, "score"), settings.score),
        train=_training(settings, load),
        background=background,
        updates=_updates(settings, module),
    )


def _training(settings: AuditSettings, load: Load) -> tuple[str, object] | None:
    if settings.shadows is None or settings.shadows.train is None:
        return None
    return settings.shadows.train, load(settings.shadows.train, "shadows.train")


def _examples(settings: AuditSettings, path: Path) -> Examples:
    found = read_examples(path, settings.csv, settings.labels)
    tasks = sorted({task for task in settings.checkpoint_tasks if task >= 0})
    if not found.dated:
        if len(tasks) > 1:
            raise AuditInvalid(
                f"examples {path} have no array 'task', and the checkpoints are of tasks {tasks}; save it"
            )
        only = np.full(len(found), tasks[0], dtype=np.int64)
        return replace(found, candidates=replace(found.candidates, task=only))
    strange = sorted(set(found.candidates.task.tolist()) - set(tasks))
    if strange:
        raise AuditInvalid(
            f"examples {path} are of task {strange[0]}, and checkpoints of tasks {tasks}; add that checkpoint, or "
            "leave these examples out"
        )
    return found


def _optional(settings: AuditSettings, path: Path | None) -> Candidates | None:
    return None if path is None else _examples(settings, path).candidates


def _updates(settings: AuditSettings, module: torch.nn.Module) -> tuple[NDArray[np.float32], Candidates] | None:
    if settings.updates is None:
        return None
    rows = [parameter_vector(module, read_tensors(path), path) for path in settings.updates.files]
    truth = _examples(settings, settings.updates.truth).candidates
    expected = len(rows) * settings.updates.examples
    if len(truth) != expected:
        raise AuditInvalid(
            f"updates.truth holds {len(truth)} examples, and {len(rows)} updates of {settings.updates.examples} are "
            f"{expected}; save those behind the updates, in the order of the files"
        )
    return np.stack(rows), truth


def _shadows(read: _Inputs, watch: Watch) -> ShadowModels | None:
    recipe = read.settings.shadows
    if recipe is None:
        return None
    train = read.train or ("the declared optimiser", declared_training(read.make, recipe))
    return train_shadows(
        read.module,
        train,
        read.candidates,
        read.background,
        models=recipe.models,
        task=read.settings.checkpoint_tasks[-1],
        seed=read.settings.seed,
        watch=watch,
    )


def _terms(read: _Inputs, coins: Coins | None, target: str) -> Terms:
    if coins is None:
        return Terms(target=target, seed=read.settings.seed)
    if coins.per_cluster and not read.clustered and coins is read.settings.coins:
        raise AuditInvalid("coins.per_cluster = true, and members name no clusters; save `cluster` beside x and y")
    return Terms(
        target=target,
        seed=read.settings.seed,
        coin=Coin(coins.rate, coins.per_cluster),
        delta=coins.delta,
        ledger_epsilon=coins.claimed_epsilon,
    )


def _subject(read: _Inputs) -> Subject:
    return Subject(
        read.module,
        read.weights,
        np.array(read.settings.checkpoint_tasks, dtype=np.int64),
        read.candidates,
        read.truth,
        read.kept,
        read.population,
    )


def _play(read: _Inputs, shadows: ShadowModels | None) -> Played:
    name = read.settings.name
    memory = Terms(target=f"{name}, memory", seed=read.settings.seed)
    played = play_games(_subject(read), _terms(read, read.settings.coins, name), memory, shadows, read.own)
    if len(read.weights) > 1:
        return played
    # Of one checkpoint the sequence is the last model: the same question twice.
    twice = [o.view == ALL_MODELS.name and o.terms.control is None for o in played.outcomes]
    return replace(played, outcomes=tuple(o for o, left in zip(played.outcomes, twice, strict=True) if not left))


def _play_canaries(read: _Inputs) -> tuple[Outcome, ...]:
    if read.canaries is None:
        return ()
    # A canary's label is often wrong on purpose, so that its class says nothing: no standardising.
    attack: Attack = read.own or OddsScore(losses_of(read.module))
    view = View.of(FINAL_MODEL, {"final_model": read.weights[-1]})
    terms = _terms(read, read.settings.canaries, f"{read.settings.name}, canaries")
    return (play(CANARIES, attack, view, read.canaries.candidates, read.canaries.flags["inserted"], terms),)


def _play_updates(read: _Inputs) -> tuple[tuple[UpdateAttack, ...], tuple[str, ...]]:
    section = read.settings.updates
    if section is None or read.updates is None:
        return (), ()
    rows, truth = read.updates
    try:
        return attack_updates(
            read.module, read.weights[section.checkpoint], rows, section.kind, truth, read.nonmembers,
            read.settings.seed,
        )  # fmt: skip
    except AttackError as error:
        return (), (f"updates: {error}",)


def _answers(read: _Inputs, outcomes: tuple[Outcome, ...], attacked: tuple[UpdateAttack, ...]) -> list[Answer]:
    distinct = _subject(read).distinct()
    sizes = {MEMBERSHIP.name: sizes_of(distinct.candidates, distinct.trained)}
    if distinct.kept is not None:
        inside = np.flatnonzero(distinct.trained)
        sizes[RETAINED.name] = sizes_of(distinct.candidates.take(inside), distinct.kept[inside])
    if read.canaries is not None:
        sizes[CANARIES.name] = sizes_of(read.canaries.candidates, read.canaries.flags["inserted"])
    found = list(membership_answers(outcomes, sizes, read.settings.leak, _QUESTIONS))
    by_game = {MEMBERSHIP.name: "members", CANARIES.name: "canaries"}
    for game, what in by_game.items():
        answer = epsilon_answer([o for o in outcomes if o.game == game], what)
        found += [] if answer is None else [answer]
    return [*found, *update_answers(attacked)]


def _controls(outcomes: tuple[Outcome, ...]) -> list[dict[str, Any]]:
    """Controls and whether they came out as they must."""
    found = []
    for one in outcomes:
        kind = one.terms.control
        if kind not in ("positive", "negative"):
            continue
        held = one.auc.value > 0.9 if kind == "positive" else 0.5 in one.auc.interval
        found.append(
            {
                "control": kind, "what": one.terms.target, "attack": one.attack, "held": bool(held),
                "auc": one.auc.value, "auc_low": one.auc.low, "auc_high": one.auc.high,
            }
        )  # fmt: skip
    return found


def _not_given(settings: AuditSettings) -> list[str]:
    """What the file leaves out, and what that leaves open."""
    said = []
    if settings.coins is None and settings.canaries is None:
        said.append(
            "a bound on epsilon: members were not chosen by declared coins ([coins], [canaries]); none is stated"
        )
    if len(settings.checkpoints) == 1:
        said.append("the model over time: there is one checkpoint")
    if settings.updates is None:
        said.append("gradients and updates: none were saved ([updates])")
    return said
