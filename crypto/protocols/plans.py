"""Plans by the name of their protocol: one of the list, or code of the user's own."""

from __future__ import annotations

from collections.abc import Iterable

from crypto.errors import MessageError
from crypto.keys.roster import Roster
from crypto.planning.masks import Mode
from crypto.planning.plans import Plan, make_plan, read_plan
from crypto.planning.upload import Upload
from crypto.protocols.catalogue import ENTRIES, entry_of
from crypto.protocols.entry import SumProtocol
from crypto.protocols.helper.entry import helper_named
from crypto.protocols.outside import names_code


def plan(
    protocol: str,
    clients: Iterable[str],
    uploads: Iterable[Upload],
    rounds: int,
    max_dropouts: int = 0,
    session: str | None = None,
    roster: Roster | None = None,
    corrupt: int | None = None,
    mode: Mode = "semi-honest",
) -> Plan:
    """Check everything public about a run and return its plan.

    `protocol` is a name of `crypto.protocols.catalogue`, or `module:name` of an entry of one's own, which is imported.
    `session` names the run; None draws 128 random bits, the only thing here that is not a function of the
    arguments. `roster` pins the identities of clients and roles; None believes the first key that each name
    shows. `corrupt` is how many clients may work with the server, or with whoever opens sums: so many fewer honest
    vectors are in a sum, and at least 2 must remain; None assumes a tenth under "secagg" and "secagg+" (see
    `crypto.planning.masks`, also for `mode`, which is for these two) and none elsewhere.

    Raises:
        PlanRefused: names clash or the roster lacks one, a number is out of range, fewer than two clients would be
            summed (unless the protocol hides nothing), a sum could leave 64 bits, a norm cannot be checked, or, under
            "bfv", a sum does not fit a packed field, noise could exceed it with probability above 2^-40 over all
            rounds, or decryption could fail with probability above 2^-40; names the value, the limit and the remedy.
        CodeNotFound: `module:name` cannot be imported.
    """
    entry = entry_of(protocol)
    return make_plan(protocol, entry, clients, uploads, rounds, max_dropouts, session, roster, corrupt, mode)


def plan_from_bytes(data: bytes, trust_code: bool = False) -> Plan:
    """Read `Plan.to_bytes` and check the plan again.

    `trust_code`: whether a protocol of the form `module:name` may be imported. Bytes say what their sender likes, so
    only processes that the sender started itself may.

    Raises:
        MessageError: malformed bytes, or code that is not trusted.
        PlanRefused: a plan that `plan` would refuse.
        CodeNotFound: as `plan`.
    """

    def found(name: str) -> SumProtocol:
        if names_code(name) and not trust_code:
            raise MessageError(f"the plan names code of its sender's, {name!r}; read it, then give trust_code=True")
        if not names_code(name) and name not in ENTRIES and helper_named(name) is None:
            raise MessageError("the bytes are not a plan")
        return entry_of(name)

    return read_plan(data, found)
