"""Whether a row's features cut many values of the windows: most likely these are in other units than declared.

Counted on test windows alone, whose accuracies are outside every guarantee already. Of training windows a device counts
its own (`Sensor.warn_of_cuts`); that warning stays on the device, as the count would be a release that nobody charged.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from secure_fcl.config.outside import names_code
from secure_fcl.features.kinds import kind_of
from secure_fcl.features.sensor import HAPT
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import GradientStrategy


def values_cut(plan: RowPlan) -> list[str]:
    """Return a sentence where the row's features cut more than 1 % of the test windows' values, else nothing."""
    scenario = plan.scenario
    # The inputs before drift and before features stand in for them.
    raw = scenario.undrifted
    if kind_of(raw.shape[1:]) != "hapt" or not _knows_the_sensor(plan):
        return []
    test = np.concatenate([scenario.test_indices(), scenario.unseen_indices()])
    if not HAPT.cuts(raw[test]):
        return []
    return [
        "more than 1 % of the values of the test windows are beyond 4 g or 8 rad/s, where features cut them (training "
        "windows are not counted, devices warn of theirs); if windows are not in g and 2 rad/s, convert them, use "
        "features = 'general', or declare a Sensor in features of your own"
    ]


def all_values_cut(plans: Iterable[RowPlan]) -> tuple[str, ...]:
    """Return what `values_cut` says of the rows of one run, which have their test windows in common: looked at once."""
    first = next(filter(_knows_the_sensor, plans), None)
    return () if first is None else tuple(values_cut(first))


def _knows_the_sensor(plan: RowPlan) -> bool:
    if isinstance(plan.strategy, GradientStrategy):
        return plan.scenario.description != "none"
    features = "" if names_code(plan.name) else str(getattr(plan.config.section(plan.name), "features", ""))
    return bool(features) and features != "general" and not names_code(features)
