"""What can go wrong in `privacy`; every error of this toolkit is a `PrivacyError`."""

from __future__ import annotations


class PrivacyError(Exception):
    """Base class of the errors of this toolkit."""


class InvalidParameter(PrivacyError, ValueError):
    """A noise multiplier, sampling rate, delta or bound is outside its range."""


class UnsupportedEvent(PrivacyError):
    """An accountant was asked about an event whose cost it does not know; it never guesses."""


class BudgetUnreachable(PrivacyError):
    """No noise that the calibration may use reaches the wanted epsilon."""


class LedgerDamaged(PrivacyError):
    """The chain of a ledger file is broken: an entry was changed, removed or inserted."""


class LedgerClosed(PrivacyError):
    """A charge on a ledger that was closed, or whose last write did not finish; nothing may be released on it."""


class UnsuitableModel(PrivacyError):
    """The model mixes examples (BatchNorm, say), so a per-example gradient does not exist."""


class ConformanceError(PrivacyError):
    """An accountant or a mechanism broke a law of `privacy.testing`; the message names the law and the numbers."""
