"""The reproduction of published split-MNIST figures: what it asks the toolkit for, what it skips, how it judges."""

import math

import pytest

from benchmarks.strategies.central import PER_TASK, configuration, digest
from benchmarks.strategies.protocols import SHORT, THREE_TYPES
from benchmarks.strategies.reproduce import FIRST, LAST, SCENARIOS, judge, missing, with_table


def record(strategy: str, seed: int, accuracy: float, scenario: str = "class") -> dict[str, object]:
    return {
        "protocol": SHORT.name, "scenario": scenario, "strategy": strategy, "seed": seed, "accuracy": accuracy,
    }  # fmt: skip


@pytest.mark.parametrize("protocol", [SHORT, THREE_TYPES], ids=lambda p: p.name)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_row_is_a_configuration_of_the_toolkit(protocol, scenario: str) -> None:
    rows = [row for row in protocol.rows if row.scenario == scenario]
    for seed in range(1, 6):
        config = configuration(protocol, rows, seed)
        assert config.rows == tuple(row.strategy for row in rows)
        assert config.scenario.class_order == protocol.orders[seed - 1]
        assert all(math.isinf(config.section(name).epsilon) for name in config.rows)
    t = config.training
    assert t.keep_moments
    assert (t.model, t.optimizer, t.steps) == ("mlp:400,400:relu", "adam", rows[0].iterations or 2000)
    # The mean over a batch of the expected size, and about 100 examples of each of two classes in memory.
    assert t.q_current * PER_TASK == pytest.approx(t.denominator)
    assert config.memory.keep * PER_TASK == pytest.approx(200)
    # Van de Ven's weights 1/t and 1 - 1/t are in proportion: a memory of 200 (t - 1) counts as t - 1 batches.
    assert t.q_memory * 200 == pytest.approx(t.denominator)


def test_seeds_shuffle_the_digits_as_the_source_does() -> None:
    """Two orders as its code prints them, and twenty that differ."""
    assert SHORT.orders[0] == (4, 6, 0, 5, 3, 9, 2, 7, 8, 1)
    assert SHORT.orders[4] == (6, 5, 2, 9, 3, 1, 8, 4, 7, 0)
    assert len(set(SHORT.orders)) == 20
    assert all(sorted(order) == list(range(10)) for order in SHORT.orders)


def test_only_what_has_no_result_is_run() -> None:
    whole = list(missing(SHORT, [1, 2], SCENARIOS, []))
    assert [(len(rows), seed) for rows, seed in whole] == [(3, 1), (4, 1), (4, 1), (3, 2), (4, 2), (4, 2)]
    done = [
        record(row.strategy, 1, 0.5, row.scenario) | {"settings": digest(SHORT, row, 1)}
        for row in SHORT.rows
        if row.strategy != "fedsi"
    ]
    assert [[r.strategy for r in rows] for rows, _ in missing(SHORT, [1], SCENARIOS, done)] == [["fedsi"], ["fedsi"]]
    assert not list(missing(SHORT, [1], ["class"], done))
    stale = [r | {"settings": "of another day"} for r in done]
    assert len(list(missing(SHORT, [1], ["class"], stale))) == 1


def test_of_two_results_the_later_counts() -> None:
    (judged,) = judge([record("replay", 1, 0.5), record("replay", 1, 0.9)])
    assert judged.found == (0.9,)


def test_three_points_are_within_and_more_are_not() -> None:
    (inside,) = judge([record("replay", 2, 0.85), record("replay", 1, 0.87)])
    assert inside.within
    assert inside.found == (0.87, 0.85)
    (outside,) = judge([record("replay", 1, 0.9211)])
    assert not outside.within
    assert "| no |" in outside.line()
    assert "0.860 +- 0.014 | yes | 0.870 0.850 |" in inside.line()


def test_only_the_table_of_the_page_changes() -> None:
    assert with_table(f"a\n{FIRST}\nold\n{LAST}\nb", "new") == f"a\n{FIRST}\nnew\n{LAST}\nb"
    with pytest.raises(ValueError, match="markers"):
        with_table("a page", "new")
