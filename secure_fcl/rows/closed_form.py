"""The strategies of sums by the name of their row: which public numbers, and the noise they are told of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from privacy import SkellamSum
from secure_fcl.config import Config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies import Phase, Strategy
from secure_fcl.strategies.entry import SumsEntry, SumsNumbers
from secure_fcl.strategies.section import SumsSection
from secure_fcl.streams import Scenario


def sums_section(config: Config, name: str) -> SumsSection:
    """Return the section of a row of sums.

    Raises:
        ConfigInvalid: it is the section of another kind of strategy.
    """
    section = config.section(name)
    if not isinstance(section, SumsSection):
        raise ConfigInvalid(f"{name}: a strategy of sums needs a SumsSection, not {section!r}")
    return section


def sums_strategy(
    config: Config, scenario: Scenario, name: str, entry: SumsEntry[Any], examples: int, noisy: bool
) -> Strategy:
    """Return the strategy of a row of sums; `examples` bounds those of one chunk."""
    numbers = SumsNumbers(
        name=name,
        shape=scenario.data.shape,
        classes=len(scenario.data.classes),
        widest_slot=max(len(scenario.slot_classes(slot)) for slot in range(scenario.slots)),
        examples=examples,
        noisy=noisy,
        persons=config.privacy.unit == "person",
        planned=scenario.examples,
    )
    strategy: Strategy = entry.build(sums_section(config, name), numbers)
    return strategy


def told_of_noise(
    entry: SumsEntry[Any], strategy: Strategy, noises: Mapping[Phase, SkellamSum], clients: int
) -> Strategy:
    """Return the strategy with the public size of the noise in its sums, all clients present."""
    std = {
        phase: math.sqrt(clients * noise.share_variance) / strategy.uploads[phase].scale
        for phase, noise in noises.items()
    }
    return entry.told(strategy, std)
