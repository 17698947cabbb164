"""An integer shift under Skellam noise is dominated by the Gaussian one that is charged: against exact values."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import cache

import pytest
from mpmath import mp

import privacy.skellam_gdp
from privacy import (
    NonPrivate,
    PldAccountant,
    RdpAccountant,
    SampledGaussian,
    SampledSkellam,
    SkellamRelease,
    smallest_multiplier,
)
from privacy.accountants import LEAST_EPSILON
from privacy.errors import InvalidParameter
from privacy.events import Event
from privacy.skellam_gdp import centre_mass, dominating, shift_cost
from privacy.statement import best_epsilon
from privacy.testing import exact_gaussian

RDP, PLD, FINE = RdpAccountant(), PldAccountant(), PldAccountant(1e-4)
DIGITS, OF_OUTCOMES = 60, 30
#: More than all outcomes weigh that `Pair` leaves out.
REST = 1e-14


@cache
def mass(variance: float, k: int) -> object:
    """exp(-v) I_k(v), the probability of k."""
    v = mp.mpf(variance)
    return mp.exp(-v) * mp.besseli(k, v)


class Pair:
    """All outcomes of a shift by (k, ..., k) in d dimensions, with their probabilities, in arbitrary precision."""

    def __init__(self, variance: float, k: int, d: int = 1) -> None:
        reach = 1
        with mp.workdps(OF_OUTCOMES):
            while mass(variance, reach + 1) > REST / 1e4:
                reach += 1
            cells = [(mass(variance, abs(x - k)), mass(variance, abs(x))) for x in range(-reach, reach + k + 1)]
            self.outcomes = []
            # Equal shifts: only which cells are hit how often matters.
            for hit in itertools.combinations_with_replacement(range(len(cells)), d):
                ways = math.factorial(d)
                for n in Counter(hit).values():
                    ways //= math.factorial(n)
                shifted, plain = mp.mpf(ways), mp.mpf(ways)
                for i in hit:
                    shifted, plain = shifted * cells[i][0], plain * cells[i][1]
                self.outcomes.append((shifted, plain))

    def spent(self, epsilon: float, q: float = 1.0) -> float:
        """The exact delta, of removing and of adding, under Poisson sampling at rate q."""
        with mp.workdps(OF_OUTCOMES):
            e, q_ = mp.exp(mp.mpf(epsilon)), mp.mpf(q)
            removed = added = mp.mpf(0)
            for shifted, plain in self.outcomes:
                mixed = (1 - q_) * plain + q_ * shifted
                removed += max(mixed - e * plain, 0)
                added += max(plain - e * mixed, 0)
            return float(max(removed, added)) + REST


pair = cache(Pair)


def release(variance: float, k: int, d: int = 1, q: float = 1.0, failure: float = 0.0) -> Event:
    norm = math.sqrt(d) * k
    if q == 1.0 and failure == 0.0:
        return SkellamRelease(variance=variance, l2=norm, l1=float(d * k))
    return SampledSkellam(q=q, variance=variance, l2=norm, l1=float(d * k), failure=failure)


def best(variance: float) -> object:
    """The least number that a shift by one in one dimension allows, to 60 digits."""
    v = mp.mpf(variance)
    return 2 * mp.sqrt(2) * mp.erfinv(mp.exp(-v) * mp.besseli(0, v))


VARIANCES = [1e-6, 1e-3, 0.01, 0.3, 1.0, 2.0, 10.0, 59.9, 60.1, 225.0, 1e3, 1e5, 1e7, 4.2e9]


@pytest.mark.parametrize("variance", VARIANCES)
def test_the_cost_is_never_below_the_best_and_hardly_above(variance: float) -> None:
    with mp.workdps(DIGITS):
        true = best(variance)
        assert true <= mp.mpf(shift_cost(variance)) <= true * (1 + mp.mpf("1e-12"))


@pytest.mark.parametrize("variance", [1e-6, 0.01, 0.3, 2.0, 17.0, 60.0, 60.001, 75.0, 300.0, 1e4, 1e8])
def test_the_mass_of_the_centre_is_an_upper_bound_to_25_digits(variance: float) -> None:
    with mp.workdps(90):
        v = mp.mpf(variance)
        true, found = mp.exp(-v) * mp.besseli(0, v), mp.mpf(str(centre_mass(Decimal(variance))))
        assert true <= found <= true * (1 + mp.mpf("1e-24"))


def test_the_cost_of_large_noise_is_that_of_a_gaussian() -> None:
    for variance in (1e9, 1e13, 1e17):
        assert shift_cost(variance) == pytest.approx((1.0 + 1.0 / (6.0 * variance)) / math.sqrt(variance), rel=1e-12)
    # Between two neighbouring expansions nothing jumps, and more noise never costs more.
    grid = [10.0 ** (k / 20.0) for k in range(-120, 340)]
    assert all(less > more for less, more in itertools.pairwise(map(shift_cost, grid)))


@pytest.mark.parametrize("variance", [0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 60.0, 225.0])
def test_no_step_of_the_quantiles_is_longer_than_the_first(variance: float) -> None:
    """The lemma by itself, out to tails of 1e-40: z_t - z_(t-1) falls for t >= 0."""
    with mp.workdps(DIGITS):
        p, tail, above = [], mp.mpf(0), []
        v, t = mp.mpf(variance), 0
        while t < 3 or p[-1] > mp.mpf("1e-40"):
            p.append(mp.exp(-v) * mp.besseli(t, v))
            t += 1
        tail = mp.nsum(lambda k: mp.exp(-v) * mp.besseli(int(k), v), [t, t + 60])
        for mass in reversed(p):
            above.append(tail)
            tail += mass
        # z_t from the upper tail 1 - F(t): erfc inverted by Newton.
        z = [_upper(a) for a in reversed(above)]
        steps = [2 * z[0], *(b - a for a, b in itertools.pairwise(z))]
        assert all(later < earlier for earlier, later in itertools.pairwise(steps))
        assert steps[0] <= mp.mpf(shift_cost(variance))


def _upper(tail: object) -> object:
    guess = mp.sqrt(-2 * mp.log(tail)) if tail < mp.mpf("0.1") else mp.mpf(1)
    return mp.findroot(lambda z: mp.log(mp.erfc(z / mp.sqrt(2)) / 2) - mp.log(tail), guess)


@pytest.mark.parametrize("x", [1e-3, 0.1, 1.0, 7.0, 50.0, 1e3, 1e5])
def test_ratios_of_bessel_functions_are_log_convex_in_the_order(x: float) -> None:
    with mp.workdps(DIGITS):
        found = [mp.besseli(t, mp.mpf(x)) for t in range(40)]
        ratios = [found[0] / found[1], *(b / a for a, b in itertools.pairwise(found))]
        for before, here, after in zip(ratios, ratios[1:], ratios[2:], strict=False):
            assert before * after > here**2


DELTAS = (0.1, 1e-3, 1e-5, 1e-9)
SHIFTS = [
    (0.3, 1, 1), (2.0, 1, 1), (2.0, 4, 1), (30.0, 6, 1), (225.0, 4, 1), (0.5, 1, 2), (2.0, 2, 2), (9.0, 3, 2),
    (0.5, 1, 4), (2.0, 1, 4),
]  # fmt: skip


def check_charged(variance: float, k: int, d: int, q: float, delta: float, accountant: PldAccountant = PLD) -> None:
    claimed = accountant.epsilon({release(variance, k, d, q): 1}, delta)
    assert pair(variance, k, d).spent(claimed, q) <= delta, (variance, k, d, q, delta, claimed)


@pytest.mark.parametrize(("variance", "k", "d"), SHIFTS)
@pytest.mark.parametrize("q", [1.0, 0.05])
def test_no_shift_in_one_two_or_four_dimensions_costs_more_than_is_charged(
    variance: float, k: int, d: int, q: float
) -> None:
    # In four dimensions one sum takes a second.
    for delta in DELTAS if d < 4 else DELTAS[2:3]:
        check_charged(variance, k, d, q, delta)
        if d < 4:
            check_charged(variance, k, d, q, delta, FINE)


@pytest.mark.parametrize("variance", [0.3, 2.0, 30.0])
def test_a_cost_one_percent_too_small_is_noticed(variance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """At epsilon 0 the bound is met: two neighbours differ by p(0) in total variation."""
    delta = 0.997 * float(mass(variance, 0))
    check_charged(variance, 1, 1, 1.0, delta, FINE)
    monkeypatch.setattr(privacy.skellam_gdp, "shift_cost", lambda v: 0.99 * shift_cost(v))
    with pytest.raises(AssertionError):
        check_charged(variance, 1, 1, 1.0, delta, FINE)


@pytest.mark.parametrize("count", [3, 40])
def test_shifts_of_many_releases_add_in_squares(count: int) -> None:
    """All of them together are one shift in as many dimensions; one more coordinate is one more release."""
    event = release(2.0, 1)
    assert PLD.epsilon({event: count}, 1e-5) == pytest.approx(PLD.epsilon({release(2.0, 1, count): 1}, 1e-5), rel=1e-9)
    mixed: dict[Event, int] = {event: count, release(50.0, 3): 2, release(8.0, 2, q=1.0, failure=1e-30): 1}
    mu = math.sqrt(count * shift_cost(2.0) ** 2 + 2 * 9 * shift_cost(50.0) ** 2 + 4 * shift_cost(8.0) ** 2)
    assert exact_gaussian(mu, 1e-5) <= FINE.epsilon(mixed, 1e-5) <= exact_gaussian(mu, 1e-5) + 1e-4


def test_the_worst_shift_is_not_in_one_coordinate() -> None:
    """Norm 4 at variance 2: a distribution of losses in one dimension would claim less than is spent."""
    bounds = {(4, 1): 8.72, (2, 4): 11.86}
    for (k, d), exact in bounds.items():
        assert pair(2.0, k, d).spent(exact + 0.01) < 1e-5 < pair(2.0, k, d).spent(exact - 0.01)
    charged = PLD.epsilon({release(2.0, 4): 1}, 1e-5)
    assert charged == pytest.approx(17.95, abs=0.01)
    assert RDP.epsilon({SkellamRelease(variance=2.0, l2=4.0, l1=16.0): 1}, 1e-5) == pytest.approx(27.13, abs=0.01)


@pytest.mark.parametrize("q", [1.0, 0.2, 0.01])
@pytest.mark.parametrize("count", [1, 25, 1000])
@pytest.mark.parametrize(("variance", "norm", "dimension"), [(4e4, 60.0, 50), (1e9, 16_395.0, 640), (30.0, 9.0, 20)])
def test_it_is_below_the_renyi_bound(q: float, count: int, variance: float, norm: float, dimension: int) -> None:
    event = SampledSkellam(q=q, variance=variance, l2=norm, l1=math.sqrt(dimension) * norm)
    rdp, pld = best_epsilon({event: count}, 1e-5)
    assert pld is not None
    assert LEAST_EPSILON < pld < rdp or math.isinf(rdp)


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_it_is_within_a_thousandth_of_gaussian_noise_of_the_same_size(epsilon: float) -> None:
    """What a default row asks for: 16,395 integer steps of norm, and variances from 1e8 on."""
    sigma = {1.0: 3.730632, 8.0: 0.600126}[epsilon]
    spent = FINE.epsilon({SkellamRelease(variance=(sigma * 16_395.3) ** 2, l2=16_395.3, l1=185_491.8): 1}, 1e-5)
    assert spent == pytest.approx(exact_gaussian(1.0 / sigma, 1e-5), rel=1e-3)
    assert spent == pytest.approx(epsilon, rel=2e-3)


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 2.0, 20.0, 150.0, 600.0])
@pytest.mark.parametrize(("q", "count"), [(1.0, 1), (1.0, 3), (0.25, 60)])
def test_no_budget_asks_for_more_noise_than_by_the_renyi_bound(q: float, count: int, epsilon: float) -> None:
    def schedule(multiplier: float) -> list[dict[Event, int]]:
        return [{SampledSkellam(q=q, variance=(multiplier * 16_395.3) ** 2, l2=16_395.3, l1=185_491.8): count}]

    before = smallest_multiplier(schedule, epsilon, 1e-5, accountant=RDP)
    now = smallest_multiplier(schedule, epsilon, 1e-5)
    assert now == before == 0.05 or now < 0.95 * before


def test_what_a_failing_sensitivity_adds_is_taken_off_delta() -> None:
    """An example that changed more than it may shows outright, in the worst case: e^epsilon q failure of the delta."""
    q, failure, delta = 0.5, 2e-7, 1e-6
    claimed = PLD.epsilon({release(9.0, 1, q=q, failure=failure): 1}, delta)
    left = delta - math.exp(claimed) * q * failure
    sure = {release(9.0, 1, q=q): 1}
    assert PLD.epsilon(sure, delta) * 1.01 < PLD.epsilon(sure, left) <= claimed <= PLD.epsilon(sure, left * 0.999)
    assert PLD.epsilon({release(9.0, 1, q=q, failure=failure): 10}, delta) == math.inf


def test_events_translate_one_by_one() -> None:
    gaussian = SampledGaussian(q=0.3, noise_multiplier=2.0)
    found = dominating({gaussian: 4, release(2.0, 1, q=0.1): 3, release(2.0, 1): 2, NonPrivate("x"): 1})
    assert found is not None
    assert found.pop(gaussian) == 4
    (sampled, three), (whole, one) = sorted(found.items())
    assert (sampled.q, three, whole.q, one) == (0.1, 3, 1.0, 1)
    assert 1.0 / sampled.noise_multiplier == pytest.approx(shift_cost(2.0), rel=1e-13)
    assert 1.0 / sampled.noise_multiplier > shift_cost(2.0)
    assert 1.0 / whole.noise_multiplier == pytest.approx(math.sqrt(2.0) * shift_cost(2.0), rel=1e-13)
    # Too large a step for one distribution of losses stays in its parts.
    (parts,) = (dominating({release(1.0, 1): 100}) or {}).items()
    assert parts[1] == 100


@pytest.mark.parametrize("variance", [1e-7, 2.0**59])
def test_a_variance_out_of_range_is_left_to_the_renyi_bound(variance: float) -> None:
    with pytest.raises(InvalidParameter, match="Renyi"):
        shift_cost(variance)
    event = SkellamRelease(variance=variance, l2=1.0, l1=1.0)
    rdp, pld = best_epsilon({event: 1}, 1e-5)
    assert pld == math.inf
    assert rdp == RDP.epsilon({event: 1}, 1e-5)


@pytest.mark.parametrize("cost", [PLD.epsilon, RDP.epsilon])
def test_a_release_never_costs_nothing(cost: Callable[[dict[Event, int], float], float]) -> None:
    assert cost({release(1e17, 1): 1}, 1e-3) >= LEAST_EPSILON
    assert cost({release(1e4, 1, q=1e-9): 1}, 1e-3) >= LEAST_EPSILON
