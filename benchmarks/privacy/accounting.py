"""How long epsilon takes: 10,000 steps of replay and current data in turn, cold, and after one more round."""

from __future__ import annotations

import time
import warnings

from rich.console import Console

from benchmarks.privacy.page import Section, save_section
from privacy import Event, PldAccountant, RdpAccountant, SampledGaussian
from privacy.accountants import _rdp_curve
from privacy.loss_distributions import _transform
from privacy.loss_masses import one_step

CURRENT, MEMORY, DELTA = (
    SampledGaussian(q=0.01, noise_multiplier=1.1),
    SampledGaussian(q=0.02, noise_multiplier=1.1),
    1e-5,
)
FEW = 200


def _seconds(accountant: RdpAccountant | PldAccountant, history: dict[Event, int]) -> tuple[float, float]:
    begun = time.process_time()
    epsilon = accountant.epsilon(history, DELTA)
    return time.process_time() - begun, epsilon


def _ours(accountant: RdpAccountant | PldAccountant) -> tuple[float, float, float]:
    """Return the best cold time, the best time of the round after, and epsilon."""
    cold, warm, epsilon = [], [], 0.0
    for _ in range(3):
        _rdp_curve.cache_clear()
        one_step.cache_clear()
        _transform.cache_clear()
        spent, epsilon = _seconds(accountant, {CURRENT: 5000, MEMORY: 5000})
        cold.append(spent)
        warm += [_seconds(accountant, {CURRENT: 5000 + k, MEMORY: 5000 + k})[0] for k in (1, 2, 3)]
    return min(cold), min(warm), epsilon


def _opacus(name: str) -> tuple[float, float]:
    """Return what Opacus takes for FEW alternating steps, which it keeps as FEW entries, and its epsilon."""
    from opacus.accountants import create_accountant

    accountant = create_accountant(name)
    for number in range(FEW):
        event = MEMORY if number % 2 else CURRENT
        accountant.step(noise_multiplier=event.noise_multiplier, sample_rate=event.q)
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        epsilon = accountant.get_epsilon(DELTA)
    return time.process_time() - begun, float(epsilon)


def main() -> None:
    """Print times in milliseconds and write them to the page."""
    # Imports and first calls are not what is measured.
    for accountant in (RdpAccountant(), PldAccountant()):
        accountant.epsilon({SampledGaussian(q=0.3, noise_multiplier=1.0): 2}, DELTA)
    rows = []
    for name, accountant, aims in (
        ("RDP", RdpAccountant(), ("100", "50")), ("PLD, interval 1e-3", PldAccountant(), ("300", "50"))
    ):  # fmt: skip
        cold, warm, epsilon = _ours(accountant)
        rows.append([name, "10,000", f"{epsilon:.4f}", f"{1e3 * cold:.0f}", aims[0], f"{1e3 * warm:.2f}", aims[1]])
    for name in ("rdp", "prv"):
        spent, epsilon = _opacus(name)
        rows.append([f"Opacus, {name}", str(FEW), f"{epsilon:.4f}", f"{1e3 * spent:,.0f}", "-", "the same again", "-"])
    head = ["accountant", "steps in turn", "epsilon", "cold, ms", "aim", "next round, ms", "aim"]
    made = Section("accounting", [("", head, rows)])
    save_section(made)
    Console().print(made.text())


if __name__ == "__main__":
    main()
