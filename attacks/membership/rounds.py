"""Membership over rounds: what every observed vector of a training adds to the question who was in it.

What is observed is a sum of clipped gradients and noise at a model that the adversary knows, once a round: the released
sum over all clients, or one client's update in the clear. Each round says little of an example; the rounds in which it
may have been drawn add up. Three ways to read one vector:

- the cosine with the example's own gradient (Li et al. 2023);
- its place among cosines under "not in it", as log odds (FedMIA: Zhu et al. 2025, arXiv 2402.06289). There the other
  clients' updates give that law; from sums alone there are none, and examples that nobody trained on stand in;
- a likelihood ratio under a normal law of everything else, drawn as often as the public rate says (LiRA's test, Carlini
  et al. 2022, on updates): what others add is noise of a known shape, which examples that nobody trained on show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from attacks.errors import CandidatesInvalid, GameInvalid
from attacks.games.attack import Candidates, FloatArray, IntArray
from attacks.games.standard import standardise
from attacks.gradients.worlds import clip_rows
from attacks.modules.functions import GradientOf, gradients_of

if TYPE_CHECKING:
    import torch

Way = Literal["cosine", "null", "likelihood"]

NAMES: dict[Way, str] = {"cosine": "cosine", "null": "FedMIA", "likelihood": "likelihood ratio"}
"""What the ways are called in reports."""
_CHUNK = 128
#: Strangers of one label below which those of all labels are the law under "not in it", and the fewest of all.
_OF_A_LABEL, FEWEST_STRANGERS = 8, 20
#: Of the weights, the share that strangers may span: what is left shows how large the noise is.
_SPANNED = 4
#: Least share of what is observed that counts as noise: a round of several steps leaves the model it began with.
_LEAST = 0.01


@dataclass(frozen=True, kw_only=True)
class RoundLaw:
    """What is public of one observed vector.

    Attributes:
        clip_norm: norm to which an example's gradient is clipped.
        rate: chance that an example that is in the data joins one step, in (0, 1].
        steps: of one round, at least 1.
        others: expected number of clipped gradients in the vector, above 0.

    Raises:
        GameInvalid: a number is outside its range.
    """

    clip_norm: float
    rate: float
    steps: int
    others: float

    def __post_init__(self) -> None:
        if not (self.clip_norm > 0 and 0 < self.rate <= 1 and self.steps >= 1 and self.others > 0):
            raise GameInvalid(
                f"{self}: clip norm and others must be positive, the rate in (0, 1] and steps at least 1; take the "
                "public numbers of the training"
            )


@dataclass(frozen=True, eq=False)
class Observed:
    """Vectors of a training in the direction of gradients, one a round.

    Attributes:
        vectors: (R, p), over the last p weights.
        law: of each of them.
        others: (R, k, p), the updates of k other clients, two at least; None where only a sum is seen.
    """

    vectors: FloatArray
    law: RoundLaw
    others: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class RoundTables:
    """What each round of its own task adds to a candidate's score, (K, n) for every way; K rounds a task."""

    cosine: FloatArray
    null: FloatArray
    likelihood: FloatArray

    def scores(self, way: Way, groups: IntArray, rounds: int | None = None) -> FloatArray:
        """Sum over the first rounds of each candidate's task, standardised per group, (n,).

        Args:
            way: how one vector is read.
            groups: (n,), numbers of what adversaries can tell apart beforehand: (task, label), `standard.groups_of`.
            rounds: how many of them; None: all.

        Raises:
            GameInvalid: there are not so many rounds.
        """
        table: FloatArray = getattr(self, way)
        if rounds is not None and not 1 <= rounds <= len(table):
            raise GameInvalid(f"rounds={rounds} is outside 1 to {len(table)}, the rounds of a task")
        return standardise(table[:rounds].sum(axis=0), groups)


def joined(parts: Sequence[RoundTables]) -> RoundTables:
    """Return the tables of all candidates of several, in order; they have as many rounds."""
    cosine, null, likelihood = (
        np.concatenate([getattr(part, name) for part in parts], axis=1) for name in ("cosine", "null", "likelihood")
    )
    return RoundTables(cosine=cosine, null=null, likelihood=likelihood)


