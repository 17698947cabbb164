from __future__ import annotations

import gc
from itertools import pairwise
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attacks
from attacks import REVEALS, Capability, ThreatModel, View
from attacks.errors import FieldNotRevealed, TranscriptInvalid

THREATS = [value for value in vars(attacks).values() if isinstance(value, ThreatModel)]
FIELDS = sorted(set().union(*(r.needs | r.may for r in REVEALS.values())))


def full_transcript() -> dict[str, np.ndarray]:
    shapes = {"models": (4, 5), "model_tasks": (4,)}
    return {name: np.full(shapes.get(name, (3,)), 7 + i) for i, name in enumerate(FIELDS)} | {
        "coins": np.ones(9),
        "secret_key": np.ones(2),
    }


def reachable(root: object) -> list[np.ndarray]:
    """Every array that can be reached from `root` without going through code."""
    found, queue, seen = [], [root], {id(root)}
    while queue:
        item = queue.pop()
        if isinstance(item, np.ndarray):
            found.append(item)
            if item.base is not None:
                queue.append(item.base)
        for other in gc.get_referents(item):
            if id(other) not in seen and not isinstance(other, type | ModuleType | FunctionType):
                seen.add(id(other))
                queue.append(other)
    return found


def test_there_are_threat_models_to_test() -> None:
    assert len(THREATS) == 10
    assert len({threat.name for threat in THREATS}) == 10


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat.name)
def test_nothing_outside_the_allow_list_is_reachable(threat: ThreatModel) -> None:
    transcript = full_transcript()
    view = View.of(threat, transcript)
    markers = {int(transcript[name].flat[0]): name for name in FIELDS}
    found = {markers[int(array.flat[0])] for array in reachable(view)}
    assert found == threat.fields == view.fields
    for name in transcript.keys() - threat.fields:
        with pytest.raises(FieldNotRevealed, match=name):
            view.array(name)


def test_the_search_for_reachable_arrays_finds_a_planted_one() -> None:
    class Leaky:
        def __init__(self) -> None:
            self.inner = {"deep": [np.full(3, 99)]}

    assert [int(array[0]) for array in reachable(Leaky())] == [99]


def test_slices_of_one_buffer_do_not_carry_the_buffer_along() -> None:
    buffer = np.arange(100.0)
    view = View.of(attacks.FINAL_MODEL, {"final_model": buffer[:5], "sums": buffer[5:]})
    assert view.array("final_model").base is None
    assert all(array.size == 5 for array in reachable(view))


def test_array_subclasses_and_dtype_metadata_are_stripped() -> None:
    class Tagged(np.ndarray):
        pass

    tagged = np.ones(4).view(Tagged)
    tagged.secret = "coins"  # type: ignore[attr-defined]
    labelled = np.zeros(2, dtype=np.dtype("f8", metadata={"coins": 1}))
    view = View.of(attacks.FINAL_MODEL, {"final_model": tagged, "predictions": labelled})
    assert type(view.array("final_model")) is np.ndarray
    assert view.array("predictions").dtype.metadata is None


def test_a_view_is_read_only_and_does_not_follow_the_transcript() -> None:
    transcript = {"final_model": np.zeros(3)}
    view = View.of(attacks.FINAL_MODEL, transcript)
    transcript["final_model"][:] = 1
    assert view.array("final_model").sum() == 0
    with pytest.raises(ValueError, match="read-only"):
        view.array("final_model")[0] = 1
    assert "0." not in repr(view)


@pytest.mark.parametrize("bad", [np.array([object()]), np.array(["text"]), np.array([1 + 2j])])
def test_only_numbers_are_revealed(bad: Any) -> None:
    with pytest.raises(TranscriptInvalid, match="final_model"):
        View.of(attacks.FINAL_MODEL, {"final_model": bad})


def test_models_and_tasks_must_fit() -> None:
    with pytest.raises(TranscriptInvalid, match="model_tasks"):
        View.of(attacks.ALL_MODELS, {"models": np.zeros((3, 2)), "model_tasks": np.zeros(2)})


@given(st.sets(st.sampled_from(list(Capability))), st.sets(st.sampled_from(FIELDS)))
def test_a_capability_is_there_exactly_when_allowed_and_recorded(allowed: set[Capability], recorded: set[str]) -> None:
    transcript = {name: value for name, value in full_transcript().items() if name in recorded}
    view = View.of(ThreatModel("any", frozenset(allowed)), transcript)
    assert view.capabilities == {c for c in allowed if REVEALS[c].needs <= recorded}
    assert view.fields == ThreatModel("any", frozenset(allowed)).fields & recorded


def test_stronger_adversaries_see_no_less() -> None:
    chain = [attacks.BLACK_BOX, attacks.FINAL_MODEL, attacks.ALL_MODELS, attacks.SUMS_ONLY, attacks.COLLUDERS]
    for weaker, stronger in pairwise(chain):
        assert weaker.fields < stronger.fields
