"""Accuracy over epsilon on HAPT for three places of the noise: one linear classifier, everything else alike.

All labels present, window level, add or remove one window, delta 1e-5. Session 1 of all 30 people trains, later
sessions test. Every round is one clipped gradient sum over a Poisson sample (each window by its own coin), followed by
SGD with momentum; the mean of the second half of the iterates is the classifier. Only where the noise enters differs:

- curator: who sees all gradients adds the noise to their sum
- shared: every client sends integers with its share of Skellam noise; the sum carries what is charged with 3 of 30
  clients missing and one that reveals its share
- local: every client adds the full noise to its own sum

`--choose` repeats the choice of the settings, on six held-out people of session 1 at a time; test data take no part.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.privacy.page import Section, save_section
from benchmarks.privacy.plotting import curve_figure
from privacy import DistributedSum, Event, SampledGaussian, Stratum, smallest_multiplier
from privacy.distributed import choose_scale
from privacy.randomness import RandomBytes
from privacy.secure_gaussian import release_noise
from privacy.stacked import StackedTrainer
from secure_fcl.data import load
from secure_fcl.features.kinds import features

Place = Literal["curator", "shared", "shared, 3 missing", "local"]
Floats = NDArray[np.float64]

EPSILONS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
DELTA, SEEDS, CLIENTS, MISSING = 1e-5, 3, 30, 3
#: Public constant near the number of training windows: 30 people, about 3 minutes each at 0.78 windows a second.
WINDOWS = 5000.0


@dataclass(frozen=True)
class Setting:
    """Public numbers of one training."""

    rounds: int
    clipping_norm: float
    learning_rate: float
    q: float = 0.25
    momentum: float = 0.9


#: What `--choose` found best for the curator at epsilon 1, used for all places, and best for local noise alone (to a
#: tenth of a point; of several the one with the fewest rounds).
COMMON, LOCAL = Setting(25, 1.0, 36.0), Setting(50, 0.5, 1.6)
GRID = tuple(
    Setting(rounds, norm, rate) for rounds in (25, 50) for norm in (0.5, 0.7, 1.0) for rate in (1.6, 6.4, 18, 36, 51)
)
FOLDS = 5


@dataclass(frozen=True, eq=False)
class People:
    """Windows as bounded features with a constant 1/2 beside them, and who they belong to."""

    x: torch.Tensor
    y: torch.Tensor
    owner: NDArray[np.int64]

    def where(self, mask: NDArray[np.bool_]) -> People:
        chosen = torch.from_numpy(np.flatnonzero(mask))
        return People(self.x[chosen], self.y[chosen], self.owner[mask])

    def strata(self, q: float, together: bool) -> list[list[Stratum]]:
        """One stratum per person, or one of all people."""
        if together:
            return [[Stratum(x=self.x, y=self.y, q=q)]]
        return [[Stratum(x=p.x, y=p.y, q=q)] for p in (self.where(self.owner == k) for k in np.unique(self.owner))]


def people() -> tuple[People, NDArray[np.bool_], int]:
    """Return all windows, which of them train, and the number of classes."""
    data = load("hapt")
    found = features(data.x)
    x = np.hstack([found, np.full((len(found), 1), 0.5)]).astype(np.float32)
    return People(torch.from_numpy(x), torch.from_numpy(data.y.copy()), data.client), data.train, len(data.classes)


def multiplier(place: Place, setting: Setting, epsilon: float, dimension: int) -> tuple[float, DistributedSum | None]:
    """Return the least noise multiplier, and for shared noise the plan of the sum."""
    if not place.startswith("shared"):
        gaussian = smallest_multiplier(
            lambda s: [{SampledGaussian(q=setting.q, noise_multiplier=s): setting.rounds}], epsilon, DELTA
        )
        return gaussian, None

    def plan(s: float) -> DistributedSum:
        return DistributedSum(
            parties=CLIENTS,
            max_dropouts=MISSING,
            colluders=1,
            clipping_norm=setting.clipping_norm,
            noise_multiplier=s,
            dimension=dimension,
            scale=2.0**16,
        )

    def history(s: float) -> list[dict[Event, int]]:
        return [{plan(s).event(setting.q): setting.rounds}]

    found = smallest_multiplier(history, epsilon, DELTA)
    return found, choose_scale(plan(found), {setting.q: setting.rounds}, DELTA)


def train(own: People, classes: int, place: Place, setting: Setting, epsilon: float, seed: int) -> Floats:
    """Return the weights (classes, features) of one training; the seed makes it repeatable, as no real run would be."""
    network = torch.nn.Sequential(torch.nn.Linear(own.x.shape[1], classes, bias=False))
    trainer = StackedTrainer(network)
    dimension = own.x.shape[1] * classes
    noise, plan = multiplier(place, setting, epsilon, dimension)
    strata = own.strata(setting.q, place == "curator")
    rng = np.random.default_rng(seed)
    weights, velocity, mean = np.zeros(dimension), np.zeros(dimension), np.zeros(dimension)
    half = setting.rounds - setting.rounds // 2
    for number in range(setting.rounds):
        at = torch.from_numpy(weights.astype(np.float32))
        sums = trainer.sums(at, strata, setting.clipping_norm, [rng.bytes] * len(strata)).double().numpy()
        total = _noisy_total(sums, place, noise * setting.clipping_norm, plan, rng)
        velocity = setting.momentum * velocity + total / (setting.q * WINDOWS)
        weights = weights - setting.learning_rate * velocity
        if number >= setting.rounds - half:
            mean += weights / half
    return mean.reshape(classes, -1)


def _noisy_total(
    sums: Floats, place: Place, std: float, plan: DistributedSum | None, rng: np.random.Generator
) -> Floats:
    random: RandomBytes = rng.bytes
    if plan is not None:
        missing = MISSING if place == "shared, 3 missing" else 0
        there = rng.permutation(len(sums))[missing:]
        return plan.decode(np.sum([plan.encode(sums[k], random) for k in there], axis=0))
    # The curator's sum is one row; local noise comes with every client's.
    return np.asarray((sums + release_noise(std, sums.shape, random).numpy()).sum(0))


def accuracy(weights: Floats, other: People) -> tuple[float, float]:
    """Return the share of windows that are right, and the mean over the classes that occur."""
    right = (other.x.double().numpy() @ weights.T).argmax(1) == other.y.numpy()
    classes = np.unique(other.y.numpy())
    return float(right.mean()), float(np.mean([right[other.y.numpy() == c].mean() for c in classes]))


def choose(windows: People, is_training: NDArray[np.bool_], classes: int) -> Table:
    """Accuracy on held-out people of session 1 at epsilon 1, mean over the folds."""
    own = windows.where(is_training)
    folds = np.random.default_rng(7).permutation(CLIENTS)
    table = Table("rounds", "clipping norm", "learning rate", "curator", "local")
    for setting in GRID:
        row = []
        for place in ("curator", "local"):
            found = []
            for fold in range(FOLDS):
                out = np.isin(own.owner, folds[fold * 6 : fold * 6 + 6])
                found.append(accuracy(train(own.where(~out), classes, place, setting, 1.0, fold), own.where(out))[0])
            row.append(f"{100 * np.mean(found):.1f}")
        table.add_row(str(setting.rounds), f"{setting.clipping_norm:g}", f"{setting.learning_rate:g}", *row)
    return table


LINES: tuple[tuple[str, Place, Setting], ...] = (
    ("trusted curator", "curator", COMMON),
    ("shared inside the sum", "shared", COMMON),
    ("shared, 3 of 30 missing", "shared, 3 missing", COMMON),
    ("local", "local", COMMON),
    ("local, a setting of its own", "local", LOCAL),
)
Points = dict[str, list[tuple[float, Floats]]]
"""Per line: epsilon, and (seeds, 2) accuracies over windows and over classes."""


def curve(windows: People, is_training: NDArray[np.bool_], classes: int, epsilons: Sequence[float]) -> Points:
    """Return test accuracies of every line."""
    own, test = windows.where(is_training), windows.where(~is_training)
    found: Points = {}
    for name, place, setting in LINES:
        for epsilon in epsilons:
            scores = [
                accuracy(train(own, classes, place, setting, epsilon, 100 * seed + 1), test) for seed in range(SEEDS)
            ]
            found.setdefault(name, []).append((epsilon, np.array(scores)))
    return found


def section(points: Points) -> Section:
    """Return the table of the page."""
    head = ["noise", *(f"epsilon {e:g}" for e, _ in next(iter(points.values())))]
    rows = [
        [name, *(f"{100 * s[:, 0].mean():.1f} ± {100 * s[:, 0].std(ddof=1):.1f} ({100 * s[:, 1].mean():.0f})"
                 for _, s in line)]
        for name, line in points.items()
    ]  # fmt: skip
    means = {name: {e: float(s[:, 0].mean()) for e, s in line} for name, line in points.items()}
    names = ("shared inside the sum", "trusted curator", "local", "local, a setting of its own")
    shared, curator, local, own = (100 * means[name][1.0] for name in names)
    said = (
        f"At epsilon 1 shared noise stands at {shared - curator:+.1f} points against the curator (aim: at least -1) "
        f"and {shared - local:+.1f} against local noise with the same setting (aim: at least +8); against local noise "
        f"with a setting of its own at {shared - own:+.1f}."
    )
    return Section("curve", [("", head, rows)], [said])


def main() -> None:
    """Print the curve and write it to the page, or repeat the choice of settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choose", action="store_true")
    torch.set_num_threads(1)
    windows, is_training, classes = people()
    if parser.parse_args().choose:
        Console().print(choose(windows, is_training, classes))
        return
    points = curve(windows, is_training, classes, EPSILONS)
    made = replace(section(points), figure=curve_figure(points, 100.0))
    save_section(made)
    Console().print(made.text())


if __name__ == "__main__":
    main()
