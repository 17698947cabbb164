"""How much noise rows with shared noise need: by Renyi bounds, by dominating Gaussians, and with real Gaussians."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from rich.console import Console

from benchmarks.privacy.page import Section, save_section
from privacy import (
    DistributedSum,
    Event,
    NonPrivate,
    RdpAccountant,
    SampledGaussian,
    SampledSkellam,
    SkellamRelease,
    smallest_multiplier,
)
from secure_fcl.config import Config, load_config
from secure_fcl.config.names import CHANNELS, ENTRIES, has_place
from secure_fcl.data import load_hapt
from secure_fcl.rows.build import build_row, calibrated_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.streams import Scenario, build_scenario

EPSILONS = (1.0, 2.0, 8.0)


def main() -> None:
    """Print noise multipliers of all rows at three budgets and write them to the page."""
    scenario = build_scenario(load_hapt(), load_config())
    rows = []
    for name in ENTRIES:
        if not has_place(name, "shared"):
            continue
        row = [f"`{name}`"]
        for epsilon in EPSILONS:
            allowed = f"side_channels=[{', '.join(repr(channel) for channel in CHANNELS)}]"
            config = load_config(None, [f"{name}.noise=shared", f"{name}.epsilon={epsilon}", allowed])
            before = calibrated_row(config, scenario, name, RdpAccountant())[1]
            now = calibrated_row(config, scenario, name)[1]
            real = _with_gaussians(config, scenario, name, epsilon)
            row += [f"{before:.4g}", f"{now:.4g}", f"{100 * (1 - now / before):.1f}", f"{100 * (now / real - 1):+.2f}"]
        rows.append(row)
    head = ["row"]
    for epsilon in EPSILONS:
        head += [f"epsilon {epsilon:g}: Renyi", "now", "less, %", "over Gaussian, %"]
    made = Section("skellam", [("", head, rows)])
    save_section(made)
    Console(width=200).print(made.text())


def _with_gaussians(config: Config, scenario: Scenario, name: str, epsilon: float) -> float:
    """Return the least multiplier of the same schedule with real Gaussian noise and no rounding."""

    def schedule(multiplier: float) -> list[Mapping[Event, int]]:
        plan = build_row(config, scenario, name, multiplier)
        return [_real(plan, events) for events in plan.planned().values()]

    return smallest_multiplier(schedule, epsilon, build_row(config, scenario, name, 1.0).accounting_delta)


def _real(plan: RowPlan, events: Mapping[Event, int]) -> Counter[Event]:
    sampled = {n.guaranteed_variance: n.noise_multiplier for n in plan.noises.values() if isinstance(n, DistributedSum)}
    found: Counter[Event] = Counter()
    for event, count in events.items():
        match event:
            case SkellamRelease(variance=variance, l2=l2):
                found[SampledGaussian(q=1.0, noise_multiplier=math.sqrt(variance) / l2)] += count
            case SampledSkellam(q=q, variance=variance):
                found[SampledGaussian(q=q, noise_multiplier=sampled[variance])] += count
            case SampledGaussian():
                found[event] += count
            case NonPrivate():
                # A declared side channel, which noise does not touch.
                continue
    return found


if __name__ == "__main__":
    main()
