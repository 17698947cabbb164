"""Privacy loss distributions of sampled Gaussians, composed in one pass over their Fourier transforms.

One step's masses are those of `privacy.loss_masses`. A history is the product of the transforms, each to the power of
its count, on a window (Koskela et al. 2020; Gopi et al. 2021, section 4). Before that every mass is tilted: multiplied
by exp(theta * loss) with the theta at which Chernoff's bound of this delta is least. Round-off is then small beside
*delta*, and not only beside 1: without the tilt 1e-16 of every loss would drown a delta of 1e-12.
Transforms depend on the event and on theta alone, so a query after one more round costs two of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from privacy.events import SampledGaussian
from privacy.loss_masses import EXPONENTS, UNIT, Floats, LossMasses, one_step

#: Tilted mass, in each direction, that may lie outside the window.
TAIL = 1e-15
#: More grid points than this would need gigabytes.
MOST_POINTS = 1 << 25
#: What is lost to underflow in all sums together.
_UNDERFLOW = 1e-290
#: Tilts tried at most, and the share of delta that round-off may take without another being tried.
_MOST_TILTS, _SMALL = 6, 1e-6


def composed_epsilon(history: Mapping[SampledGaussian, int], delta: float, interval: float) -> float:
    """Return an upper bound of the epsilon of a history at `delta`, in both directions; inf where none is proven.

    Counts are positive. Losses are rounded up to multiples of `interval`; see `_direction` for the round-off. inf if
    the window would be too wide, or delta is not above the mass of infinite losses (2e-33 a step).
    """
    parts = [(*one_step(_computable(e.q), e.noise_multiplier, interval), n) for e, n in sorted(history.items())]
    if not parts:
        return 0.0
    removed = [(remove, n) for remove, _, n in parts]
    added = [(add, n) for _, add, n in parts]
    first = _direction(removed, delta, interval)
    alike = all(remove is add for remove, add, _ in parts)
    return first if alike or math.isinf(first) else max(first, _direction(added, delta, interval))


def _direction(parts: list[tuple[LossMasses, int]], delta: float, interval: float) -> float:
    """Return the epsilon of one direction: the least that any of the tilts tried proves.

    The first theta is that of Chernoff's bound of delta. Where round-off still shows at the epsilon found, the theta
    that suits that epsilon comes next.
    """
    infinite = _UNDERFLOW - math.expm1(math.fsum(n * math.log1p(-p.infinite) for p, n in parts))
    if infinite * (1.0 + 1e-9) >= delta:
        return math.inf
    if sum(n for _, n in parts) == 1:
        ((one, _),) = parts
        return _settled(epsilon_of(one.first, one.masses, infinite, delta, interval), parts)
    moments = np.sum([n * p.moments for p, n in parts], axis=0)
    positive = EXPONENTS > 0.0
    chosen = int(np.argmin(np.where(positive, (moments - math.log(delta)) / EXPONENTS, math.inf)))
    best = math.inf
    for _ in range(_MOST_TILTS):
        found, share = _tilted(parts, moments, chosen, infinite, delta, interval)
        best = min(best, found)
        before = chosen
        chosen = int(np.argmin(np.where(positive, moments - EXPONENTS * best / interval, math.inf)))
        if share < _SMALL or chosen == before or math.isinf(best):
            break
    return _settled(best, parts)


def _settled(epsilon: float, parts: list[tuple[LossMasses, int]]) -> float:
    """Return an epsilon with what rounding may have moved the losses that it was read off."""
    return epsilon if epsilon == 0.0 else epsilon * (1.0 + 4.0 * UNIT) + sum(n * p.shift for p, n in parts)


def _tilted(
    parts: list[tuple[LossMasses, int]], moments: Floats, chosen: int, infinite: float, delta: float, interval: float
) -> tuple[float, float]:
    """Return the epsilon of one direction at the tilt EXPONENTS[chosen], and the share of delta that round-off took.

    *Guarantee*: an upper bound in floating point too. (1) The masses that enter are upper bounds, and so is every sum
    of products of them. (2) The transform wraps around and thus adds losses from outside the window to it; those above
    the window weigh at most exp(log M - theta * high) * TAIL and count as infinite; those below matter only for an
    epsilon below the window, which is never returned. (3) The composed tilted masses are off by a vector of 2-norm at
    most r (`_composed`), so by Cauchy and Schwarz the divergence at grid point k by at most r exp(log M - theta k)
    times the 2-norm of exp(-theta j) (1 - exp(-j h)) over j >= 1; that is added before epsilon is searched. (4) Every
    sum after that is of positive terms, hence right to its number of terms times the unit round-off.
    """
    start, stop = sum(n * p.first for p, n in parts), sum(n * p.last for p, n in parts)
    longest = max(len(p.masses) for p, _ in parts)
    low, high = start, stop
    if stop - start > 2 * longest:
        low, high = _window(moments, chosen, start, stop)
    points = max(high - low + 1, longest)
    if points > MOST_POINTS:
        return math.inf, 0.0
    theta, log_moment = float(EXPONENTS[chosen]), math.fsum(n * float(p.moments[chosen]) for p, n in parts)
    whole, error = _composed(parts, chosen, next_fast_len(points, real=True))
    # The transform wraps around: entry j stands for every loss that equals start + j modulo its size.
    whole = np.roll(whole, -((low - start) % len(whole)))[: high - low + 1]
    farthest = abs(log_moment) + theta * max(abs(low - 1), abs(high)) + sum(n for _, n in parts)
    # A mass is at most 1, so a bound above e^300 is of no use, and here none may overflow.
    back = np.exp(np.minimum(log_moment - theta * np.arange(low - 1, high + 1), 300.0)) * (1.0 + 8.0 * UNIT * farthest)
    ratio = math.exp(-2.0 * theta)
    rest = -math.expm1(-2.0 * theta)
    missing = error * back * min(math.sqrt(ratio / rest), interval * math.sqrt(ratio * (1.0 + ratio) / rest**3))
    if high < stop:
        infinite += 2.0 * TAIL * float(back[-1])
    # Round-off leaves some masses just below zero; raising them only adds.
    masses = np.maximum(whole, 0.0) * back[1:]
    found = epsilon_of(low, masses, infinite * (1.0 + 1e-9), delta, interval, missing)
    place = min(max(0, math.floor(found / interval) - low), len(missing) - 1) if math.isfinite(found) else 0
    return found, float(missing[place]) / delta


def _window(moments: Floats, chosen: int, start: int, stop: int) -> tuple[int, int]:
    """Return the least and largest grid point outside of which at most TAIL of the tilted mass lies, each side."""
    above, below = slice(chosen + 1, None), slice(None, chosen)
    room = math.log(1.0 / TAIL)
    highs = (moments[above] - moments[chosen] + room) / (EXPONENTS[above] - EXPONENTS[chosen])
    lows = (moments[chosen] - moments[below] - room) / (EXPONENTS[chosen] - EXPONENTS[below])
    low = max(start, math.floor(float(lows.max(initial=-math.inf, where=np.isfinite(lows)))) if len(lows) else start)
    high = min(stop, math.ceil(float(highs.min()))) if len(highs) else stop
    return low, max(low, high)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Transform:
    """Transform of a step's tilted masses; their sum and 2-norm."""

    values: NDArray[np.complex128]
    total: float
    norm: float


