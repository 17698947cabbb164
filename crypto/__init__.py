"""Secure sums of integer vectors: plans, parties, messages; with randomness and fixed-point encoding.

Start with `plan`, then open a session for every party (`open_client`, `open_party`) and let `run_round`, or a
program of your own, carry the messages. `host_parties` gives the helpers a process each.
"""

from __future__ import annotations

from crypto.errors import CryptoError
from crypto.keys.randomness import KeyedStream, RandomBytes, derive_key, system_random
from crypto.keys.roster import Identity, Roster, make_identities
from crypto.opening import open_client, open_party
from crypto.planning.plans import Plan, plan
from crypto.planning.upload import Upload
from crypto.protocols.session import ClientSession, Session, hiding, plan_roles
from crypto.running.driver import run_round, set_up
from crypto.running.processes import HostedParties, host_parties
from crypto.vectors.encoding import Encoded, FixedPoint
from crypto.vectors.rotation import Rotation
from crypto.wire.messages import Abort, Aggregate, Begin, Deadline, Message

__all__ = [
    "Abort",
    "Aggregate",
    "Begin",
    "ClientSession",
    "CryptoError",
    "Deadline",
    "Encoded",
    "FixedPoint",
    "HostedParties",
    "Identity",
    "KeyedStream",
    "Message",
    "Plan",
    "RandomBytes",
    "Roster",
    "Rotation",
    "Session",
    "Upload",
    "derive_key",
    "hiding",
    "host_parties",
    "make_identities",
    "open_client",
    "open_party",
    "plan",
    "plan_roles",
    "run_round",
    "set_up",
    "system_random",
]
