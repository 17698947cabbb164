"""The list of protocols: every name that a plan may give without naming code of its own."""

from __future__ import annotations

from collections.abc import Mapping

from crypto.errors import PlanRefused
from crypto.protocols.bfv.entry import bfv
from crypto.protocols.entry import SumProtocol
from crypto.protocols.helper.entry import helper, helper_named
from crypto.protocols.masks.entry import secagg, secagg_plus
from crypto.protocols.mpc.entry import mpc
from crypto.protocols.outside import file_of, load_code, names_code
from crypto.protocols.plain import plain

ENTRIES: Mapping[str, SumProtocol] = {
    "plain": plain,
    "bfv": bfv,
    "mpc": mpc,
    "secagg": secagg,
    "secagg+": secagg_plus,
    "helper": helper,
}
"""Names are in plans, signatures and files of runs, so they never change their meaning."""


def entry_of(name: str) -> SumProtocol:
    """Return what the program knows of a protocol; `module:name` is imported, which runs that module's code.

    "helper-T-of-H" is "helper" with H helpers of whom T answer.

    Raises:
        PlanRefused: no protocol has this name, or `module:name` is no entry; says what to write, and where.
        CodeNotFound: `module:name` cannot be imported.
    """
    if not names_code(name):
        listed = ENTRIES.get(name) or helper_named(name)
        if listed is None:
            raise PlanRefused(
                f"unknown protocol {name!r}; choose one of {sorted(ENTRIES)}, helper-T-of-H, or module:name of an "
                "entry of your own"
            )
        return listed
    found = load_code(name)
    if isinstance(found, SumProtocol):
        return found
    what = "a class" if isinstance(found, type) else f"of type {type(found).__name__}"
    raise PlanRefused(
        f"{name!r} is {what} and no protocol; write in {file_of(name)}: {name.partition(':')[2]} = "
        "crypto.protocols.entry.SumProtocol(hiding=..., assumption=..., client=..., party=..., client_bytes=...)"
    )


def require_protocol(name: str) -> None:
    """Refuse a protocol that does not exist, or whose library is not installed, before any work is done.

    Raises:
        BackendMissing: names the command that installs it.
        PlanRefused, CodeNotFound: as `entry_of`.
    """
    entry_of(name).require()
