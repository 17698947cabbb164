"""The audit of rows that train no network: attacks on what the run itself released, and on worlds played anew."""

from __future__ import annotations

from secure_fcl.auditing.sums.playing import SumsAudit, audit_sums

__all__ = ["SumsAudit", "audit_sums"]
