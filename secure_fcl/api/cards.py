"""The card of an exported model: what it is, on which data, and what may be said of its privacy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from evaluation.run_folder import mapping, texts
from evaluation.tables import epsilon_above, percent, small
from secure_fcl.errors import RunFolderError

if TYPE_CHECKING:
    from secure_fcl.api.opened import Run
    from secure_fcl.api.trained import Origin

_FACTS = ("unit", "relation", "accountant", "noise", "protection", "randomness")
_LISTS = ("assumptions", "non_private", "public", "chosen_on_data", "held_back", "evaluation", "not_checked")


def card_of(run: Run, origin: Origin) -> dict[str, Any]:
    """Return the card of a model as a JSON object.

    *Guarantee*: its epsilon is the certificate's of the whole run, which covers a model of an earlier task too, or null
    with the reason in `guarantee`: no certificate, no noise, or a client's own model, which the certificate does not
    cover.

    Raises:
        ConfigInvalid, RunFolderError: as `Run.config`.
    """
    config, environment = run.config(), _environment(run)
    certified = _certified(run, origin.strategy)
    measured = next(
        (a for a in run.accuracy if (a.strategy, a.after_task) == (origin.strategy, origin.after_task)), None
    )
    guarantee, epsilon = _guarantee(certified, origin)
    return {
        "model": {
            "strategy": origin.strategy, "after_task": origin.after_task, "client": origin.client,
            "input_shape": list(origin.shape), "input_units": origin.units, "features": origin.features,
            "labels": list(origin.labels), "tasks": [list(task) for task in origin.tasks],
        },
        "measured": {
            "all_windows": measured.all_windows if measured and origin.client is None else None,
            "of_tasks": list(measured.tasks) if measured and origin.client is None else [],
        },
        "privacy": {
            "guarantee": guarantee,
            "epsilon": epsilon,
            "delta": certified.get("delta") if epsilon is not None else None,
            **{key: certified.get(key) for key in _FACTS},
            **{key: texts(certified.get(key)) for key in _LISTS},
            "attacks": _attacks(run, origin.strategy),
        },
        "data": {
            "name": config.data.label,
            "clients": config.scenario.clients,
            "scenario_digest": certified.get("scenario_digest"),
        },
        "seed": config.seed,
        "run": {
            "name": run.name,
            "identity": environment.get("run"),
            "config_sha256": environment.get("config_sha256"),
            "certificate_sha256": _certificate_digest(run),
        },
        "versions": {"python": environment.get("python"), **mapping(environment.get("packages"))},
    }  # fmt: skip


def _guarantee(certified: Mapping[str, Any], origin: Origin) -> tuple[str, float | None]:
    epsilon = certified.get("epsilon")
    if origin.client is not None:
        return "none is stated: one client's own model, read from the simulation, which no guarantee covers", None
    if not certified:
        return "none is stated: the run has no certificate", None
    if epsilon is None:
        return "none: nothing bounds epsilon", None
    return "differential privacy of the worst cohort, under the assumptions below", float(epsilon)


def _certified(run: Run, strategy: str) -> Mapping[str, Any]:
    try:
        return mapping(mapping(run.certificate["rows"]).get(strategy))
    except RunFolderError:
        return {}


def _certificate_digest(run: Run) -> str | None:
    path = run.folder / "certificate.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _environment(run: Run) -> Mapping[str, Any]:
    from secure_fcl.running.folder import RunFolder

    return RunFolder.named(run.folder).about()


def _attacks(run: Run, strategy: str) -> list[dict[str, Any]]:
    wanted = ("game", "target", "attack", "auc", "auc_low", "auc_high", "void", "epsilon_shown", "control")
    return [{key: getattr(line, key) for key in wanted} for line in run.leakage if line.strategy == strategy]


def card_text(card: Mapping[str, Any]) -> str:
    """Return a card as Markdown."""
    model, privacy, data = card["model"], card["privacy"], card["data"]
    whose = "" if model["client"] is None else f", client {model['client']}'s own"
    shape = " x ".join(map(str, model["input_shape"]))
    facts = [
        ("strategy", f"{model['strategy']}, after task {model['after_task']}{whose}"),
        ("input", f"(n, {shape.replace(' x ', ', ')}), {model['input_units']}"),
        ("features", model["features"]),
        ("labels", ", ".join(model["labels"])),
        ("right of all test windows", f"{percent(card['measured']['all_windows'])} %"),
        ("data", f"{data['name']}, {data['clients']} clients, scenario {data['scenario_digest'] or 'not stated'}"),
        ("guarantee", privacy["guarantee"]),
        ("epsilon", "none" if privacy["epsilon"] is None else epsilon_above(privacy["epsilon"])),
        ("delta", small(privacy["delta"])),
        *((key, str(privacy[key] or "not stated")) for key in _FACTS),
        ("seed", str(card["seed"])),
        ("run", f"{card['run']['name']}, configuration {card['run']['config_sha256']}"),
        ("certificate", str(card["run"]["certificate_sha256"] or "none")),
        ("versions", ", ".join(f"{name} {version}" for name, version in card["versions"].items() if version)),
    ]
    lines = ["# Model card", "", "| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in facts)]
    for key in _LISTS:
        lines += _list(key.replace("non_p", "not p").replace("_", " ").capitalize(), privacy[key])
    attacks = [
        f"{one['game']}, {one['target']}: {one['attack']}, AUC {small(one['auc'])}{' (void)' if one['void'] else ''}"
        for one in privacy["attacks"]
    ]
    lines += _list("Attacks", attacks or ["none was played against this strategy"])
    return "\n".join(lines) + "\n"


def _list(head: str, sentences: Iterable[str]) -> list[str]:
    items = [f"- {_cell(sentence)}" for sentence in sentences]
    return ["", f"## {head}", "", *items] if items else []


def _cell(text: str) -> str:
    """Return text that stays in its cell and starts no tag."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
