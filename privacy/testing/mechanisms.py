"""The laws of a mechanism: what it releases must fit what it charges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from privacy.accountants import Accountant, RdpAccountant
from privacy.errors import ConformanceError, InvalidParameter
from privacy.events import Event
from privacy.randomness import RandomBytes, system_bytes

Floats = NDArray[np.float64]

DELTA = 1e-5
#: Probability that trials of a sound mechanism are called a violation.
FALSE_ALARM = 1e-6


@dataclass(frozen=True, eq=False)
class MechanismCase:
    """One mechanism with the pair of neighbours that should tell most.

    Attributes:
        name: for messages.
        release: (examples (n, d), random bytes) -> one flat release; n may be 0.
        examples: (n, d) with the one example of interest first; the neighbour lacks it.
        history: what one release charges that example.
        score: a number from a release, larger if the example was there; of the best test, the likelihood ratio.
        accountant: whose epsilon is claimed.
    """

    name: str
    release: Callable[[Floats, RandomBytes], NDArray[np.generic]]
    examples: Floats
    history: Mapping[Event, int]
    score: Callable[[Floats], float]
    accountant: Accountant

    @property
    def epsilon(self) -> float:
        """What is claimed at `DELTA`."""
        return self.accountant.epsilon(self.history, DELTA)


def check_mechanism(case: MechanismCase, trials: int = 4000, random: RandomBytes = system_bytes) -> None:
    """Check one mechanism; takes `trials` releases with the example and as many without.

    Laws: no examples still give a release, of the same length as any other, with noise in it; two releases never
    share their noise; the lower bound on epsilon that the trials prove is not above the claim. A sound mechanism fails
    with probability below 2e-6. Trials see only gross faults (noise ten times too small, a batch that is never
    sampled): `lower_bound` says what they can show at best.

    Raises:
        ConformanceError: names the law and the numbers.
        InvalidParameter: fewer than 100 trials.
    """
    if trials < 100:
        raise InvalidParameter(f"trials={trials} prove nothing; use at least 100")
    nobody = case.examples[:0]
    lengths = {np.shape(case.release(x, random)) for x in (nobody, case.examples[1:], case.examples)}
    _expect(len(lengths) == 1, case, f"the release's shape tells how many examples there are: {sorted(lengths)}")
    first, second = (np.asarray(case.release(nobody, random), dtype=np.float64) for _ in range(2))
    _expect(not np.array_equal(first, second), case, "two releases of no examples are equal: no noise, or the same")
    present, absent = (
        np.array([case.score(np.asarray(case.release(x, random), dtype=np.float64)) for _ in range(trials)])
        for x in (case.examples, case.examples[1:])
    )
    shown = lower_bound(present, absent)
    said = f"{trials} trials prove epsilon > {shown:.4g} at delta {DELTA:g}, but {case.epsilon:.4g} is claimed"
    # Written so that a NaN fails.
    _expect(shown <= case.epsilon, case, said)


def check_cheaper(cases: Sequence[Mapping[Event, int]], accountant: Accountant | None = None) -> None:
    """Check that what a mechanism charges never rises along `cases`: more noise, a lower rate, or fewer steps each.

    Raises:
        ConformanceError: names the first pair that is out of order.
    """
    judge = RdpAccountant() if accountant is None else accountant
    costs = [judge.epsilon(case, DELTA) for case in cases]
    for k, (more, less) in enumerate(itertools.pairwise(costs)):
        if not 0.0 <= less <= more * (1.0 + 1e-6) + 1e-6:
            raise ConformanceError(f"case {k + 1} should cost no more than case {k}, but {less} > {more}")


def lower_bound(present: Floats, absent: Floats, delta: float = DELTA, wrong: float = FALSE_ALARM) -> float:
    """Return a lower bound on epsilon from scores with and without the example; wrong with probability `wrong`.

    The threshold and the direction come from the first half of the scores, the bound from the second, by exact
    (Clopper-Pearson) intervals: log((tpr - delta) / fpr) (Kairouz, Oh and Viswanath 2015). With n scores in the second
    half it cannot exceed about log(n / log(2 / wrong)). Scores that are not finite count as 0.

    Raises:
        InvalidParameter: fewer than two scores on a side.
    """
    if min(len(present), len(absent)) < 2:
        raise InvalidParameter(f"{len(present)} and {len(absent)} scores; at least two on each side")
    sides = [np.where(np.isfinite(s), s, 0.0) for s in (present, absent)]
    (fit_in, test_in), (fit_out, test_out) = ((s[: len(s) // 2], s[len(s) // 2 :]) for s in sides)
    best, rule = -math.inf, (1.0, 0.0, False)
    for sign in (1.0, -1.0):
        for threshold in np.unique(sign * np.concatenate([fit_in, fit_out]))[:: max(1, len(fit_in) // 200)]:
            for swapped in (False, True):
                tried = (sign, float(threshold), swapped)
                best, rule = max((best, rule), (_bound(*_rates(fit_in, fit_out, *tried), delta, wrong), tried))
    return max(0.0, _bound(*_rates(test_in, test_out, *rule), delta, wrong))


def _rates(present: Floats, absent: Floats, sign: float, threshold: float, swapped: bool) -> tuple[int, int, int, int]:
    """Return (hits, of, false alarms, of) of "above the threshold"; swapped: the absent ones are looked for."""
    wanted, others = (absent, present) if swapped else (present, absent)
    hits, alarms = (int((sign * s > threshold).sum()) for s in (wanted, others))
    return hits, len(wanted), alarms, len(others)


def _bound(hits: int, of: int, alarms: int, out_of: int, delta: float, wrong: float) -> float:
    low = 0.0 if hits == 0 else float(beta.ppf(wrong / 2, hits, of - hits + 1))
    high = 1.0 if alarms == out_of else float(beta.ppf(1 - wrong / 2, alarms + 1, out_of - alarms))
    return math.log((low - delta) / high) if low > delta else -math.inf


def _expect(holds: bool, case: MechanismCase, said: str) -> None:
    if not holds:
        raise ConformanceError(f"mechanism {case.name!r}: {said}")
