"""What each protocol assumes, in words."""

from __future__ import annotations

from collections.abc import Iterable

from crypto.planning.masks import ASSUMPTIONS, Mode
from crypto.planning.upload import ProtocolName, Upload

_ASSUMPTIONS: dict[ProtocolName, str] = {
    "plain": "None: the server sees every client's vector in the clear.",
    "bfv": (
        "Server and key holder do not collude. The key holder sees each sum. A server that adds other ciphertexts "
        "than those of the clients it lists gets noise. Clients follow the protocol: one that encrypts something else "
        "spoils the sum. BFV with N=4096 and a 109-bit modulus: 128-bit security by "
        "the HomomorphicEncryption.org tables."
    ),
    "mpc": (
        "The server and both computing servers follow the protocol; the computing servers do not collude. The "
        "computing servers see each sum and open it over an unauthenticated local connection. CrypTen is "
        "research-grade software; its random numbers are torch's, seeded with 64 bits."
    ),
}
_NORMS = (
    "Norms are checked on shares with products from a dealer process that colludes with neither computing server. "
    "Server and computing servers learn one accept bit for each client and sum, which is constant for honest clients "
    "as they clip first; nobody learns a norm."
)
_PINNED = "Messages are signed by identities that the plan's roster pins."
_FIRST_USE = (
    "Messages are signed; without a roster the first key that each name shows is believed, so the network must "
    "deliver first messages unaltered."
)


def assumption(protocol: ProtocolName, uploads: Iterable[Upload], pinned: bool, mode: Mode = "semi-honest") -> str:
    """What a plan of these parts assumes, in words; `pinned`: it has a roster."""
    first = ASSUMPTIONS[mode] if protocol in ("secagg", "secagg+") else _ASSUMPTIONS[protocol]
    parts = [first, _PINNED if pinned else _FIRST_USE]
    if any(upload.norm_bound for upload in uploads):
        parts.insert(1, _NORMS)
    return " ".join(parts)
