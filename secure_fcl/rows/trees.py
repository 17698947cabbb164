"""Rows whose rounds share a binary tree's noise: what they refuse, what a device keeps open, and what is said of them.

By `privacy.mechanism = "tree"` a round sends the sum of the clipped gradients of one node of a tree over all rounds of
the row, with fresh shares of noise inside the secure sum, and the model follows the noisy prefix sums (DP-FTRL; Kairouz
et al. 2021, arXiv 2103.00039). An example takes part in one round; the whole tree is charged to it in that round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from privacy import DistributedSum
from privacy.matrix import BinaryTree, root_mean_square_error
from secure_fcl.config import Compression, Config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.memory import StoragePlan, StoredItem
from secure_fcl.rows.gradient import sends_gradients_alone
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.rows.storage import storage_of
from secure_fcl.strategies import GradientStrategy, Method
from secure_fcl.streams import NEVER, Scenario

_BYTES_OF_AN_ATTENDANCE = 24
"""A number, a count and a step for each example that took part, as `privacy.participation.Attendance` keeps them."""


def of_a_tree(config: Config) -> bool:
    """Return whether the rounds of the run's rows share a tree's noise."""
    return config.privacy.mechanism == "tree"


def refuse_sums(name: str) -> None:
    """Raise ConfigInvalid: a row of sums has no rounds whose noise a tree could share.

    Raises:
        ConfigInvalid: always.
    """
    raise ConfigInvalid(
        f"privacy.mechanism = 'tree' is not there for {name}, a row of sums that releases each example once and adds "
        "up no gradients; take a row that trains a network, or set privacy.mechanism = 'independent'"
    )


def check_tree(config: Config, name: str, method: Method, at_once: bool) -> None:
    """Refuse a row that a tree does not fit, by its first misfit.

    Raises:
        ConfigInvalid: with the value, what a tree needs instead, and what to set.
    """
    if not sends_gradients_alone(method, at_once):
        raise ConfigInvalid(
            f"privacy.mechanism = 'tree' is not there for {name}, which keeps examples, sends more than gradients or "
            "sees all tasks at once; take finetune, or set privacy.mechanism = 'independent'"
        )
    for key, value, needed, why in _misfits(config, name):
        if value != needed:
            raise ConfigInvalid(
                f"{key} = {_written(value)} and privacy.mechanism = 'tree' do not go together: {why}; set {key} = "
                f"{_written(needed)}, or privacy.mechanism = 'independent'"
            )
    if config.compression != Compression():
        raise ConfigInvalid(
            "privacy.mechanism = 'tree' adds up the gradients of many rounds on the device, and compression.kind = "
            f"{config.compression.kind!r} and its like map each round in another way; leave [compression] at its "
            "defaults"
        )


def _misfits(config: Config, name: str) -> Iterator[tuple[str, object, object, str]]:
    """Yield (key, value, the one value that fits, why)."""
    section, p, s, attacks = config.section(name), config.privacy, config.scenario, config.attacks
    yield (
        "privacy.unit", p.unit, "example",
        "a person takes part in every task, for whom independent noise has the least error at every prefix",
    )  # fmt: skip
    yield (
        f"{name}.noise", section.noise, "shared",
        "its nodes get their noise inside the secure sum",
    )  # fmt: skip
    yield "scenario.kind", s.kind, "online", "an example may take part in one round alone, as in a stream seen once"
    yield (
        "training.q_current", config.training.q_current, 1.0,
        "a node that is released again and again has no coins for its examples to hide behind",
    )  # fmt: skip
    yield "privacy.spare_rounds", p.spare_rounds, 0, "a round that is drawn again releases nodes of earlier rounds anew"
    lost = "nodes are over all rounds, and of those who are there for all of them"
    yield "scenario.joining", s.joining, 0.0, lost
    yield "scenario.leaving", s.leaving, 0.0, lost
    yield "engine", config.engine, "local", "a deployed device does not keep open nodes over a crash"
    yield f"{name}.norm_bound", section.norm_bound, 0.0, "a node sums many rounds, and its norm has no bound of one"
    yield "attacks.canaries", attacks.canaries, 0, "their audit reads sums whose rounds have noise of their own"
    if attacks.enabled and attacks.row == name:
        yield (
            "attacks.enabled", True, False,
            f"attacks.row is {name}, and the audit reads sums whose rounds have noise of their own",
        )  # fmt: skip


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def storage_of_tree(config: Config, scenario: Scenario, strategy: GradientStrategy) -> StoragePlan:
    """Return a device's plan with the raw sums of open nodes, and the numbers of the examples that took part.

    More nodes leave less room for the stream, which is then read in more rounds, which may take one more level.

    Raises:
        StorageTooSmall: the stream's smallest piece does not fit beside them.
    """
    tasks = int((scenario.release != NEVER).sum(axis=1).max(initial=0))
    examples = tasks * scenario.largest_place * scenario.units.windows_per_unit
    numbers = StoredItem("numbers of the examples that took part", _BYTES_OF_AN_ATTENDANCE * examples)
    levels = 1
    while True:
        nodes = StoredItem("raw sums of open nodes", 8 * strategy.size * levels)
        storage = storage_of(config, scenario, None, strategy, beside=(nodes, numbers))
        needed = BinaryTree(scenario.slots * storage.chunks).levels
        if needed <= levels:
            return storage
        levels = needed


def widest_node(scenario: Scenario, storage: StoragePlan) -> int:
    """Return how many rounds the widest node of a row's tree sums."""
    return int(2 ** (BinaryTree(scenario.slots * storage.chunks).levels - 1))


def error_beside_independent(rounds: int) -> float:
    """Return the root mean square noise of a tree's prefix sums over that of independent noise, at equal cost.

    Of Gaussian noise; both for examples that take part in one round.
    """
    return root_mean_square_error(BinaryTree(rounds)) / math.sqrt((rounds + 1) / 2)


def said_of_the_tree(plan: RowPlan) -> str:
    """Return what the tree charges an example, and what it is worth, in words; empty where there is none."""
    if plan.tree is None:
        return ""
    rounds, levels, node = plan.tree.tree.steps, plan.tree.tree.levels, plan.tree.node
    ratio = error_beside_independent(rounds)
    better = "" if ratio < 1.0 else ", so that it does not pay: take more rounds, or privacy.mechanism = 'independent'"
    return (
        f"tree: {rounds} rounds, one node of {levels} levels released after each; an example takes part in one round "
        f"and is charged the whole tree there, {_releases(levels, node)}; the noise of the prefix sums is about "
        f"{ratio:.3g} times that of independent noise (root mean square, same budget){better}"
    )


def mechanism_of_the_tree(plan: RowPlan) -> str:
    """Return the mechanism as a certificate names it."""
    assert plan.tree is not None
    tree, node = plan.tree.tree, plan.tree.node
    return (
        f"gradients clipped one by one and summed over the nodes of one binary tree of {tree.steps} rounds, one node a "
        f"round with fresh Skellam noise; the model follows the noisy prefix sums (DP-FTRL); an example takes part in "
        f"one round, to which its device holds it, and is charged the whole tree once: {_releases(tree.levels, node)}"
    )


def _releases(levels: int, node: DistributedSum) -> str:
    return f"{levels} releases of multiplier {node.noise_multiplier:.4g}, one a level"
