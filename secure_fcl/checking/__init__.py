"""A user's own code against the laws of its kind: what `secure-fcl check module:name` runs.

- laws: one law with its verdict, and the trial of many within a budget of time
- kinds: what a reference names
- trials: the laws of every kind, each from the conformance suite of its package

It imports the suites, which no other command does before it is asked to.
"""

from __future__ import annotations

from secure_fcl.checking.kinds import KINDS, Asked
from secure_fcl.checking.laws import Checked, Law
from secure_fcl.checking.trials import check_reference

__all__ = ["KINDS", "Asked", "Checked", "Law", "check_reference"]
