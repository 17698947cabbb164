"""The audit of a finished run, as `secure-fcl audit RUN` plays it: the challenger's side of the games in `attacks`."""

from __future__ import annotations

from secure_fcl.auditing.all_games import audit
from secure_fcl.auditing.ledger_check import require_ledger_holds

__all__ = ["audit", "require_ledger_holds"]
