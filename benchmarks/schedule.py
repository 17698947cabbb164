"""`python -m benchmarks.schedule [--share C] [--rows ROW ...]`: the rule for rounds and rates, tried.

The sets that it was chosen on: scikit-learn's digits (8 clients, five tasks), made-up windows of nine people with a
sensor (ten activities, five tasks), and mixtures of Gaussians (12 classes, four tasks). Beside the rows stands logistic
regression in one place, on the same features, without noise.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# One thread everywhere: libraries read this when they are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.linear_model import LogisticRegression

import secure_fcl
from secure_fcl.data import Dataset, as_dataset, load_digits
from secure_fcl.features.kinds import refined_features
from secure_fcl.rows import schedule

CASES = (("none", "inf"), ("shared", "8"), ("shared", "1"), ("local", "8"), ("local", "1"))


def windows(seed: int, classes: int = 10, people: int = 9, each: int = 60) -> Dataset:
    """Return made-up windows (n, 3, 128) at 25 Hz: every class a level and a rhythm, which people vary."""
    rng = np.random.default_rng(seed)
    level, rhythm = rng.normal(size=(classes, 3)), rng.uniform(0.5, 6.0, (classes, 3))
    strength, time = rng.uniform(0.1, 1.0, (classes, 3)), np.arange(128) / 25
    x, y, client = [], [], []
    for person in range(people):
        own = level + 0.25 * rng.normal(size=(classes, 3))
        pace, force = rng.normal(1.0, 0.08, (classes, 3)), rng.lognormal(0.0, 0.3, (classes, 3))
        for label in range(classes):
            n = int(rng.integers(each // 2, 3 * each // 2))
            angle = 2 * np.pi * (rhythm * pace)[label][:, None] * time + rng.uniform(0, 2 * np.pi, (n, 3, 1))
            waves = (strength * force)[label][:, None] * np.sin(angle)
            x.append(0.6 * own[label][:, None] + waves + 0.25 * rng.normal(size=(n, 3, 128)))
            y += [label] * n
            client += [person] * n
    return _set(np.concatenate(x), y, client, rng, "g, 25 Hz")


def mixtures(seed: int, classes: int = 12, width: int = 40, people: int = 10, each: int = 25) -> Dataset:
    """Return unit vectors (n, width) around the means of their classes."""
    rng = np.random.default_rng(seed)
    means, x, y, client = rng.normal(size=(classes, width)), [], [], []
    for person in range(people):
        for label in range(classes):
            n = int(rng.integers(each // 2, 3 * each // 2))
            x.append(means[label] + 1.3 * rng.normal(size=(n, width)))
            y += [label] * n
            client += [person] * n
    found = np.concatenate(x)
    return _set(found / np.linalg.norm(found, axis=1, keepdims=True), y, client, rng, "of unit norm")


def _set(x: Any, y: list[int], client: list[int], rng: np.random.Generator, units: str) -> Dataset:
    classes = tuple(f"class {label}" for label in range(max(y) + 1))
    given = {"x": x.astype(np.float32), "y": np.array(y), "client": np.array(client), "classes": classes,
             "test": rng.random(len(y)) < 0.25, "units": units}  # fmt: skip
    return as_dataset(given, name="arrays")


SETS: Mapping[str, tuple[Dataset, tuple[str, ...]]] = {
    "digits": (load_digits(), ("data.name=digits", "scenario.partition=iid", "scenario.clients=8", "scenario.tasks=5")),
    "windows": (windows(1), ("scenario.clients=9", "scenario.tasks=5")),
    "mixtures": (mixtures(2), ("scenario.clients=10", "scenario.tasks=4")),
}


def central(data: Dataset) -> float:
    """Return the accuracy of logistic regression on the features of all training examples in one place."""
    x = refined_features(data.x)
    fits = (LogisticRegression(C=c, max_iter=3000).fit(x[data.train], data.y[data.train]) for c in (10.0, 1e3, 1e4))
    return max(float(fit.score(x[data.test], data.y[data.test])) for fit in fits)


def accuracies(name: str, noise: str, epsilon: str, rows: list[str], seed: int) -> dict[str, float]:
    """Return the share of right answers of every row after the last task."""
    data, of_data = SETS[name]
    quoted = ", ".join(f'"{row}"' for row in rows)
    settings = [
        "protection=plain", "attacks.enabled=false", "transcript=latest", "workers=1", "scenario.holdout=0",
        "training.trainer=stacked", "training.features=refined", "training.schedule=planned", f"seed={seed}",
        "privacy.max_dropouts=1", "storage.budget_kib=8192", "memory.capacity=200", f"rows=[{quoted}]", *of_data,
        *(f"{row}.noise={noise}" for row in rows), *(f"{row}.epsilon={epsilon}" for row in rows),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        given = None if name == "digits" else data
        found = secure_fcl.run(None, data=given, settings=settings, runs=Path(place), name="run").accuracy
        return {line.strategy: line.all_windows or 0.0 for line in found}


def main() -> int:
    """Print one line for every set and budget."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedule", description=__doc__)
    parser.add_argument("--share", type=float, default=schedule.NOISE_SHARE, help="how far noise may move a score")
    parser.add_argument("--rows", nargs="+", default=["joint", "replay", "derpp", "finetune"])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    schedule.NOISE_SHARE = options.share
    for name in options.sets:
        print(f"{name}: logistic regression in one place {100 * central(SETS[name][0]):.1f} %")
        for noise, epsilon in CASES:
            found = accuracies(name, noise, epsilon, options.rows, options.seed)
            print(f"  noise {noise:6} epsilon {epsilon:3} ", *(f"{row} {100 * a:.1f} %" for row, a in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
