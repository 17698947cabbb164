"""Secure sums of integer vectors: plans, parties, messages; with randomness and fixed-point encoding.

Start with `plan`, then open a session for every party (`open_client`, `open_party`) and let `run_round`, or a
program of your own, carry the messages. `host_parties` gives the helpers a process each.
"""

from __future__ import annotations

from crypto.errors import CryptoError
from crypto.keys.randomness import system_random
from crypto.keys.roster import Identity, Roster, make_identities
from crypto.opening import open_client, open_party
from crypto.planning.plans import Plan
from crypto.planning.upload import Upload
from crypto.protocols.plans import plan
from crypto.protocols.session import ClientSession, Session, plan_roles
from crypto.running.driver import Party, run_round, set_up
from crypto.running.processes import host_parties
from crypto.vectors.encoding import FixedPoint
from crypto.wire.messages import Abort, Aggregate, Begin, Deadline, Message

__all__ = [
    "Abort",
    "Aggregate",
    "Begin",
    "ClientSession",
    "CryptoError",
    "Deadline",
    "FixedPoint",
    "Identity",
    "Message",
    "Party",
    "Plan",
    "Roster",
    "Session",
    "Upload",
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
