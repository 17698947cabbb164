"""privacy: mechanisms, the events they charge, the ledger that keeps them, the accountants that read it.

Usable alone. Knows gradients, mechanisms, events and ledgers; nothing of clients or rounds.

- events, cohorts: what ran and for whom (data)
- accountants, statement, calibration: what it costs, for the worst cohort, and how much noise a budget needs
- ledger: written before the noise is drawn; filters, renyi_budget: budgets that refuse a charge
- groups: a block of examples at once; selection: the best of a hidden number of runs
- batches: Poisson batches of strata and the loss of an example; after_noise: penalties where they act
- dpsgd, clipping, ghost: DP-SGD through Opacus; stacked: many clients in one batch of matrix products
- distributed, per_client, noise_shares, skellam: integer noise inside a secure sum, per example or per client;
  skellam_gdp: the Gaussian noise that dominates it
- matrix, ftrl, tree_shares: streams used once or as often as planned, on one device and across secure sums;
  participation: how often, and whoever holds examples to it
- statistics, allocator: sums with a count, means, covariances, quantiles; a budget split over tasks
- testing: the laws that accountants and mechanisms must keep, as checks for your own
"""

from __future__ import annotations

from privacy.accountants import Accountant, PldAccountant, RdpAccountant
from privacy.after_noise import AfterNoise, Chain, Projection, Pull, Quadratic
from privacy.batches import Batch, ExampleLoss, Stratum
from privacy.calibration import smallest_multiplier
from privacy.cohorts import Charge, Cohort, spent
from privacy.distributed import DistributedSum
from privacy.dpsgd import DpSgdPlan, DpSgdTrainer
from privacy.errors import PrivacyError
from privacy.events import Event, NonPrivate, SampledGaussian, SampledSkellam, SkellamRelease
from privacy.filters import Budget, BudgetFilter, BudgetSpent
from privacy.ledger import Ledger
from privacy.noise_shares import SkellamSum
from privacy.randomness import RandomBytes, system_bytes
from privacy.statement import CohortStatement, statements, worst

__all__ = [
    "Accountant",
    "AfterNoise",
    "Batch",
    "Budget",
    "BudgetFilter",
    "BudgetSpent",
    "Chain",
    "Charge",
    "Cohort",
    "CohortStatement",
    "DistributedSum",
    "DpSgdPlan",
    "DpSgdTrainer",
    "Event",
    "ExampleLoss",
    "Ledger",
    "NonPrivate",
    "PldAccountant",
    "PrivacyError",
    "Projection",
    "Pull",
    "Quadratic",
    "RandomBytes",
    "RdpAccountant",
    "SampledGaussian",
    "SampledSkellam",
    "SkellamRelease",
    "SkellamSum",
    "Stratum",
    "smallest_multiplier",
    "spent",
    "statements",
    "system_bytes",
    "worst",
]
