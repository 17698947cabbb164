"""Membership in a noisy sum whose law is known: likelihood ratios, which no test beats (Neyman and Pearson 1933).

A release is `sum of what examples add + noise`, the noise normal with a public standard deviation in every entry. All
vectors here are *whitened*: divided by that deviation, so that the noise is N(0, 1) and releases of several rounds are
one long vector. An example that adds d then shifts a normal law by |d|, and the best adversary, who knows everything
else, is exactly mu-GDP with mu = |d| (Dong, Roth and Su 2022, section 2.2): the attack's power curve is the trade-off
curve of the noise that is really there. An adversary who knows less sees the same shift under more noise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from attacks.errors import GameInvalid

Floats = NDArray[np.float64]

ALL_OTHERS = "all other examples"
ALL_BUT_ASKED = "all examples but those asked about"
POPULATION = "the population alone"
"""What an adversary knows beside the release and the example in question."""

#: Part of the population's covariance that is spread over all directions.
_SHRUNK = 0.1


def shift_scores(residual: Floats, directions: Floats) -> Floats:
    """Log-likelihood ratios of an adversary who knows all other examples, as standard normals shifted by |d|.

    Args:
        residual: (n, D) or (D,), the release less all other examples, whitened: noise, plus the example where it is in.
        directions: (n, D), what each example adds, whitened.

    Returns:
        (n,): N(0, 1) where an example is out, N(|d|, 1) where it is in; 0 for an example that adds nothing.
    """
    lengths = np.linalg.norm(directions, axis=1)
    along = np.einsum("nd,nd->n", directions, np.broadcast_to(residual, directions.shape))
    return np.asarray(along / np.where(lengths > 0.0, lengths, 1.0))


def joint_scores(residual: Floats, directions: Floats, rate: float) -> Floats:
    """Log-likelihood ratios of an adversary who knows all examples but the candidates, and these up to their coins.

    To whom one candidate is asked about, the others are independent coins: a normal law of mean rate * d and covariance
    rate (1 - rate) d d' each. As many candidates as entries and more are told apart only as far as the noise lets them.

    Args:
        residual: (W, D) or (D,), the release less everything known, whitened; one row for each world.
        directions: (n, D), what each candidate adds, whitened.
        rate: of the candidates' coins.

    Returns:
        (W, n) or (n,): comparable between candidates.

    Raises:
        GameInvalid: the rate is outside (0, 1).
    """
    if not 0.0 < rate < 1.0:
        raise GameInvalid(f"rate={rate} must lie strictly between 0 and 1: candidates need coins")
    weight = rate * (1.0 - rate)
    values, vectors = np.linalg.eigh(directions @ directions.T)
    # The inverse of (1 + weight G), by eigenvalues: without noise G has very large ones.
    shrunk = 1.0 / (1.0 + weight * np.maximum(values, 0.0))
    own = np.maximum(((vectors**2) * shrunk).sum(axis=1), 1e-300)
    centred = np.atleast_2d(residual) - rate * directions.sum(axis=0)
    along = (centred @ directions.T) @ (vectors * shrunk) @ vectors.T
    power = (1.0 - own) / (weight * own)
    scores = along / own + (rate - 0.5) * power
    return np.asarray(scores if residual.ndim == 2 else scores[0])


def population_scores(
    total: Floats, directions: Floats, labels: NDArray[np.int64], population: tuple[Floats, NDArray[np.int64]]
) -> Floats:
    """Log-likelihood ratios of an adversary who knows the population alone: each class's mean and covariance.

    The release is taken for a sum of N_c draws of every class; N_c is read off the release (generalised least squares),
    and a candidate of class c is asked about in place of a typical one, so that its direction counts less the mean.

    Args:
        total: (W, D) or (D,), whole releases, whitened.
        directions: (n, D), what each candidate adds, whitened.
        labels: (n,), their classes, all of which the population holds.
        population: (m, D) contributions of others, who are not in the release, whitened, and their classes (m,).

    Returns:
        (W, n) or (n,): comparable between candidates.

    Raises:
        GameInvalid: a candidate's class has fewer than two others in the population.
    """
    others, classes = population
    names = np.unique(classes)
    short = [int(c) for c in np.unique(labels) if int((classes == c).sum()) < 2]
    if short:
        raise GameInvalid(f"the population holds fewer than two of classes {short}; leave their candidates out")
    means = np.stack([others[classes == name].mean(axis=0) for name in names])
    centred = np.concatenate([others[classes == n] - means[k] for k, n in enumerate(names)])
    sizes = np.array([(classes == name).sum() for name in names])
    rows = np.atleast_2d(total)
    # Counts first by plain least squares, then with the spread that those counts bring.
    counts = np.maximum(np.linalg.lstsq(means.T, rows.T, rcond=None)[0].mean(axis=1), 1.0)
    spread = np.repeat(np.sqrt(counts / np.maximum(sizes - 1, 1)), sizes)[:, None] * centred
    differences = directions - means[np.searchsorted(names, labels)]
    wide, along = _solved(means, spread), _solved(differences, spread)
    # A candidate that looks like one more or less of a class is no evidence: what it shares with the means is left out.
    free = along - (along @ means.T) @ np.linalg.pinv(means @ wide.T) @ wide
    scores = rows @ free.T - 0.5 * np.einsum("nd,nd->n", free, differences)
    return np.asarray(scores if total.ndim == 2 else scores[0])


def _solved(rows: Floats, factors: Floats) -> Floats:
    """Return rows times the inverse of (floor + (1 - share) F'F), F being few rows in many dimensions (Woodbury).

    The floor is the noise, and a share of the mean variance (Ledoit and Wolf 2004): few others span few directions, and
    what the sum holds outside these is not free of everybody else.
    """
    floor = 1.0 + _SHRUNK * float((factors**2).sum()) / factors.shape[1]
    scaled = factors * math.sqrt((1.0 - _SHRUNK) / floor)
    small = np.linalg.solve(np.eye(len(scaled)) + scaled @ scaled.T, scaled @ rows.T)
    return np.asarray((rows - small.T @ scaled) / floor)
