"""Budgets as Renyi filters: any events, chosen freely, until a stored order is used up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from privacy.accountants import ORDERS, RdpAccountant
from privacy.errors import InvalidParameter
from privacy.events import Event, SampledGaussian
from privacy.renyi import epsilon_at, total_failure

#: Floating-point slack of one comparison, relative: a planned schedule charged in pieces must fit its own curve.
SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class RenyiBudget:
    """A Renyi curve laid down before the run: at `orders[i]` a cohort may spend `bounds[i]`.

    `failure` is the part of delta that sensitivities which hold only with high probability may use.

    For who does not know beforehand which events will be wanted; where that is known, `privacy.filters.Budget`
    certifies less for the same events.

    *Guarantee*: whoever charges through `refusal`, choosing every event from earlier releases, stays
    (a, B(a))-Renyi private at every stored order (Feldman and Zrnic 2021, arXiv 2008.11193, Theorem 4.3, used at each
    order), hence (`epsilon`, `delta`)-private. Orders that are not stored certify nothing.

    Raises:
        InvalidParameter: no order, an order outside `privacy.accountants.ORDERS`, a bound that is negative or not
            finite, delta outside (0, 1), or failure outside [0, delta).
    """

    orders: tuple[float, ...]
    bounds: tuple[float, ...]
    delta: float
    failure: float = 0.0

    def __post_init__(self) -> None:
        if not self.orders or len(self.orders) != len(self.bounds) or not set(self.orders) <= set(ORDERS):
            raise InvalidParameter("a budget stores one bound for each of its orders, taken from accountants.ORDERS")
        for order, bound in zip(self.orders, self.bounds, strict=True):
            if not 0.0 <= bound < math.inf:
                raise InvalidParameter(f"bound={bound} at order {order:g} must be finite and at least 0")
        if not 0.0 < self.delta < 1.0 or not 0.0 <= self.failure < self.delta:
            raise InvalidParameter(f"delta={self.delta} must be in (0, 1) and failure={self.failure} in [0, delta)")

    @staticmethod
    def of_schedule(events: Mapping[Event, int], delta: float) -> RenyiBudget:
        """Return the curve of a planned schedule, at every order where it is known; the schedule itself just fits.

        Only integers are stored where an event other than a Gaussian one may occur: Skellam bounds are proven there.

        Raises:
            InvalidParameter: the schedule has no finite curve (a release without guarantee), or delta is out of range.
        """
        curve = RdpAccountant().curve(events)
        gaussian = all(isinstance(event, SampledGaussian) for event in events)
        remaining = [
            (a, float(c)) for a, c in zip(ORDERS, curve, strict=True) if math.isfinite(c) and (gaussian or a % 1 == 0)
        ]
        if not remaining:
            raise InvalidParameter("the planned schedule holds a release without any guarantee; no budget bounds it")
        return RenyiBudget(
            orders=tuple(a for a, _ in remaining),
            bounds=tuple(c for _, c in remaining),
            delta=delta,
            failure=total_failure(events),
        )

    @staticmethod
    def single_order(epsilon: float, delta: float, order: float | None = None) -> RenyiBudget:
        """Return the budget of one integer order that certifies exactly `epsilon` at `delta`.

        Without `order`, the one at which a Gaussian composition (a curve linear in the order) may spend most.

        Raises:
            InvalidParameter: epsilon is not positive and finite, or too small for the order.
        """
        if not (epsilon > 0.0 and math.isfinite(epsilon)) or not 0.0 < delta < 1.0:
            raise InvalidParameter(f"epsilon={epsilon} must be positive and finite, delta={delta} in (0, 1)")

        def bound(a: float) -> float:
            return epsilon - math.log1p(-1.0 / a) + (math.log(delta) + math.log(a)) / (a - 1.0)

        chosen = max((a for a in ORDERS if a % 1 == 0), key=lambda a: bound(a) / a) if order is None else order
        if not chosen > 1.0 or bound(chosen) <= 0.0:
            raise InvalidParameter(f"epsilon={epsilon} leaves nothing at order {chosen:g}; raise it, or the order")
        return RenyiBudget(orders=(chosen,), bounds=(bound(chosen),), delta=delta)

    @property
    def epsilon(self) -> float:
        """What the whole budget certifies, converted from the stored orders only."""
        return epsilon_at(self.orders, self.bounds, self.delta, self.failure)

    def at_best_order(self) -> RenyiBudget:
        """Return the budget that stores only the order which certifies `epsilon`: equal epsilon, refuses later."""
        alone = [replace(self, orders=(a,), bounds=(b,)) for a, b in zip(self.orders, self.bounds, strict=True)]
        return min(alone, key=lambda budget: budget.epsilon)

    def refusal(self, history: Mapping[Event, int]) -> str | None:
        """Return why `history` as a whole does not fit, in one sentence; None if it fits."""
        if (failed := total_failure(history)) > self.failure * (1.0 + SLACK):
            return f"its sensitivities would fail with probability {failed:.3g}, and {self.failure:.3g} was planned"
        curve = dict(zip(ORDERS, RdpAccountant().curve(history).tolist(), strict=True))
        for order, bound in zip(self.orders, self.bounds, strict=True):
            # Written so that a NaN is refused.
            if not curve[order] <= bound * (1.0 + SLACK):
                return (
                    f"at order {order:g} it would spend {curve[order]:.4g} of {bound:.4g} (epsilon {self.epsilon:.4g})"
                )
        return None

    def most(self, history: Mapping[Event, int], step: Mapping[Event, int]) -> int:
        """Return how often `step` may still follow `history`: 0 if not once; at most 2^31 (for a step that is free)."""
        if self.refusal(Counter(history) + Counter(step)) is not None:
            return 0
        had, each = RdpAccountant().curve(history), RdpAccountant().curve(step)
        known = np.isin(np.asarray(ORDERS), self.orders)
        room = np.asarray(self.bounds) * (1.0 + SLACK / 2.0) - had[known]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(each[known] > 0.0, room / each[known], math.inf)
        failing = total_failure(step)
        left = math.inf if failing == 0.0 else (self.failure * (1 + SLACK / 2) - total_failure(history)) / failing
        return int(min(float(ratio.min()), left, 2.0**31))
