"""Laws of secure sums for any protocol: a bench, checks of one round, faults, mutations, and what stays hidden.

- bench, checks: `check_protocol` on a function that returns a new `Bench`, or the functions of `CHECKS` one by one
- faults, fault_checks: a network that loses, repeats and spoils messages, and what must survive it
- insiders: registered clients that sign nonsense, and what must survive them
- differencing: what several sums say together
- hiding: what a linear view determines about the inputs
"""

from __future__ import annotations

from crypto.testing.bench import ROUNDS_NEEDED, Bench, ConformanceError, expect_sum, random_vectors
from crypto.testing.checks import CHECKS, check_protocol
from crypto.testing.differencing import check_differencing, smallest_exposed
from crypto.testing.fault_checks import check_faults, check_mutations, check_set_up_mutations
from crypto.testing.faults import Faults, FaultyNetwork, Schedule
from crypto.testing.hiding import determined, probe
from crypto.testing.insiders import check_insiders, corrupt

__all__ = [
    "CHECKS",
    "ROUNDS_NEEDED",
    "Bench",
    "ConformanceError",
    "Faults",
    "FaultyNetwork",
    "Schedule",
    "check_differencing",
    "check_faults",
    "check_insiders",
    "check_mutations",
    "check_protocol",
    "check_set_up_mutations",
    "corrupt",
    "determined",
    "expect_sum",
    "probe",
    "random_vectors",
    "smallest_exposed",
]
