"""Streams: units, partitions, domains, and the scenario that gives each client its experiences in time order."""

from __future__ import annotations

from secure_fcl.streams.absences import Absences, Absent, AwayFrom, absent_of
from secure_fcl.streams.calendar import IDLE, Calendar
from secure_fcl.streams.cohorts import NEVER, Wait
from secure_fcl.streams.scenario import Experience, Facts, Scenario, all_at_once, as_shown, build_scenario
from secure_fcl.streams.units import NO_ITEM, Units, held_out, make_units

__all__ = [
    "IDLE",
    "NEVER",
    "NO_ITEM",
    "Absences",
    "Absent",
    "AwayFrom",
    "Calendar",
    "Experience",
    "Facts",
    "Scenario",
    "Units",
    "Wait",
    "absent_of",
    "all_at_once",
    "as_shown",
    "build_scenario",
    "held_out",
    "make_units",
]
