"""The entry of "bfv": sums under homomorphic encryption, decrypted by a key holder."""

from __future__ import annotations

from crypto.planning.assumptions import AGREED
from crypto.planning.plans import Plan
from crypto.planning.upload import CIPHERTEXT_BYTES, STATEMENT_BYTES, Upload
from crypto.protocols.entry import ClientSeat, PartySeat, SumProtocol
from crypto.protocols.session import BareClient, Session


def _client(seat: ClientSeat) -> BareClient:
    from crypto.protocols.bfv.sessions import BfvClient

    return BfvClient(seat.plan, seat.identity, seat.random, seat.public)


def _party(seat: PartySeat) -> Session:
    if seat.role == "server":
        from crypto.protocols.bfv.sessions import BfvServer

        return BfvServer(seat.plan, seat.trust)
    from crypto.protocols.bfv.keyholder import BfvKeyHolder

    return BfvKeyHolder(seat.plan, seat.trust, seat.random, seat.journal)


def _client_bytes(plan: Plan, upload: Upload) -> int:
    chunks = plan.packing(upload.name).chunks
    header = 1 if chunks < 16 else 3 if chunks < 1 << 16 else 5
    return STATEMENT_BYTES + header + chunks * (CIPHERTEXT_BYTES + 5)


def _require() -> None:
    from crypto.protocols.bfv.tenseal_backend import KeyPair

    KeyPair()


bfv = SumProtocol(
    hiding="ciphertext",
    assumption=(
        "Server and key holder do not collude. The key holder sees each sum. BFV keeps the vectors from everybody "
        "without the key; pads keep the key holder to sums of exactly the clients listed: a server that adds other "
        "ciphertexts gets noise. Clients follow the protocol: one corrupt client that encrypts something else spoils "
        "sums, and nobody can name it; each such sum costs the key, which is replaced at most 8 times. BFV with N=4096 "
        "and a 109-bit modulus: 128-bit security by the HomomorphicEncryption.org tables. "
        f"{AGREED}"
    ),
    client=_client,
    party=_party,
    client_bytes=_client_bytes,
    roles=("server", "keyholder"),
    packed=True,
    require=_require,
)
