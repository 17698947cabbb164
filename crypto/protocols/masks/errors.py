"""What can go wrong with masks, below the package's base error."""

from __future__ import annotations

from crypto.errors import CryptoError


class ShareError(CryptoError):
    """A secret, a threshold or points that Shamir's sharing cannot use."""


class GraphError(CryptoError):
    """No neighbour graph with the planned properties came out of the seed."""


class RecordError(CryptoError):
    """A set-up or round record that is malformed, unsigned, or signed by somebody else."""


class FaultError(RecordError):
    """What its sender signed and no client that follows the protocol says, whatever the network did to others."""


class UnmaskRefused(CryptoError):
    """A client refuses to confirm or to unmask: the request would expose somebody."""


class JournalError(CryptoError):
    """The journal of answers given cannot be read or written; nothing is answered without it."""
