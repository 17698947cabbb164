"""The same plan with identities pinned: for who plans first and makes, or is given, identities later."""

from crypto.keys.roster import Roster
from crypto.masks.parameters import Mode
from crypto.planning import Plan, plan


def pinned(made: Plan, roster: Roster, mode: Mode = "semi-honest") -> Plan:
    """The plan `made`, in its session, with the identities of `roster` and, under masks, what the server may do.

    Raises PlanRefused as `crypto.plan` does.
    """
    masks = made.masks
    corrupt, allowed = (None, "semi-honest") if masks is None else (masks.corrupt, mode)
    parts = (made.protocol, made.clients, made.uploads, made.rounds, made.max_dropouts, made.session)
    return plan(*parts, roster, corrupt, allowed)  # type: ignore[arg-type]
