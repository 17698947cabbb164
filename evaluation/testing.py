"""A synthetic run folder, in the files and fields a federation writes, for tests of whatever reads one.

The numbers are drawn from a public seed and mean nothing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.accuracy import Tally
from evaluation.files import JsonLines, Record, atomic_write, write_json
from evaluation.matrix import AccuracyMatrix

_PHASES = {"train": 2.0, "encrypt": 0.5, "aggregate": 0.1, "decrypt": 0.2, "evaluate": 0.4}


def write_synthetic_run(
    folder: Path,
    *,
    rows: tuple[str, ...] = ("class_sums", "replay", "finetune"),
    tasks: int = 6,
    clients: int = 5,
    finished: bool = True,
    audited: bool = True,
    protected: bool = True,
    seed: int = 0,
) -> Path:
    """Write a run of `rows` into `folder` (created if missing) and return the folder.

    Args:
        folder: where the files go.
        rows: names of the strategies' rows; the first keeps most of what it learnt, the last least.
        tasks: number of tasks, at least 1.
        clients: number of clients, at least 1.
        finished: if False the last row stops half-way, without its final record.
        audited: whether `attacks.json` exists.
        protected: if False the last row ran in the clear and without noise, and its certificate says so.
        seed: of the public generator.

    Raises:
        StorageError: the system refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    open_row = None if protected or not rows else rows[-1]
    with JsonLines(folder / "metrics.jsonl") as metrics, JsonLines(folder / "cost.jsonl") as cost:
        for index, row in enumerate(rows):
            partial = not finished and index == len(rows) - 1
            plain = row == open_row
            _write_row(metrics, random, row, tasks, clients, keep=0.97 - 0.3 * index, partial=partial, plain=plain)
            _write_cost(cost, random, row, (tasks + 1) // 2 if partial else tasks, clients)
    certificate = {row: _certificate(index, tasks, row == open_row) for index, row in enumerate(rows)}
    write_json(folder / "certificate.json", {"rows": certificate, "notes": ["Synthetic run: numbers mean nothing."]})
    atomic_write(folder / "certificate.txt", "CERTIFICATE\n" + "".join(f"row {row}: <see table>\n" for row in rows))
    atomic_write(folder / "config.toml", f'seed = {seed}\n[stream]\ndataset = "synthetic"\ntasks = {tasks}\n')
    environment = {
        "python": "3.12.0",
        "platform": "Linux",
        "packages": {"numpy": np.__version__},
        "cpu_count": 2,
    }
    named = {"tasks": [f"class {2 * task}, class {2 * task + 1}" for task in range(tasks)]}
    write_json(folder / "environment.json", {**environment, **named, "commit": None})
    write_json(folder / "state.json", {"finished": finished})
    if audited and rows:
        write_json(folder / "attacks.json", _attacks(rows[0], tasks))
    return folder


def _write_row(
    metrics: JsonLines,
    random: np.random.Generator,
    row: str,
    tasks: int,
    clients: int,
    *,
    keep: float,
    partial: bool,
    plain: bool,
) -> None:
    matrix = AccuracyMatrix.empty(tasks)
    labels = np.repeat(np.arange(2 * tasks), 40)
    owners = np.arange(labels.size) % clients
    right = np.zeros(labels.size, dtype=bool)
    for task in range((tasks + 1) // 2 if partial else tasks):
        for step in range(2):
            metrics.append({"kind": "round", "row": row, "task": task, "round": step, "probe_accuracy": 0.5,
                            "probe_seen": 0.5, "probe_tasks": [0.5] * tasks,
                            "saturated": 0, "coordinates": 30_000})  # fmt: skip
        chance = np.where(labels // 2 > task, 0.0, 0.9 * keep ** np.maximum(task - labels // 2, 0))
        right = random.random(labels.size) < chance
        tally = Tally(right, labels, labels // 2, owners)
        accuracies = [tally.per_task(range(tasks))[j] for j in range(tasks)]
        matrix = matrix.with_row(task, accuracies)
        seen = tally.where(labels // 2 <= task).micro
        metrics.append({"kind": "task", "row": row, "task": task, "accuracy": accuracies,
                        "micro": tally.micro, "seen": seen})  # fmt: skip
    if not partial:
        metrics.append(_final(row, Tally(right, labels, labels // 2, owners), matrix, plain))


def _final(row: str, tally: Tally, matrix: AccuracyMatrix, plain: bool) -> Record:
    return {
        "kind": "final",
        "row": row,
        "strategy": row,
        "noise": "none" if plain else "shared",
        "protection": "plain" if plain else "bfv",
        "micro": tally.micro,
        "task_mean": tally.task_mean,
        "class_mean": tally.class_mean,
        "worst_client": tally.worst_client,
        "per_class": {f"class {label}": share for label, share in tally.per_class().items()},
        "per_client": {f"client {owner}": share for owner, share in tally.per_client().items()},
        "average_incremental_accuracy": matrix.average_incremental_accuracy(),
        "forgetting": matrix.forgetting(),
        "backward_transfer": matrix.backward_transfer(),
        "learning_accuracy": matrix.learning_accuracy(),
        "anytime_accuracy": 0.5,
        "worst_case_accuracy": 0.5,
        "stability_gap": 0.0,
    }


def _write_cost(cost: JsonLines, random: np.random.Generator, row: str, tasks: int, clients: int) -> None:
    for task in range(tasks):
        for step in range(2):
            seconds = {phase: float(mean * random.uniform(0.8, 1.2)) for phase, mean in _PHASES.items()}
            sent = [
                {"client": client, "bytes": 240_000,
                 "sha256": hashlib.sha256(f"{row}{task}{step}{client}".encode()).hexdigest()}
                for client in range(clients)
            ]  # fmt: skip
            cost.append({"row": row, "task": task, "round": step, "upload": "update", "seconds": seconds,
                         "bytes_up": 240_000 * clients, "bytes_down": 120_000 * clients, "clients": clients,
                         "ciphertexts": sent})  # fmt: skip


def _certificate(index: int, tasks: int, plain: bool) -> Record:
    cohorts = [
        {"group": "all clients", "arrival": task, "fate": fate, "epsilon_rdp": epsilon * 1.05,
         "epsilon_pld": epsilon, "epsilon": epsilon, "events": ["subsampled Gaussian, 40 steps"]}
        for task in range(tasks)
        for fate, epsilon in (("discarded", 0.8 + 0.1 * index),
                              ("kept", 0.9 + (0.1 + 0.3 * index) * (tasks - task)))
    ]  # fmt: skip
    return {
        "epsilon": None if plain else max(float(str(cohort["epsilon"])) for cohort in cohorts),
        "delta": 1e-5,
        "accountant": "PLD",
        "unit": "one window",
        "relation": "add or remove one",
        "noise": "none" if plain else "shared",
        "mechanism": "no noise" if plain else "Skellam noise inside the secure sum",
        "cohorts": [] if plain else cohorts,
        "sampling": "Poisson, one rate per stratum",
        "public": ["label set", "number of clients"],
        "non_private": ["gradients in the clear"] if plain else [],
        "evaluation": ["test accuracy is published without noise"],
        "assumptions": ["at most one client colludes with the server"],
        "not_checked": ["timing, traffic and memory of the machines"],
        "randomness": "operating system",
        "max_dropouts": 0,
        "colluders": 1,
        "most_examples_of_one_person": 372,
    }


def _outcome(game: str, attack: str, auc: float, half: float, **more: Any) -> Record:
    rates = [{"fpr": 0.1, "value": 0.12, "low": 0.09, "high": 0.16, "reason": None},
             {"fpr": 0.01, "value": None, "low": None, "high": None,
              "reason": "400 non-members; a rate of 0.01 needs at least 1000"}]  # fmt: skip
    return {
        "game": game, "attack": attack, "view": "final model", "target": "task 1", "n_members": 400,
        "n_nonmembers": 400, "auc": auc, "auc_low": auc - half, "auc_high": auc + half, "confidence": 0.95,
        "blind_auc": 0.503, "blind_low": 0.463, "blind_high": 0.543, "void": False, "tpr": rates,
        "epsilon_lower": {"value": 0.0, "ceiling": 4.69, "confidence": 0.95, "delta": 1e-5},
        "ledger_epsilon": 2.7, "control": None, "about": "run", "task": None, **more,
    }  # fmt: skip


def _leakage(tasks: int) -> Record:
    """Advantages that fall with forgetting on discarded examples and not on kept ones; none of the last task."""

    def cells(fades: bool) -> list[list[Record | None]]:
        values = [[0.3 / (1 + stage - task if fades else 1) for task in range(stage + 1)] for stage in range(tasks)]
        return [
            [{"value": v, "low": v - 0.1, "high": v + 0.1} if task < tasks - 1 else None for task, v in enumerate(line)]
            + [None] * (tasks - len(line))
            for line in values
        ]

    return {"tasks": list(range(tasks)), "discarded": cells(True), "kept": cells(False)}


def _attacks(row: str, tasks: int) -> Record:
    void = {"void": True, "blind_auc": 0.62, "blind_low": 0.58, "blind_high": 0.66}
    return {
        "seconds": 31.5,
        "row": row,
        "outcomes": [
            _outcome("membership", "loss", 0.511, 0.04),
            _outcome("membership", "difference of checkpoints", 0.534, 0.03, view="all models", **void),
            _outcome("retained or merely seen", "final loss", 0.492, 0.045, epsilon_lower=None),
            _outcome("membership", "loss", 0.962, 0.012, target="overfit model", control="positive",
                     ledger_epsilon=None, epsilon_lower=None),
            _outcome("membership", "loss", 0.498, 0.04, target="random coins", control="negative",
                     ledger_epsilon=None, epsilon_lower=None),
        ],
        "reconstructions": [
            {"world": world, "noise": noise, "n": 8, "correlation": found, "low": found - 0.1,
             "high": found + 0.1, "blind": 0.3, "blind_low": 0.22, "blind_high": 0.38}
            for world, noise, found in (("one client", "off", 0.81), ("one client", "as ran", 0.05),
                                        ("sum of 5", "off", 0.12), ("sum of 5", "as ran", 0.02))
        ],
        "leakage": _leakage(tasks),
        "not_tested": ["malicious server", "timing of messages"],
    }  # fmt: skip
