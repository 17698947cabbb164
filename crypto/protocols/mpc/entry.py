"""The entry of "mpc": additive shares at two computing servers, opened with CrypTen."""

from __future__ import annotations

import threading
from pathlib import Path

from crypto.errors import PlanRefused
from crypto.keys.sealed import OVERHEAD as SEAL_OVERHEAD
from crypto.planning.assumptions import AGREED, NormCheck
from crypto.planning.plans import Plan
from crypto.planning.upload import SEED_BYTES, Upload
from crypto.protocols.entry import ClientSeat, Group, Meeting, PartySeat, SumProtocol
from crypto.protocols.session import BareClient, Session


def _client(seat: ClientSeat) -> BareClient:
    from crypto.protocols.mpc.client import MpcClient

    return MpcClient(seat.plan, seat.identity.name, seat.random, seat.public)


def _party(seat: PartySeat) -> Session:
    from crypto.protocols.mpc.servers import DEALER, ComputeServer, Dealer, MpcServer

    if seat.role == "server":
        return MpcServer(seat.plan)
    if seat.role == DEALER:
        return Dealer()
    if seat.opener is None:
        raise PlanRefused(f"{seat.role} runs in a process of its own; start it with crypto.host_parties")
    return ComputeServer(seat.plan, seat.role, seat.random, seat.opener, seat.journal)


def _client_bytes(_plan: Plan, upload: Upload) -> int:
    vectors = 2 if upload.noise_norm_bound else 1
    return 8 * vectors * upload.length + SEED_BYTES + 2 * (SEAL_OVERHEAD + 1)


def _require() -> None:
    from crypto.protocols.mpc.crypten_backend import require_crypten

    require_crypten()


def _join(plan: Plan, role: str, rendezvous: Path) -> Group | None:
    from crypto.protocols.mpc.client import COMPUTE
    from crypto.protocols.mpc.crypten_backend import CrypTenGroup, serve_triples
    from crypto.protocols.mpc.servers import DEALER

    world = len(COMPUTE)
    if role == DEALER:
        threading.Thread(target=serve_triples, args=(world, rendezvous), daemon=True).start()
        return None
    return CrypTenGroup(COMPUTE.index(role), world, rendezvous, plan.checks_norms)


mpc = SumProtocol(
    hiding="shares",
    assumption=(
        "The server and both computing servers follow the protocol; the computing servers do not collude. The "
        "computing servers see each sum and open it over an unauthenticated local connection. CrypTen is "
        "research-grade software; its random numbers are torch's, seeded with 64 bits. "
        f"{AGREED}"
    ),
    client=_client,
    party=_party,
    client_bytes=_client_bytes,
    roles=("server", "compute0", "compute1"),
    norms=NormCheck(
        assumption=(
            "Norms are checked on shares with products from a dealer process that colludes with neither computing "
            "server. Server and computing servers learn one accept bit for each client and sum, which is constant for "
            "honest clients as they clip first; nobody learns a norm."
        ),
        roles=("dealer",),
    ),
    require=_require,
    meeting=Meeting(roles=("compute0", "compute1", "dealer"), join=_join),
)