def round_tables(
    module: torch.nn.Module,
    models: NDArray[np.floating],
    slots: IntArray,
    observed: Sequence[Observed],
    candidates: Candidates,
    strangers: Candidates,
) -> tuple[RoundTables, ...]:
    """Read every observed vector of every candidate's own task, in each of the three ways.

    Several observations of the same rounds (a sum, a client, with noise and without) share the gradients, which cost
    the time.

    Args:
        module: the architecture; running statistics are held fixed.
        models: (R, d), the model before each round.
        slots: (R,), the task of each round; each has as many, in order.
        observed: what was seen of these rounds, of one clipping norm.
        candidates: (n,); the rounds of a candidate's own `task` are read.
        strangers: examples of the same distribution that nobody trained on; their `task` plays no part.

    Returns:
        One entry an observation.

    Raises:
        CandidatesInvalid: too few strangers, a candidate's task has no round, or models, tasks and vectors do not fit.
        GameInvalid: tasks have different numbers of rounds, or observations different clipping norms.
        InversionInvalid: a gradient is not finite.
    """
    rounds = _rounds_by_slot(slots, candidates)
    _check_shapes(models, slots, observed, strangers)
    size, clip_norm = observed[0].vectors.shape[1], observed[0].law.clip_norm
    tables = [np.zeros((3, rounds.shape[1], len(candidates))) for _ in observed]
    for slot, numbers in zip(np.unique(candidates.task), rounds, strict=True):
        own = np.flatnonzero(candidates.task == slot)
        asked = candidates.take(own)
        near = _like(strangers, asked, size)
        for place, number in enumerate(numbers):
            gradient_of = gradients_of(module, np.asarray(models[number], dtype=np.float32))
            rows = (_clipped(gradient_of, part, clip_norm, size) for part in (near, asked))
            round = _Round(next(rows), near.y, next(rows), asked.y)
            for table, seen in zip(tables, observed, strict=True):
                others = None if seen.others is None else np.asarray(seen.others[number], dtype=np.float64)
                vector = np.asarray(seen.vectors[number], dtype=np.float64)
                table[:, place, own] = round.read(vector, others, seen.law)
    return tuple(RoundTables(cosine=each[0], null=each[1], likelihood=each[2]) for each in tables)


def _rounds_by_slot(slots: IntArray, candidates: Candidates) -> IntArray:
    """Return the numbers of the rounds of each candidate task, (tasks, K)."""
    if not len(candidates):
        raise CandidatesInvalid("no candidates were given; ask about at least one")
    found = [np.flatnonzero(slots == slot) for slot in np.unique(candidates.task)]
    sizes = {len(one) for one in found}
    if 0 in sizes:
        raise CandidatesInvalid(
            f"no round was observed of some of the tasks {np.unique(candidates.task).tolist()} (observed: "
            f"{np.unique(slots).tolist()}); leave these candidates out"
        )
    if len(sizes) > 1:
        raise GameInvalid(f"tasks have {sorted(sizes)} rounds; observe as many of each")
    return np.stack(found)


def _check_shapes(
    models: NDArray[np.floating], slots: IntArray, observed: Sequence[Observed], strangers: Candidates
) -> None:
    shapes = {each.vectors.shape for each in observed}
    if len(shapes) != 1 or any(shape[:1] != (len(models),) or len(shape) != 2 for shape in shapes):
        raise CandidatesInvalid(
            f"{len(models)} models for vectors of shapes {sorted(shapes)}; give one vector (p,) for each model"
        )
    if len(slots) != len(models) or next(iter(shapes))[1] > models.shape[1]:
        raise CandidatesInvalid(
            f"{len(slots)} tasks and vectors of {next(iter(shapes))[1]} entries for models {models.shape}; each model "
            "needs a task, and a vector has no more entries than weights"
        )
    norms = {each.law.clip_norm for each in observed}
    if len(norms) > 1:
        raise GameInvalid(f"clipping norms {sorted(norms)} of one training; give all observations the same")
    for each in observed:
        if each.others is not None and (each.others.shape[::2] != each.vectors.shape or each.others.shape[1] < 2):
            raise CandidatesInvalid(
                f"others has shape {each.others.shape} for vectors {each.vectors.shape}; updates of at least two other "
                "clients are needed for every round"
            )
    if len(strangers) < FEWEST_STRANGERS:
        raise CandidatesInvalid(
            f"{len(strangers)} examples that nobody trained on say too little of everybody else's gradients; give at "
            f"least {FEWEST_STRANGERS}"
        )


