"""The audit of a finished run, as `secure-fcl audit RUN` plays it: the challenger's side of the games in `attacks`."""

from secure_fcl.audit.ledger_check import require_ledger_holds
from secure_fcl.audit.run import audit

__all__ = ["audit", "require_ledger_holds"]
