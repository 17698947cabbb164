"""Which rows of a run its audit attacks, and whose releases are sums that can be taken apart."""

from __future__ import annotations

from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import GradientStrategy


def sums_alone(plan: RowPlan) -> bool:
    """Return whether all that a row releases are sums that each example enters once: no network, nothing kept.

    Where the unit is a person its examples share a weight, and the sums are not of examples.
    """
    strategy = plan.strategy
    if (
        plan.persons
        or isinstance(strategy, GradientStrategy)
        or plan.memory is not None
        or strategy.carried
        or strategy.columns
    ):
        return False
    return all(strategy.sampled("current", phase) == (1.0,) for phase in strategy.uploads)


def audited(plan: RowPlan) -> bool:
    """Return whether a run's audit attacks a row: the configured one, and every row of sums alone."""
    wanted = plan.config.attacks
    return wanted.enabled and (wanted.row == plan.name or sums_alone(plan))


def viewed(plan: RowPlan) -> bool:
    """Return whether one clear update of a client is declared: of the attacked row, where it trains a network."""
    wanted = plan.config.attacks
    asked = wanted.enabled and wanted.one_client_view and wanted.row == plan.name
    return asked and isinstance(plan.strategy, GradientStrategy)