def _like(strangers: Candidates, asked: Candidates, size: int) -> Candidates:
    """Return strangers of the labels that are asked about, no more than leave room for the noise; else any."""
    most = max(FEWEST_STRANGERS, size // _SPANNED)
    same = np.flatnonzero(np.isin(strangers.y, asked.y))
    return strangers.take(same[:most] if len(same) >= FEWEST_STRANGERS else np.arange(min(most, len(strangers))))


def _clipped(gradient_of: GradientOf, examples: Candidates, clip_norm: float, size: int) -> FloatArray:
    """Return clipped gradients, (m, size): of the last `size` weights, which are clipped alone where they are sent."""
    import torch

    found = np.empty((len(examples), size))
    for start in range(0, len(examples), _CHUNK):
        part = slice(start, start + _CHUNK)
        x, y = torch.from_numpy(examples.x[part].copy()), torch.from_numpy(examples.y[part].copy())
        rows = gradient_of(x, y).detach()[:, -size:].double()
        found[part] = clip_rows(rows, clip_norm).numpy()
    return found


@dataclass(frozen=True, eq=False)
class _Round:
    """Gradients of one round: of strangers and of who is asked about, (m, p) and (n, p), with their labels."""

    near: FloatArray
    near_y: IntArray
    own: FloatArray
    own_y: IntArray

    def read(self, vector: FloatArray, others: FloatArray | None, law: RoundLaw) -> FloatArray:
        """Return cosine, log odds and likelihood ratio of who is asked about, (3, n)."""
        cosine = _cosines(self.own, vector[None])[:, 0]
        return np.stack([cosine, self._odds(cosine, vector, others), self._likelihood(vector, law)])

    def _odds(self, cosine: FloatArray, vector: FloatArray, others: FloatArray | None) -> FloatArray:
        if others is not None:
            table = _cosines(self.own, others)
            mean, spread = table.mean(axis=1), table.std(axis=1, ddof=1)
        else:
            of_strangers = _cosines(self.near, vector[None])[:, 0]
            mean, spread = np.zeros(len(cosine)), np.zeros(len(cosine))
            for label in np.unique(self.own_y):
                same = of_strangers[self.near_y == label]
                null = same if len(same) >= _OF_A_LABEL else of_strangers
                mean[self.own_y == label], spread[self.own_y == label] = null.mean(), null.std(ddof=1)
        z = (cosine - mean) / (spread + 1e-9)
        found: FloatArray = stats.norm.logcdf(z) - stats.norm.logsf(z)
        return found

    def _likelihood(self, vector: FloatArray, law: RoundLaw) -> FloatArray:
        """Return log of the mean over numbers of draws j of exp(j t - j^2 a / 2).

        Everything else is normal: noise, alike in all directions; whoever is drawn, by the strangers' covariance; and
        the other candidates, each in with even odds. What gradients of a label have in common is taken off.
        """
        means = np.linalg.qr(np.stack([self.near[self.near_y == y].mean(axis=0) for y in np.unique(self.near_y)]).T)[0]
        near, own = (rows - (rows @ means) @ means.T for rows in (self.near, self.own))
        left = vector - means @ (means.T @ vector)
        noise = max(_noise(left, near, own, means.shape[1]), _LEAST * float(left @ left) / len(left), 1e-300)
        prior = 0.5 * law.steps * law.rate
        known = np.concatenate([near * math.sqrt(law.others / len(near)), own * math.sqrt(prior)])
        inner = np.linalg.inv(noise * np.eye(len(known)) + known @ known.T)
        apart = own @ known.T
        along = (own @ left - apart @ (inner @ (known @ left))) / noise
        size = (np.einsum("ij,ij->i", own, own) - np.einsum("ij,ij->i", apart @ inner, apart)) / noise
        # Each candidate was in the covariance itself; this takes it out (Sherman and Morrison).
        out = np.maximum(1.0 - prior * size, 1e-9)
        along, size = along / out, size / out
        drawn = np.arange(law.steps + 1)
        chances = stats.binom.logpmf(drawn, law.steps, law.rate)
        found: FloatArray = special.logsumexp(chances + drawn * along[:, None] - 0.5 * drawn**2 * size[:, None], axis=1)
        return found


def _noise(left: FloatArray, near: FloatArray, own: FloatArray, taken: int) -> float:
    """Return the variance of an entry that no gradient at hand explains; candidates explain where there is room."""
    known = np.concatenate([near, own]) if _SPANNED * (len(near) + len(own)) <= 3 * len(left) else near
    values, vectors = np.linalg.eigh(known @ known.T)
    # Gradients are computed in float32: what is smaller is rounding.
    real = values > 1e-10 * values[-1]
    spanned = (vectors[:, real].T @ (known @ left)) ** 2 / values[real]
    return max(float(left @ left - spanned.sum()), 0.0) / max(len(left) - int(real.sum()) - taken, 1)


def _cosines(rows: FloatArray, others: FloatArray) -> FloatArray:
    """Return the cosine of every row with every other, (m, k); 0 for a vector of zeros."""
    one, two = (np.maximum(np.linalg.norm(each, axis=1), 1e-300) for each in (rows, others))
    found: FloatArray = (rows @ others.T) / one[:, None] / two
    return found
