"""What a row's devices keep and say: replay memory, storage plan, and what may be sent beside the sums."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crypto.protocols.catalogue import entry_of as protocol_entry
from secure_fcl.config import Config
from secure_fcl.errors import ConfigInvalid, SecureFclError, StorageTooSmall
from secure_fcl.memory import (
    EverythingMemory,
    HerdingMemory,
    MemoryNumbers,
    MemoryPolicy,
    OwnMemory,
    StoragePlan,
    StoredItem,
    own_memory,
    plan_storage,
    threshold_memory,
)
from secure_fcl.references import file_of, names_code
from secure_fcl.strategies import GradientStrategy, Strategy
from secure_fcl.strategies.side_channels import side_channels
from secure_fcl.streams import Scenario


def memory_of(config: Config, scenario: Scenario) -> MemoryPolicy:
    """Return the policy of the devices' replay memories.

    Raises:
        ConfigInvalid: the capacity holds not even one item, or a policy of the user's own is none.
    """
    m = config.memory
    if config.scenario.setting == "cross-silo":
        return EverythingMemory(scenario.examples)
    if m.policy == "herding":
        return HerdingMemory(m.capacity)
    item_size = scenario.units.largest_item
    if names_code(m.policy):
        return own_memory(m.policy, numbers_of(config, scenario))
    return threshold_memory(m.keep, m.capacity, scenario.largest_place, item_size, scenario.tasks)


def numbers_of(config: Config, scenario: Scenario) -> MemoryNumbers:
    """Return the public numbers that a memory of the user's own is made from."""
    return MemoryNumbers(
        keep=config.memory.keep,
        capacity=config.memory.capacity,
        items_per_task=scenario.largest_place,
        item_size=scenario.units.largest_item,
        tasks=scenario.tasks,
    )


def check_memory(config: Config, scenario: Scenario, policy: MemoryPolicy | None) -> None:
    """Refuse a memory of the user's own that breaks a law of `secure_fcl.testing.memories`.

    Raises:
        ConfigInvalid: with the law and the smallest course that breaks it.
    """
    if not isinstance(policy, OwnMemory):
        return
    from secure_fcl.testing.memories import check_policy, courses

    numbers = numbers_of(config, scenario)
    try:
        check_policy(policy, tuple(courses(numbers.tasks, numbers.items_per_task, policy.capacity)))
    except SecureFclError as error:
        raise ConfigInvalid(
            f"memory.policy = {policy.reference!r} in {file_of(policy.reference)} breaks a law: {error}"
        ) from error


def kept_by(strategy: Strategy) -> list[StoredItem]:
    """Return what the strategy keeps on a device: its own arrays, and what the server sent but the round's weights."""
    sent = {f"the server's {name}": array.size for name, array in strategy.initial().items() if name != "weights"}
    own = {f"its own {name}": math.prod(shape) for name, shape in strategy.carried.items()}
    found = [StoredItem(name, 4 * size) for name, size in (sent | own).items()]
    if isinstance(strategy, GradientStrategy) and strategy.public is not None and strategy.public.held:
        found.append(StoredItem("public inputs", strategy.public.kept_bytes))
    if strategy.columns:
        found.append(StoredItem("outputs stored with the memory", 4 * strategy.columns, per_memory_example=True))
    return found


def storage_of(
    config: Config, scenario: Scenario, memory: MemoryPolicy | None, strategy: Strategy | None,
    beside: Sequence[StoredItem] = (),
) -> StoragePlan:  # fmt: skip
    """Return the device's plan; `strategy` is None for class sums, which keep nothing and need the plan's pool.

    `beside`: what a device keeps more than the strategy's own.

    Raises:
        StorageTooSmall: the stream's smallest piece does not fit, or a memory that must see a task whole does not.
    """
    # Joint training is a bound: it keeps what no device could, and its certificate says so.
    unbounded = config.scenario.setting == "cross-silo" or scenario.together > 1
    storage = plan_storage(
        budget=None if unbounded else config.storage.budget_kib * 1024,
        example_bytes=4 * math.prod(scenario.data.shape) + 16,
        windows_per_place=scenario.units.windows_per_unit,
        largest_place=scenario.largest_place,
        memory_examples=memory.capacity if memory else 0,
        held_places=scenario.most_waiting * scenario.largest_place,
        # A stream seen once is cut into as many chunks as there are rounds; each lives for one of them.
        most_places=-(-scenario.largest_place // strategy.rounds) if strategy and scenario.seen_once else None,
        kept=[*(kept_by(strategy) if strategy else ()), *beside],
        examples=config.storage.budget_examples or None,
    )
    if memory is not None and memory.displaces_others and storage.chunks > 1:
        raise StorageTooSmall(
            f"memory.policy = {config.memory.policy!r} chooses among a whole task, but the device reads it in "
            f"{storage.chunks} chunks; raise storage.budget_kib or use the policy 'threshold'"
        )
    return storage


def refuse_channels(config: Config, strategy: Strategy) -> None:
    """Refuse what a strategy sends beside the sums while anything is protected, unless the configuration names it.

    Raises:
        ConfigInvalid: a side channel that is not allowed; names it and what it would give away.
    """
    if protocol_entry(config.protection).hiding == "nothing" and config.section(strategy.name).noise == "none":
        return
    for channel in side_channels(strategy):
        if channel.name not in config.side_channels:
            raise ConfigInvalid(
                f"row {strategy.name!r} sends a side channel, {channel.what}; neither encryption nor noise covers it; "
                f"take {strategy.name}_safe, or allow it with side_channels = [{channel.name!r}]"
            )
