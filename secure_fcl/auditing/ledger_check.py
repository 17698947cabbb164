"""What an audit says about the ledger: a contradiction ends the command, and what could not be one is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attacks.errors import AuditInvalid, LedgerContradicted, MemoryContradicted
from attacks.games.play import Outcome
from attacks.games.simultaneous import LOUD, could_contradict
from evaluation.tables import epsilon_above, epsilon_below


def require_ledger_holds(document: Mapping[str, Any], report: Path) -> None:
    """Pass if nothing in an audit contradicts the ledger, or the memory's policy, and nothing went wrong in it.

    Games are judged over all together; a law of the mechanism each for itself, at a millionth.

    Raises:
        LedgerContradicted: something does; the sentence names the worst, and the report that shows all.
        MemoryContradicted: a device kept other examples than its policy says.
        AuditInvalid: a game could not be played, for another reason than too few examples.
    """
    noise = document.get("noise") or {}
    if noise.get("too_small") or noise.get("too_large"):
        raise LedgerContradicted(
            f"the audit contradicts the ledger: an empty batch was released with noise multiplier "
            f"{noise['measured']:.3g} where {noise['declared']:.3g} was charged; do not rely on the certificate, and "
            f"see {report}"
        )
    found = document["contradictions"]
    if found:
        worst = max(found, key=lambda one: float(one["bound"] - one["ledger_epsilon"]))
        shown, spent = epsilon_below(worst["bound"]), epsilon_above(worst["ledger_epsilon"])
        raise LedgerContradicted(
            f"the audit contradicts the ledger: {worst['game']}, {worst['attack']} ({worst['target']}) shows epsilon "
            f"{shown} where {spent} was charged, at confidence {worst['confidence']} for all games together; do not "
            f"rely on the certificate, and see {report}"
        )
    _require_sums_hold(document, report)
    broken = [law for law in document.get("laws", ()) if law["broken"]]
    if broken:
        first = min(broken, key=lambda law: float(law["p_value"]))
        raise LedgerContradicted(
            f"the audit contradicts the ledger: what it claims does not hold for {first['law']} (p = "
            f"{first['p_value']:.2g}, below {first['level']:g}): {first['means']}; do not rely on the certificate, and "
            f"see {report}"
        )
    _require_rest(document, report)


def _require_sums_hold(document: Mapping[str, Any], report: Path) -> None:
    """Pass if the noise in every row of sums allows no more than its ledger says."""
    for record in document.get("sums", ()):
        mu = record.get("mu") or {}
        if mu.get("exceeds"):
            raise LedgerContradicted(
                f"the audit contradicts the ledger: the noise in the sums of {record['row']} allows mu "
                f"{mu['surely']:.3f} at least where {mu['ledger']:.3f} was charged, at confidence {mu['confidence']}; "
                f"do not rely on the certificate, and see {report}"
            )


def _require_rest(document: Mapping[str, Any], report: Path) -> None:
    """Pass if the memories hold what their policy says, and every game that had enough data could be played."""
    memory = (document.get("memory") or {}).get("contradictions", ())
    if memory:
        more = f" and {len(memory) - 1} more like it" if len(memory) > 1 else ""
        raise MemoryContradicted(
            f"the memory contradicts its declared policy: {memory[0]}{more}; do not rely on the certificate, and see "
            f"{report}"
        )
    failed = document.get("failed", ())
    if failed:
        raise AuditInvalid(f"the audit could not be played, and not for lack of data: {failed[0]}; see {report}")


def beyond_reach(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a sentence if even a faultless attack could not have contradicted the ledger, else nothing."""
    asked = [o for o in outcomes if o.guesses is not None and o.terms.ledger_epsilon is not None]
    if not asked or any(could_contradict(outcomes)):
        return []
    return [
        f"a wrong ledger: not even a faultless attack on so few coins could show more than the ledger's epsilon at "
        f"confidence {LOUD}; audit a run with a smaller epsilon or with more held out"
    ]
