"""What an integer shift under Skellam noise costs: a Gaussian mechanism that dominates it, rounded outward.

Theorem (proof: docs/skellam.md): with F the distribution function of Skellam(v) and Phi the standard normal one, every
integer shift of Euclidean norm s, in any dimension, is (s m)-GDP for m = 2 Phi^-1(F(0)), the best number for a shift by
one. F(0) = (1 + p) / 2 with p = exp(-v) I_0(v), so that m is the solution of 2 Phi(m / 2) - 1 = p.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import lru_cache

from scipy.special import erfinv, ndtri

from privacy.errors import InvalidParameter
from privacy.events import Event, SampledGaussian, SampledSkellam, SkellamRelease

#: Directed rounding of every sum, product and quotient. `exp` and `sqrt` are correctly rounded to the nearest whatever
#: the context says (General Decimal Arithmetic Specification 1.70), so the next number on either side is a bound.
#: Operators (+, *, /, unary -) would round by the thread's own context and appear in no bound below.
_UP = Context(prec=50, rounding=ROUND_CEILING, Emin=-99999, Emax=99999)
_DOWN = Context(prec=50, rounding=ROUND_FLOOR, Emin=-99999, Emax=99999)
_PI_DOWN = Decimal("3.1415926535897932384626433832795028841971")
_PI_UP = Decimal("3.1415926535897932384626433832795028841972")

#: Variances for which m is computed; Poisson variables are drawn below the larger one only.
LEAST_VARIANCE, MOST_VARIANCE = 1e-6, 2.0**58
#: Up to here the power series of I_0, beyond it the expansion of its integral.
_SERIES = 60
#: What rounding may take off a variance on its way from a plan through a share to a sum, relative, with room.
_ROUNDED = Decimal("1e-12")
#: Merged noises keep at least this multiplier; below it one step would be too long for a loss distribution.
_LEAST_MERGED = 0.1


@lru_cache(maxsize=4096)
def shift_cost(variance: float) -> float:
    """Return m: integer shifts of Euclidean norm s under Skellam noise of this variance are (s m)-GDP.

    About (1 + 1 / (6 v)) / sqrt(v). Taken at a variance smaller by 1e-12, relatively, so that the roundings of shares
    and sensitivities are covered.

    *Guarantee*: an upper bound: p is bounded from above (`centre_mass`), and the float returned is checked to have
    2 Phi(m / 2) - 1 >= p by a lower bound of the left side.

    Raises:
        InvalidParameter: the variance is outside [1e-6, 2^58].
    """
    if not LEAST_VARIANCE <= variance <= MOST_VARIANCE:
        raise InvalidParameter(f"variance={variance} is outside [1e-6, 2^58]; use its Renyi bound")
    mass = centre_mass(_DOWN.multiply(Decimal(variance), 1 - _ROUNDED))
    # Each where the other cancels.
    half = math.sqrt(2.0) * float(erfinv(float(mass))) if mass < Decimal("0.5") else -float(ndtri(float(1 - mass) / 2))
    slack = 1e-15
    while _within(found := half * (1.0 + slack)) < mass:
        slack *= 2.0
    return 2.0 * found


def centre_mass(variance: Decimal) -> Decimal:
    """Return an upper bound, to about 25 digits, of the probability exp(-v) I_0(v) of 0 under Skellam(v).

    Small v: the power series of I_0, whose terms fall at least fourfold from k = v on. Others: with w = sin(angle / 2)
    it is 2 / pi times the integral over 0 < w < 1 of exp(-2 v w^2) / sqrt(1 - w^2). Up to w^2 = 1/2 the series of the
    root in w^2, cut before the K-th term, lacks at most twice that term, since its coefficients fall; each term is then
    integrated to infinity. Beyond, the integral is at most exp(-v) / 2.
    """
    v, up = variance, _UP
    total = term = Decimal(1)
    k = 0
    if v <= _SERIES:
        step = up.divide(up.multiply(v, v), Decimal(4))
        while k <= v or term > Decimal("1e-45"):
            k += 1
            term = up.divide(up.multiply(term, step), Decimal(k * k))
            total = up.add(total, term)
        return up.multiply(_exp_up(v.copy_negate()), up.add(total, term))
    while term > Decimal("1e-40"):
        term = up.divide(up.multiply(term, Decimal((2 * k + 1) ** 2)), _DOWN.multiply(Decimal(8 * (k + 1)), v))
        k += 1
        total = up.add(total, term)
    root = _DOWN.next_minus(_DOWN.sqrt(_DOWN.multiply(_DOWN.multiply(Decimal(2), _PI_DOWN), v)))
    # The last term counts twice. A larger exponent than needed keeps exp away from underflow.
    beyond = _exp_up(min(v, Decimal(2000)).copy_negate())
    return up.add(up.divide(up.add(total, term), root), beyond)


def _exp_up(x: Decimal) -> Decimal:
    return _UP.next_plus(_UP.exp(x))


def _within(half: float) -> Decimal:
    """Return a lower bound of the probability that a standard normal variable lies within `half` of 0.

    It is sqrt(2 / pi) exp(-z^2 / 2) times the sum of z^(2k+1) / (2k+1)!!, all of it positive: any part is a bound.
    """
    down, z = _DOWN, Decimal(half)
    square = down.multiply(z, z)
    total = term = z
    k = 1
    while k < square or term > total * Decimal("1e-45"):
        term = down.divide(down.multiply(term, square), Decimal(2 * k + 1))
        total = down.add(total, term)
        k += 1
    density = down.next_minus(down.exp(_UP.divide(_UP.multiply(z, z), Decimal(2)).copy_negate()))
    root = down.next_minus(down.sqrt(down.divide(Decimal(2), _PI_UP)))
    return down.multiply(down.multiply(root, density), total)


def dominating(events: Mapping[Event, int]) -> dict[SampledGaussian, int] | None:
    """Return Gaussian events that dominate a history of Gaussian and Skellam ones; None if a variance is out of range.

    A Skellam release is a Gaussian one of multiplier 1 / (L2 m); on a Poisson sample it is the same Gaussian on such a
    sample. All Skellam releases over everybody are one Gaussian whose squares add up: GDP composes exactly.

    *Guarantee*: at every hockey-stick divergence, both ways, and for whatever events are chosen on the way; but for
    `privacy.renyi.total_failure`, which is to be taken off delta. Proof: docs/skellam.md.
    """
    found: Counter[SampledGaussian] = Counter()
    whole: Counter[float] = Counter()
    for event, count in events.items():
        match event:
            case SampledGaussian():
                found[event] += count
            case SkellamRelease(variance=variance, l2=l2) | SampledSkellam(variance=variance, l2=l2):
                if not LEAST_VARIANCE <= variance <= MOST_VARIANCE:
                    return None
                cost = l2 * shift_cost(variance)
                rate = event.q if isinstance(event, SampledSkellam) else 1.0
                if rate == 1.0:
                    whole[cost] += count
                else:
                    found[_gaussian(rate, cost)] += count
    together = math.sqrt(math.fsum(count * cost * cost for cost, count in whole.items()))
    if together * _LEAST_MERGED <= 1.0:
        whole = Counter({together: 1}) if whole else whole
    for cost, count in whole.items():
        found[_gaussian(1.0, cost)] += count
    return dict(found)


def _gaussian(rate: float, cost: float) -> SampledGaussian:
    # Less noise by more than the roundings of a cost and of its reciprocal.
    return SampledGaussian(q=rate, noise_multiplier=(1.0 - 1e-14) / cost)
