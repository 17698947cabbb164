"""The entries of "secagg" and "secagg+": sums under pairwise masks."""

from __future__ import annotations

from dataclasses import replace

from crypto.planning.assumptions import AGREED
from crypto.planning.masks import overhead_bytes
from crypto.planning.plans import Plan
from crypto.planning.upload import Upload
from crypto.protocols.entry import ClientSeat, PartySeat, SumProtocol
from crypto.protocols.session import BareClient, Session

_STRENGTH = f"AES-256-CTR, SHA-256: 128-bit security. {AGREED}"


def _client(seat: ClientSeat) -> BareClient:
    from crypto.protocols.masks.client import MaskClient

    return MaskClient(seat.plan, seat.identity, seat.random, seat.public, seat.journal)


def _party(seat: PartySeat) -> Session:
    from crypto.protocols.masks.server import MaskServer

    return MaskServer(seat.plan, seat.threads)


def _client_bytes(plan: Plan, upload: Upload) -> int:
    return -(-upload.length * plan.ring_bits(upload.name) // 8) + overhead_bytes(plan.masks)


secagg = SumProtocol(
    hiding="masks",
    assumption=(
        "The server follows the protocol (semi-honest mode). At most the planned number of corrupt clients work with "
        f"it. {_STRENGTH}"
    ),
    active_assumption=(
        "At most the planned number of corrupt clients work with the server. The server may do anything (active "
        f"mode), and still learns only sums of at least clients - dropouts - corrupt honest vectors. {_STRENGTH}"
    ),
    client=_client,
    party=_party,
    client_bytes=_client_bytes,
    masks="complete",
    tagged=frozenset(("masked",)),
)
secagg_plus = replace(secagg, masks="sparse")
