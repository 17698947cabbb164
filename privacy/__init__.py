"""privacy: mechanisms, the events they charge, the ledger that keeps them, the accountants that read it.

Usable alone. Knows gradients, mechanisms, events and ledgers; nothing of clients or rounds.

- events, cohorts: what ran and for whom (data)
- accountants, statement, calibration: what it costs, for the worst cohort, and how much noise a budget needs
- ledger: written before the noise is drawn
- dpsgd: DP-SGD through Opacus; noise_shares, skellam: integer noise inside a secure sum
- testing: the laws an accountant must keep, as checks for your own
"""

from privacy.accountants import Accountant, PldAccountant, RdpAccountant
from privacy.calibration import smallest_multiplier
from privacy.cohorts import Charge, Cohort, spent
from privacy.dpsgd import DpSgdPlan, DpSgdTrainer, Stratum
from privacy.errors import PrivacyError
from privacy.events import Event, NonPrivate, SampledGaussian, SkellamRelease
from privacy.ledger import Ledger
from privacy.noise_shares import SkellamSum
from privacy.randomness import RandomBytes, system_bytes
from privacy.statement import CohortStatement, statements, worst

__all__ = [
    "Accountant",
    "Charge",
    "Cohort",
    "CohortStatement",
    "DpSgdPlan",
    "DpSgdTrainer",
    "Event",
    "Ledger",
    "NonPrivate",
    "PldAccountant",
    "PrivacyError",
    "RandomBytes",
    "RdpAccountant",
    "SampledGaussian",
    "SkellamRelease",
    "SkellamSum",
    "Stratum",
    "smallest_multiplier",
    "spent",
    "statements",
    "system_bytes",
    "worst",
]
