"""Streams: units, partitions, domains, and the scenario that gives each client its experiences in time order."""

from secure_fcl.streams.scenario import IDLE, Experience, Scenario, build_scenario
from secure_fcl.streams.units import NO_ITEM, Units, held_out, make_units

__all__ = ["IDLE", "NO_ITEM", "Experience", "Scenario", "Units", "build_scenario", "held_out", "make_units"]
