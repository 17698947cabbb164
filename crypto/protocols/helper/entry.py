"""The entries of "helper" and "helper-T-of-H": padded vectors at the server, sums of pads from helpers."""

from __future__ import annotations

from functools import cache

from crypto.errors import PlanRefused
from crypto.keys.exchange import CAPSULE_BYTES
from crypto.keys.randomness import KEY_BYTES
from crypto.keys.roster import PROOF_BYTES
from crypto.keys.sealed import OVERHEAD
from crypto.planning.assumptions import AGREED, NormCheck
from crypto.planning.plans import Plan
from crypto.planning.upload import Upload
from crypto.protocols.bookkeeping import MAX_MODEL
from crypto.protocols.entry import ClientSeat, PartySeat, SumProtocol
from crypto.protocols.helper.shape import Shape, shape_of
from crypto.protocols.session import BareClient, Session
from crypto.wire.values import MAX_PAYLOAD

_NEEDS_ROSTER = (
    "asks for pinned identities: whoever carries first messages could invent all other clients, and a helper answers "
    "for those; give plan(..., roster=...)"
)


_PROOFS = NormCheck(
    assumption=(
        "Each client proves to server and helper that its vector keeps the norm's bound (PINE, "
        "draft-chen-cfrg-vdaf-pine-01, Field64). If both follow the protocol, a vector beyond it is accepted with at "
        "most 2^-48, and 2^-97 for each time that a client tries anew; if one of them does, the other learns one "
        "accept bit for each client and sum, and nothing else."
    ),
)


def _assumption(shape: Shape) -> str:
    t, h = shape.threshold, shape.helpers
    if h == 1:
        apart, answers = "Server and helper do not collude.", "Without the helper there is no sum."
    elif t == h:
        apart = f"Of {h} helpers one at least does not collude with the server."
        answers = "Without all of them there is no sum."
    else:
        apart = (
            f"Any {t} of {h} helpers give a sum; fewer than {t} that collude with the server cannot open a list that "
            f"the others did not answer. At most {shape.tolerated} of them collude with it: with more, two lists could "
            "be opened for one sum, and subtracted."
        )
        answers = f"Without {t} of them there is no sum."
    return (
        f"{apart} Fewer than min_clients - 1 of the clients in a sum collude with either side. A helper sees no sum "
        "and no vector: it answers one list for each round and upload, with the sum of the pads. A malicious helper "
        "cannot read, but can shift a sum unnoticed, and so can each client its own vector. Clients may drop out only "
        f"before the list is fixed. {answers} AES-256-CTR, SHA-256: 128-bit security. {AGREED}"
    )


def _blob(size: int) -> int:
    return size + (2 if size < 1 << 8 else 3 if size < 1 << 16 else 5)


def _client_bytes(shape: Shape, plan: Plan, upload: Upload) -> int:
    from crypto.protocols.helper.statements import NONCE_BYTES, seeds_bytes, wraps_bytes

    packed = -(-upload.length * plan.ring_bits(upload.name) // 8)
    joint = 0
    if upload.norm_bound:
        from crypto.protocols.helper.proven import joint_bytes, share_bytes

        packed, joint = share_bytes(upload), _blob(joint_bytes(upload))
    # The list's header, the attempt, a model digest of no bytes, and both inner lists' headers.
    heads = 1 + 1 + _blob(0) + 1 + 1
    keys = (shape.helpers + 1) * _blob(KEY_BYTES) + shape.helpers * _blob(CAPSULE_BYTES)
    rest = _blob(NONCE_BYTES) + _blob(KEY_BYTES) + _blob(wraps_bytes(shape)) + _blob(seeds_bytes(shape))
    return heads + keys + rest + joint + _blob(PROOF_BYTES) + _blob(packed + KEY_BYTES + OVERHEAD)


def _check_list(shape: Shape, plan: Plan) -> None:
    """Raise PlanRefused if the statements of all clients do not fit into one list, which helpers answer as a whole."""
    for upload in plan.uploads:
        vector = _blob(-(-upload.length * plan.ring_bits(upload.name) // 8) + KEY_BYTES + OVERHEAD)
        if upload.norm_bound:
            continue
        each = _client_bytes(shape, plan, upload) - vector + _blob(MAX_MODEL) + _blob(max(map(len, plan.clients)))
        most = MAX_PAYLOAD // each
        if len(plan.clients) > most:
            raise PlanRefused(
                f"{len(plan.clients)} statements of {each} bytes exceed the {MAX_PAYLOAD} bytes of one list; a sum "
                f"takes at most {most} clients: split them"
            )


def _check_pinned(plan: Plan) -> None:
    if plan.roster is None:
        raise PlanRefused(f"the protocol {plan.protocol} {_NEEDS_ROSTER}")


@cache
def helper_entry(shape: Shape) -> SumProtocol:
    """The entry of the protocol with so many helpers."""

    def client(seat: ClientSeat) -> BareClient:
        from crypto.protocols.helper.client import HelperClient

        _check_pinned(seat.plan)
        return HelperClient(seat.plan, shape, seat.identity, seat.random, seat.public, seat.journal)

    def party(seat: PartySeat) -> Session:
        from crypto.protocols.helper.party import Helper
        from crypto.protocols.helper.server import HelperServer

        _check_pinned(seat.plan)
        if seat.role == "server":
            return HelperServer(seat.plan, shape, seat.trust, seat.random)
        return Helper(seat.plan, shape, seat.role, seat.trust, seat.random, seat.journal)

    def check(plan: Plan) -> None:
        _check_list(shape, plan)
        if plan.checks_norms:
            from crypto.protocols.helper.proven import check_provable

            check_provable(plan)

    return SumProtocol(
        hiding="pads",
        assumption=_assumption(shape),
        client=client,
        party=party,
        client_bytes=lambda plan, upload: _client_bytes(shape, plan, upload),
        roles=("server", *shape.roles),
        # With several helpers nobody holds the other share of a vector whole.
        norms=_PROOFS if shape.helpers == 1 else None,
        check=check,
    )


def helper_named(protocol: str) -> SumProtocol | None:
    """The entry of "helper" or "helper-T-of-H"; None for other names.

    Raises:
        PlanRefused: as `Shape`.
    """
    shape = shape_of(protocol)
    return None if shape is None else helper_entry(shape)


helper = helper_entry(Shape(threshold=1, helpers=1))
