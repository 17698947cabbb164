"""Accounting with `privacy` alone: find the noise for a budget, charge a ledger before each round, read epsilon off it.

Forty rounds of DP-SGD on current data, then forty on newer data while a replay memory still samples what was kept.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import privacy

ROUNDS, Q_CURRENT, Q_MEMORY, DELTA = 40, 0.25, 0.05, 1e-5
KEPT = privacy.Cohort(group="all clients", arrival=0, chunk=0, fate="kept")
DISCARDED = privacy.Cohort(group="all clients", arrival=0, chunk=0, fate="discarded")


def charges(multiplier: float, task: int) -> list[privacy.Charge]:
    """Return what one round of a task costs the examples that arrived in task 0."""
    plan = privacy.DpSgdPlan(
        steps=2, denominator=16.0, clipping_norm=1.0, noise_multiplier=multiplier, learning_rate=0.5
    )
    cohorts, q = ((KEPT, DISCARDED), Q_CURRENT) if task == 0 else ((KEPT,), Q_MEMORY)
    return [privacy.Charge(cohort, event, n) for cohort in cohorts for event, n in plan.events(q).items()]


def histories(multiplier: float) -> list[Counter[privacy.Event]]:
    """Return what every cohort is charged in the whole schedule."""
    planned = (charge for task in (0, 1) for _ in range(ROUNDS) for charge in charges(multiplier, task))
    return list(privacy.spent(planned).values())


def main() -> None:
    """Calibrate to epsilon 4, run the schedule through a ledger, and show that a changed ledger is refused."""
    multiplier = privacy.smallest_multiplier(histories, epsilon=4.0, delta=DELTA)
    print(f"noise multiplier for epsilon 4: {multiplier:.3f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        ledger = privacy.Ledger(path)
        for task in (0, 1):
            for number in range(ROUNDS):
                ledger.charge(charges(multiplier, task), task=task, round=number)  # on disk before any noise is drawn
        rows = privacy.statements(ledger.spent(), DELTA)
        for row in rows:
            print(f"{row.cohort.fate}: RDP {row.epsilon_rdp:.3f}, PLD {row.epsilon_pld:.3f}")
        print(f"worst cohort: epsilon {max(row.epsilon for row in rows):.3f} at delta {DELTA:g}")
        ledger.close()
        path.write_bytes(path.read_bytes().replace(b'"count": 2', b'"count": 1', 1))
        try:
            privacy.Ledger(path)
        except privacy.PrivacyError as error:
            print("a changed ledger is refused:", str(error).split(", ", 1)[1])


if __name__ == "__main__":
    main()
