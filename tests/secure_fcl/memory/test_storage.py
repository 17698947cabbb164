import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from secure_fcl.errors import StorageTooSmall
from secure_fcl.memory import plan_storage
from secure_fcl.memory.storage import KEY_BYTES


def test_known_arithmetic() -> None:
    plan = plan_storage(
        budget=100_000, example_bytes=1000, windows_per_place=5, largest_place=23, memory_examples=20,
        old_models=8000, importances=4000,
    )  # fmt: skip
    # 100,000 - 20,000 - 8,000 - 4,000 - 1,024 = 66,976 bytes: 13 places of 5,000.
    assert (plan.places_per_chunk, plan.chunks, plan.pool_examples) == (13, 2, 65)
    assert plan.used == 65_000 + 20_000 + 8000 + 4000 + KEY_BYTES
    assert plan.table() == {
        "unread stream": 0,
        "current pool": 65_000,
        "memory": 20_000,
        "old models": 8000,
        "importances": 4000,
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
        "memory_examples": memory, "old_models": models,
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
