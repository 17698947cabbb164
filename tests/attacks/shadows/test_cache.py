from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attacks import Candidates, continual_models
from attacks.shadows import BatchedMlp, ContinualRecipe, Rule
from attacks.shadows.cache import cache_key, cached

ARRAYS = {"x": np.arange(6.0).reshape(2, 3)}


def test_the_key_follows_everything() -> None:
    base = cache_key({"a": 1}, ARRAYS)
    assert base == cache_key({"a": 1}, {"x": ARRAYS["x"].copy()})
    others = [
        cache_key({"a": 2}, ARRAYS),
        cache_key({"a": 1}, {"y": ARRAYS["x"]}),
        cache_key({"a": 1}, {"x": ARRAYS["x"].reshape(3, 2)}),
        cache_key({"a": 1}, {"x": ARRAYS["x"].astype(np.float32)}),
        cache_key({"a": 1}, {"x": ARRAYS["x"] + 1}),
    ]
    assert len({base, *others}) == 6


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    calls = []

    def make() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"w": np.ones(3)}

    for _ in range(2):
        assert np.array_equal(cached(tmp_path / "deep" / "er", "k" * 64, make)["w"], np.ones(3))
    assert len(calls) == 1
    cached(None, "k" * 64, make)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["cut", "noise", "other key"])
def test_a_damaged_or_foreign_file_is_made_again(tmp_path: Path, damage: str) -> None:
    key = "a" * 64
    cached(tmp_path, key, lambda: {"w": np.zeros(1000)})
    (path,) = tmp_path.glob("*.npz")
    data = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "noise":
            path.write_bytes(b"\x00" * len(data))
        case _:
            key = "a" * 32 + "b" * 32  # the same file name, another key inside
    assert np.array_equal(cached(tmp_path, key, lambda: {"w": np.ones(2)})["w"], np.ones(2))


def test_models_from_disk_are_the_models_trained(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    zeros = np.zeros(40, dtype=np.int64)
    pool = Candidates(random.normal(size=(40, 6)), random.integers(0, 3, size=40), np.arange(40), zeros)
    recipe = ContinualRecipe(rule=Rule(learning_rate=0.1), batch=4, steps=3)
    trainer = BatchedMlp((6, 5, 3))
    first = continual_models(trainer, pool, recipe, models=4, seed=1, folder=tmp_path)
    again = continual_models(trainer, pool, recipe, models=4, seed=1, folder=tmp_path)
    other = continual_models(trainer, pool, recipe, models=4, seed=2, folder=tmp_path)
    assert np.array_equal(first.weights, again.weights)
    assert not np.array_equal(first.weights, other.weights)
    assert len(list(tmp_path.glob("*.npz"))) == 2
