"""One vector that every client sends, the protocols that can sum it, and the limits of both."""

from __future__ import annotations

from dataclasses import dataclass

from crypto.keys.exchange import CAPSULE_BYTES
from crypto.keys.roster import PROOF_BYTES

ROLE_NAMES = frozenset(("server", "keyholder", "compute0", "compute1", "dealer", "clients"))
MAX_LENGTH = 1 << 27
LOG2_MAX_FAILURE = -40.0
CIPHERTEXT_BYTES = 65_667
SEED_BYTES = 32
# A list of the key's number, a capsule for pads, an empty model digest, a proof, and ciphertexts, with headers.
STATEMENT_BYTES = 1 + 1 + (3 + CAPSULE_BYTES) + 2 + (2 + PROOF_BYTES)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One vector that every client sends once a round.

    `length`: number of entries. `bound`: public bound on |x| of ONE client's entry, noise not included.
    `noise_bound`: public bound on |noise of the whole sum| per entry. `noise_excess`: probability that the
    noise of one sum exceeds `noise_bound` in any entry. `norm_bound`: if not 0, the largest L2 norm of one
    client's vector before its noise; "mpc" checks it on shares and leaves out who exceeds it. `noise_norm_bound`:
    the same for the client's noise share, which then travels apart; 0 if there is none.
    """

    name: str
    length: int
    bound: int
    noise_bound: int = 0
    noise_excess: float = 0.0
    norm_bound: int = 0
    noise_norm_bound: int = 0
