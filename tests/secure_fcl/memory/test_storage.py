import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from secure_fcl.errors import StorageTooSmall
from secure_fcl.memory import StoredItem, plan_storage
from secure_fcl.memory.storage import KEY_BYTES


def test_known_arithmetic() -> None:
    plan = plan_storage(
        budget=100_000, example_bytes=1000, windows_per_place=5, largest_place=23, memory_examples=20,
        held_places=2, kept=(StoredItem("old model", 8000), StoredItem("stored logits", 40, per_memory_example=True)),
    )  # fmt: skip
    # 100,000 - 20,000 - 10,000 - 8,000 - 20 * 40 - 1,024 = 60,176 bytes: 12 places of 5,000.
    assert (plan.places_per_chunk, plan.chunks, plan.pool_examples) == (12, 2, 60)
    assert plan.used == 60_000 + 20_000 + 10_000 + 8000 + 800 + KEY_BYTES
    assert plan.examples == 60 + 20 + 10
    assert plan.table() == {
        "unread stream": 0,
        "current pool": 60_000,
        "memory": 20_000,
        "held back": 10_000,
        "old model": 8000,
        "stored logits": 800,
        "keys": KEY_BYTES,
    }


def test_cross_silo_has_no_bound() -> None:
    plan = plan_storage(budget=None, example_bytes=1000, windows_per_place=5, largest_place=23, memory_examples=5569)
    assert (plan.places_per_chunk, plan.chunks) == (23, 1)


@given(
    st.integers(1, 10**7), st.integers(1, 5000), st.integers(1, 5), st.integers(1, 500), st.integers(0, 500),
    st.integers(0, 10**5),
)  # fmt: skip
def test_what_is_used_never_exceeds_the_budget(
    budget: int, example: int, windows: int, largest: int, memory: int, models: int
) -> None:
    free = budget - memory * example - models - KEY_BYTES
    arguments = {
        "budget": budget, "example_bytes": example, "windows_per_place": windows, "largest_place": largest,
        "memory_examples": memory, "kept": (StoredItem("old model", models),),
    }  # fmt: skip
    if free < windows * example:
        with pytest.raises(StorageTooSmall, match=r"storage\.budget_kib"):
            plan_storage(**arguments)
        return
    plan = plan_storage(**arguments)
    assert plan.used <= budget
    assert plan.chunks * plan.places_per_chunk >= largest
    assert (plan.chunks - 1) * plan.places_per_chunk < largest
    assume(plan.chunks > 1)
    # One more place would not fit.
    assert plan.used + windows * example > budget


def test_a_bound_on_examples_counts_pool_memory_and_what_waits() -> None:
    plan = plan_storage(
        budget=10**9, example_bytes=1000, windows_per_place=5, largest_place=100, memory_examples=20, held_places=3,
        examples=60,
    )  # fmt: skip
    assert (plan.places_per_chunk, plan.examples) == (5, 60)
    with pytest.raises(StorageTooSmall, match=r"storage\.budget_examples = 39 leaves 4 beside a memory of 20 and 15"):
        plan_storage(
            budget=10**9, example_bytes=1000, windows_per_place=5, largest_place=100, memory_examples=20,
            held_places=3, examples=39,
        )  # fmt: skip


def test_a_refusal_names_every_purpose_and_its_bytes() -> None:
    with pytest.raises(StorageTooSmall, match=r"20 examples \(20000\), 15 held-back .*\(15000\), old model \(7\)"):
        plan_storage(
            budget=40_000, example_bytes=1000, windows_per_place=5, largest_place=9, memory_examples=20, held_places=3,
            kept=(StoredItem("old model", 7),),
        )  # fmt: skip


def test_what_a_device_really_keeps_is_held_against_the_declaration() -> None:
    plan = plan_storage(
        budget=None, example_bytes=8, windows_per_place=1, largest_place=1, memory_examples=3,
        kept=(StoredItem("importances", 40), StoredItem("stored logits", 8, per_memory_example=True)),
    )  # fmt: skip
    plan.check({"importances": np.zeros(5), "stored logits": np.zeros((3, 1))})
    with pytest.raises(StorageTooSmall, match="keeps 48 bytes of 'importances', declared 40"):
        plan.check({"importances": np.zeros(6)})
    with pytest.raises(StorageTooSmall, match="'old model', declared 0"):
        plan.check({"old model": np.zeros(1)})