def _composed(parts: list[tuple[LossMasses, int]], chosen: int, size: int) -> tuple[Floats, float]:
    """Return the tilted masses of a history, circular of length `size`, and a bound of their error's 2-norm.

    With u the unit round-off: one transform is off by at most eta = 16 u log2(size) of its own 2-norm. (Higham 2002,
    section 24.1, for radix 2. In general a pass of radix r <= 5 computes each output from r products, each off by at
    most r + 6.3 roundings, so it is off by (r + 6.3) sqrt(r) u <= 12 u log2(r) of its 2-norm; pocketfft makes 2, 3, 4
    and 5 of a size without other prime factors, which `next_fast_len` returns.) So the transform t of a step with
    masses m differs from the true one by at most eta sqrt(size) ||m|| in 2-norm and thus in every entry, where it is at
    most sum(m). Replacing the n factors one by one bounds the product's error by the product of the largest values
    times n eta sqrt(size) ||m||, summed over steps; powers by squaring and products add 5 n u of the result, the
    transform back eta of it and a factor 1 / sqrt(size).
    """
    eta = 16.0 * UNIT * math.log2(max(size, 2))
    product = np.ones(size // 2 + 1, dtype=np.complex128)
    largest, off, steps = 0.0, 0.0, 0
    for part, count in parts:
        one = _transform(part, size, chosen)
        product *= _power(one.values, count)
        largest += count * math.log(one.total + eta * math.sqrt(size) * one.norm)
        off += count * eta * one.norm
        steps += count + 1
    norm = math.sqrt(2.0 * float(np.vdot(product, product).real) / size)
    error = 1.1 * (math.exp(largest) * off + (eta + 5.0 * UNIT * steps) * norm)
    return np.asarray(irfft(product, size), dtype=np.float64), error


def _power(values: NDArray[np.complex128], count: int) -> NDArray[np.complex128]:
    """Return values ** count by squaring: numpy's power of a large count goes through logarithms of unknown error."""
    found, square = None, values
    while True:
        if count & 1:
            found = square if found is None else found * square
        count >>= 1
        if not count:
            assert found is not None
            return found
        square = square * square


def epsilon_of(
    first: int, masses: Floats, infinite: float, delta: float, interval: float, missing: Floats | None = None
) -> float:
    """Return the least epsilon whose hockey-stick divergence is at most delta; inf if none of the grid's reach has it.

    delta(epsilon) = infinite + sum over losses l > epsilon of mass(l) (1 - exp(epsilon - l)); no epsilon is below 0.
    `missing`, shape (len(masses) + 1,): what to add to the divergence at the grid points from first - 1 on; it does not
    rise. With it the masses are a window, and no epsilon below (first - 1) * interval is returned.
    """
    if missing is None and first > 1:
        first, masses = 1, np.append(np.zeros(first - 1), masses)
    lowest = max(0, first - 1)
    skip = lowest + 1 - first
    room = (delta - infinite) * (1.0 - 8.0 * UNIT * (len(masses) + 1000))
    if room < 0.0:
        return math.inf
    if skip > len(masses):
        return 0.0 if missing is None or missing[-1] <= room else math.inf
    # weighed[i]: sum over losses l >= k of mass(l) exp(k h - l), k = lowest + 1 + i. Summing it once more over k gives
    # the divergence at the point before; subtracting two sums, as the formula does, would cancel.
    weighed = _discounted(masses[skip:][::-1], interval)[::-1]
    at = np.append(-math.expm1(-interval) * np.cumsum(weighed[::-1])[::-1], 0.0)
    added = np.zeros(len(at)) if missing is None else missing[skip:]
    fits = at + added <= room
    if not fits.any():
        return math.inf
    k = int(np.argmax(fits))
    if k == 0:
        return lowest * interval
    slack = room - float(added[k - 1]) - float(at[k])
    back = max(-interval, math.log1p(-min(slack / float(weighed[k - 1]), 0.9))) if slack > 0.0 else 0.0
    return (lowest + k) * interval + back


def _discounted(values: Floats, interval: float) -> Floats:
    """Return the sums found[i] = values[i] + exp(-interval) * found[i - 1], of values that are not negative."""
    found, carried = np.empty(len(values)), 0.0
    # In blocks over which the powers neither overflow nor underflow.
    for start in range(0, len(values), block := max(1, int(300.0 / interval))):
        powers = np.exp(interval * np.arange(min(block, len(values) - start)))
        part = (np.cumsum(values[start : start + block] * powers) + carried) / powers
        found[start : start + block] = part
        carried = float(part[-1]) * math.exp(-interval)
    return found


def _computable(q: float) -> float:
    """Return a rate not below `q` at which the grid's logarithms do not cancel; a higher rate costs more."""
    return 1.0 if q > 1.0 - 1e-9 else max(q, 1e-12)


# Keyed by the part's identity: a transform is as long as the window, and the windows of neighbouring rounds agree.
@lru_cache(maxsize=32)
def _transform(part: LossMasses, size: int, chosen: int) -> _Transform:
    exponents = float(EXPONENTS[chosen]) * np.arange(part.first, part.last + 1) - float(part.moments[chosen])
    # Raised by the rounding of the exponent and of exp.
    tilted = part.masses * np.exp(exponents) * (1.0 + 4.0 * UNIT * (4.0 + np.abs(exponents)))
    return _Transform(
        values=np.asarray(rfft(tilted, size), dtype=np.complex128),
        total=float(tilted.sum()) * (1.0 + UNIT * len(tilted)),
        norm=float(np.linalg.norm(tilted)) * (1.0 + UNIT * len(tilted)),
    )
