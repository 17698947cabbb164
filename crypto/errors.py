"""Everything that can go wrong in `crypto`, under one base class."""

from __future__ import annotations


class CryptoError(Exception):
    """Base of every error that this package raises on purpose."""


class MessageError(CryptoError):
    """Bytes or fields that are not a valid message of this version."""


class PlanRefused(CryptoError):
    """The plan asked for would be unsafe or could overflow; nothing was started."""


class EncodingError(CryptoError):
    """Real numbers that the fixed-point encoding cannot represent (NaN, infinity, bad scale)."""


class RandomnessError(CryptoError):
    """A key or a label of the wrong size or type, or a negative number of bytes."""


class SubmissionRefused(CryptoError):
    """A client asked its own session for something it must not do (wrong vector, twice, too early)."""


class ExchangeError(CryptoError):
    """A public key or a capsule with which no key can be agreed."""


class SealError(CryptoError):
    """A sealed box that does not open: altered, for another receiver, or for another context."""


class CiphertextError(CryptoError):
    """Bytes that are no usable ciphertext, public key or sum of the plan at hand."""


class BackendMissing(CryptoError):
    """An optional library is absent or broken; the message names the command that installs it."""


class PartyLost(CryptoError):
    """A party's process ended, or did not answer within the time allowed."""


class SecretExposed(CryptoError, TypeError):
    """Refused: pickling or copying an object that holds secrets."""


class RosterError(CryptoError):
    """A name, key, roster or identity file that is malformed, doubled, or readable by others."""


class CodeNotFound(CryptoError):
    """A name of the form `module:name` that cannot be imported."""
