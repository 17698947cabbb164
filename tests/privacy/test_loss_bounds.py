"""Losses are upper bounds in floating point too, at any delta: against closed forms in 40 digits."""

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp
from scipy.special import ndtr

from privacy import PldAccountant, RdpAccountant, SampledGaussian, SampledSkellam
from privacy.accountants import LEAST_EPSILON
from privacy.loss_distributions import _composed, composed_epsilon
from privacy.loss_masses import EXPONENTS, _relative_error, one_step
from privacy.statement import best_epsilon

RDP = RdpAccountant()
few = settings(max_examples=40, deadline=None)


def spent_delta(mu: float, epsilon: float) -> float:
    """The exact delta of a Gaussian composition (Balle and Wang 2018, Theorem 8; Dong, Roth and Su 2022)."""
    with mp.workdps(60):
        m, e = mp.mpf(mu), mp.mpf(epsilon)
        return float(mp.ncdf(m / 2 - e / m) - mp.exp(e) * mp.ncdf(-m / 2 - e / m))


def sampled_delta(q: float, sigma: float, epsilon: float) -> float:
    """The exact delta of one sampled step, the larger of removing and adding the example."""
    with mp.workdps(60):
        p, s, e = mp.mpf(q), mp.mpf(sigma), mp.mpf(epsilon)
        edge = mp.mpf(1) / 2 + s * s * mp.log(1 + mp.expm1(e) / p)
        plain, moved = mp.ncdf(-edge / s), mp.ncdf((1 - edge) / s)
        removed = (1 - p) * plain + p * moved - mp.exp(e) * plain
        rest = 1 + mp.expm1(-e) / p
        if rest <= 0:
            return float(removed)
        edge = mp.mpf(1) / 2 + s * s * mp.log(rest)
        plain, moved = mp.ncdf(edge / s), mp.ncdf((edge - 1) / s)
        return float(max(removed, plain - mp.exp(e) * ((1 - p) * plain + p * moved)))


def cell(seed: int) -> tuple[Counter, float, float, float]:
    """A history at q = 1 of up to three noises, its mu, a delta, and an interval."""
    rng = np.random.default_rng(seed)
    mu, delta = math.exp(rng.uniform(math.log(0.03), math.log(12.0))), 10.0 ** rng.uniform(-22.0, -0.5)
    counts = [int(math.exp(rng.uniform(0.0, math.log(10_000.0)))) for _ in range(int(rng.integers(1, 4)))]
    fractions = rng.dirichlet(np.ones(len(counts)))
    history: Counter = Counter()
    for count, fraction in zip(counts, fractions, strict=True):
        history[SampledGaussian(q=1.0, noise_multiplier=math.sqrt(count / fraction) / mu)] += count
    exact = math.sqrt(math.fsum(n / e.noise_multiplier**2 for e, n in history.items()))
    return history, exact, delta, float(rng.choice([1e-2, 1e-3, 1e-4]))


@pytest.mark.slow
@pytest.mark.campaign
def test_no_closed_form_cell_lies_below_the_exact_value(campaign: Callable[[int, int], list[int]]) -> None:
    """5,000 cells; each certified epsilon must spend at most the delta asked for, and the coarse ones not much less."""
    finite, tight = 0, 0
    for seed in campaign(5000, 150):
        history, mu, delta, interval = cell(seed)
        pld, rdp = PldAccountant(interval).epsilon(history, delta), RDP.epsilon(history, delta)
        for name, claimed in (("PLD", pld), ("RDP", rdp)):
            if math.isfinite(claimed):
                assert spent_delta(mu, claimed) <= delta, (seed, name, claimed)
        finite += math.isfinite(pld)
        # Round-off costs nothing that shows. What is left is the grid: a variance of at most h^2 / 4 a step more, which
        # costs half of it times the slope theta + 1 of the losses' tail; asked where that is small beside mu^2.
        slope = pld / mu**2 + 1.5
        wide = sum(history.values()) * interval**2 / 8.0 * slope + interval
        if math.isfinite(pld) and pld > wide and sum(history.values()) * interval**2 < 0.05 * mu**2:
            tight += 1
            assert spent_delta(mu, (pld - wide) * 0.999) >= delta, (seed, pld)
    assert finite > 0.9 * len(campaign(5000, 150))
    assert tight > 0.4 * len(campaign(5000, 150))


@pytest.mark.parametrize("delta", [1e-8, 1e-11, 1e-14, 1e-17])
@pytest.mark.parametrize(("steps", "mu"), [(1, 8.0), (100, 0.3), (10_000, 3.0), (10_000, 1.0)])
def test_a_tiny_delta_is_not_drowned_by_round_off(steps: int, mu: float, delta: float) -> None:
    history = {SampledGaussian(q=1.0, noise_multiplier=math.sqrt(steps) / mu): steps}
    claimed = PldAccountant().epsilon(history, delta)
    assert spent_delta(mu, claimed) <= delta < spent_delta(mu, claimed * 0.985 - 2e-3)


@few
@given(
    st.floats(-9.0, -1e-9).map(lambda e: 10.0**e) | st.just(1.0), st.floats(0.3, 20.0),
    st.floats(-18.0, -0.5).map(lambda e: 10.0**e), st.sampled_from([1e-3, 1e-4]),
)  # fmt: skip
def test_one_sampled_step_is_never_below_the_exact_value(q: float, sigma: float, delta: float, interval: float) -> None:
    claimed = PldAccountant(interval).epsilon({SampledGaussian(q=q, noise_multiplier=sigma): 1}, delta)
    assert sampled_delta(q, sigma, claimed) <= delta
    assert claimed <= 2.0 * interval + LEAST_EPSILON or sampled_delta(q, sigma, claimed - 2.0 * interval) >= delta
    if math.isfinite(rdp := RDP.epsilon({SampledGaussian(q=q, noise_multiplier=sigma): 1}, delta)):
        assert sampled_delta(q, sigma, rdp) <= delta


