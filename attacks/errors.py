"""Errors of the attack suite. Every message names the value, the bound it broke and the remedy."""

from __future__ import annotations


class AttackError(Exception):
    """Base class of everything this package raises on purpose."""


class TranscriptInvalid(AttackError):
    """A transcript holds something other than plain numeric arrays, or arrays that do not fit together."""


class FieldNotRevealed(AttackError):
    """An attack asked its view for a field that the threat model hides or the transcript lacks."""


class CapabilityMissing(AttackError):
    """An attack needs a capability that the view does not have."""


class CandidatesInvalid(AttackError):
    """Candidates have wrong shapes or types, or an attack cannot say anything about some of them."""


class LossesInvalid(AttackError):
    """The caller's loss function returned a wrong shape or values that are not finite."""


class ScoresInvalid(AttackError):
    """An attack returned scores of a wrong shape or scores that are not finite."""


class GameInvalid(AttackError):
    """A game cannot be played as set up: truths missing, one-sided, or of a wrong shape."""


class TooFew(GameInvalid):
    """A game has too few examples, items or truths of a kind for its statistics; more of them would do."""


class CoinsContradicted(GameInvalid):
    """Truths are not what the declared coins give, one by one or in all."""


class InversionInvalid(AttackError):
    """Gradient inversion was given gradients, labels, shapes or settings that do not fit together."""


class ControlFailed(AttackError):
    """An attack missed a leak that is certainly there, or found one where there is none."""


class ShadowsInvalid(AttackError):
    """Shadow models cannot be trained or used as asked: shapes, schedules or settings do not fit together."""


class AuditInvalid(AttackError):
    """An audit was given canaries, counts or an epsilon from which no statement follows."""


class HarnessCrashed(AttackError):
    """A system under test crashed, so that nobody knows whether it would have refused."""


class MemoryContradicted(AttackError):
    """A memory holds what its declared policy does not say."""


class LedgerContradicted(AttackError):
    """An audit shows a larger epsilon, or another mechanism, than the ledger charged: a bug in one of the two."""
