"""What a plan assumes, in words: those of its protocol, and those that hold for all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from crypto.planning.masks import Mode
from crypto.planning.upload import Upload

AGREED = "Keys are agreed by X25519 and ML-KEM-768 together: one of the two may be broken, now or later."
_PINNED = "Messages are signed (Ed25519, secure against classical computers) by identities that the plan's roster pins."
_FIRST_USE = (
    "Messages are signed (Ed25519, secure against classical computers); without a roster the first key that each name "
    "shows is believed: whoever carries the first messages, the server included, could invent all other clients and "
    "read the one that is left. So the server is assumed to follow the protocol, and the network to deliver first "
    "messages unaltered."
)


@dataclass(frozen=True, kw_only=True)
class NormCheck:
    """How a protocol checks the norms of vectors that nobody sees.

    Attributes:
        assumption: what the check assumes and gives away, in words.
        roles: parties that only plans with norm bounds have.
    """

    assumption: str
    roles: tuple[str, ...] = ()


class Assumes(Protocol):
    """What a protocol's entry says of its own assumptions."""

    @property
    def assumption(self) -> str:
        """In words; under masks against a semi-honest server."""
        ...

    @property
    def active_assumption(self) -> str:
        """The same against a server that may do anything; empty where a plan has no such mode."""
        ...

    @property
    def norms(self) -> NormCheck | None:
        """How norms are checked; None where they cannot be."""
        ...


def assumption(entry: Assumes, uploads: Iterable[Upload], pinned: bool, mode: Mode = "semi-honest") -> str:
    """What a plan of these parts assumes, in words; `pinned`: it has a roster."""
    first = entry.active_assumption if mode == "active" and entry.active_assumption else entry.assumption
    parts = [first, _PINNED if pinned else _FIRST_USE]
    if entry.norms is not None and any(upload.norm_bound for upload in uploads):
        parts.insert(1, entry.norms.assumption)
    return " ".join(parts)