def test_the_normal_tails_are_known_to_the_error_that_is_charged() -> None:
    z = np.concatenate([np.random.default_rng(0).uniform(-12.5, 0.0, 1500), -np.geomspace(1e-8, 12.5, 500)])
    with mp.workdps(40):
        off = [abs(float(mp.mpf(float(ndtr(v))) / mp.ncdf(mp.mpf(float(v))) - 1)) for v in z]
    # Half of the bound is kept for the rounding of z itself.
    assert (np.array(off) <= _relative_error(z) - 2.0**-53 * 2.0 * (z * z + 1.0)).all()


def outcome(q: object, sigma: object, loss: object) -> object:
    """The outcome of one sampled step whose privacy loss is `loss`, in arbitrary precision."""
    g = mp.exp(loss) - 1 + q
    return mp.mpf(1) / 2 + sigma * sigma * mp.log(g / q) if g > 0 else -mp.inf


@pytest.mark.parametrize(("q", "sigma"), [(1.0, 0.3), (1.0, 50.0), (0.3, 1.0), (1e-3, 0.7), (0.9, 4.0), (1e-12, 1.0)])
def test_every_mass_of_a_step_is_an_upper_bound_and_hardly_more(q: float, sigma: float) -> None:
    """Each atom against the same formula in 60 digits; together they exceed 1 by no more than 1e-6."""
    h = 1e-3
    remove, add = one_step(q, sigma, h)
    for part, sign in ((remove, 1),) if remove is add else ((remove, 1), (add, -1)):
        picked = np.unique(np.linspace(1, len(part.masses) - 2, 60).astype(int))
        with mp.workdps(60):
            p, s = mp.mpf(q), mp.mpf(sigma)
            for i in map(int, picked):
                k = sign * (part.first + i)
                ends = [outcome(p, s, j * mp.mpf(h)) for j in (k - 1, k, k + 1)]
                q0 = [mp.ncdf(x / s) for x in ends]
                q1 = [mp.ncdf((x - 1) / s) for x in ends]
                w = [q0[1] - q0[0], q0[2] - q0[1]]
                m = [(1 - p) * w[j] + p * (q1[j + 1] - q1[j]) for j in (0, 1)]
                atom = (m[0] - w[0] * mp.exp((k - 1) * mp.mpf(h))) / -mp.expm1(-mp.mpf(h))
                atom += (w[1] * mp.exp((k + 1) * mp.mpf(h)) - m[1]) / mp.expm1(mp.mpf(h))
                true = atom if sign == 1 else atom * mp.exp(-k * mp.mpf(h))
                assert part.masses[i] >= true
        assert 1.0 <= part.masses.sum() + part.infinite <= 1.0 + 1e-6


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=12), st.integers(1, 9), st.sampled_from([5, 20, 30]))
def test_the_bound_of_a_transform_s_round_off_holds(weights: list, count: int, chosen: int) -> None:
    """A power of masses by transforms, against the same in fractions."""
    step = one_step(1.0, 2.0, 0.5)[0]
    part = type(step)(first=-3, masses=np.array(weights) / sum(weights), infinite=0.0, shift=0.0)
    theta, moment = float(EXPONENTS[chosen]), float(part.moments[chosen])
    tilted = part.masses * np.exp(theta * np.arange(part.first, part.last + 1) - moment)
    exact = [Fraction(1)]
    for _ in range(count):
        found = [Fraction(0)] * (len(exact) + len(tilted) - 1)
        for i, a in enumerate(exact):
            for j, b in enumerate(tilted):
                found[i + j] += a * Fraction(float(b))
        exact = found
    size = 1 << (len(exact) - 1).bit_length() + 3
    whole, error = _composed([(part, count)], chosen, size)
    truth = np.zeros(size)
    truth[: len(exact)] = [float(v) for v in exact]
    # What raising the tilted masses adds is no error; it is allowed for.
    assert np.linalg.norm(whole - truth) <= error + count * 1e-14
    assert error < 1e-11


@pytest.mark.parametrize("count", [1, 1000])
@pytest.mark.parametrize("q", [1e-12, 1e-9, 3.3e-4])
def test_a_release_never_costs_nothing(q: float, count: int) -> None:
    """An epsilon of 0 is kept for what did not happen, and no rounding to 0 certifies more than is true."""
    history = {SampledGaussian(q=q, noise_multiplier=1.0): count}
    for delta in (1e-3, 1e-12, 1e-18, 1e-25):
        assert min(e for e in best_epsilon(history, delta) if e is not None) >= LEAST_EPSILON
    assert RDP.epsilon({SampledSkellam(q=q, variance=1e4, l2=50.0, l1=2500.0): count}, 1e-3) >= LEAST_EPSILON
    # The example shows with probability 0.38 q: far more than this delta, which no epsilon near 0 covers.
    if count == 1:
        assert sampled_delta(q, 1.0, RDP.epsilon(history, 1e-25)) <= 1e-25


def test_a_delta_below_the_infinite_losses_is_left_to_rdp() -> None:
    history = {SampledGaussian(q=1.0, noise_multiplier=4.0): 1}
    assert composed_epsilon(history, 1e-34, 1e-3) == math.inf
    rdp, pld = best_epsilon(history, 1e-34)
    assert pld == math.inf
    assert spent_delta(0.25, rdp) <= 1e-34
