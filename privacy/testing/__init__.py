"""The conformance suite: the laws that every accountant and every mechanism must keep, ours or a user's own.

- accountants: `check_accountant`, or the functions of `CHECKS` one by one (through pytest's parametrize, say);
  `check_not_above` for a tight accountant beside a loose one
- mechanisms: `check_mechanism`: empty input, sizes, fresh noise, and trials whose lower bound on epsilon must not
  exceed what is claimed
- losses: `check_example_loss`: the loss of one example reads no other
- networks: `check_network`: every example has one gradient that clipping bounds
- exact: epsilons known in closed form

A broken law raises ConformanceError.
"""

from __future__ import annotations

from privacy.testing.accountants import CHECKS, check_accountant, check_not_above, check_refusals
from privacy.testing.exact import exact_gaussian, exact_sampled_gaussian, exact_skellam_bit
from privacy.testing.losses import check_example_loss
from privacy.testing.mechanisms import MechanismCase, check_cheaper, check_mechanism, lower_bound
from privacy.testing.networks import check_network

__all__ = [
    "CHECKS",
    "MechanismCase",
    "check_accountant",
    "check_cheaper",
    "check_example_loss",
    "check_mechanism",
    "check_network",
    "check_not_above",
    "check_refusals",
    "exact_gaussian",
    "exact_sampled_gaussian",
    "exact_skellam_bit",
    "lower_bound",
]
