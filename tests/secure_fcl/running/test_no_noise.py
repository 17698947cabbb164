"""As epsilon grows, a row becomes what it is without noise."""

import json
from pathlib import Path

import numpy as np
import pytest

from secure_fcl.data import as_dataset, save_dataset
from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.strategies.entry import SumsEntry

SUMS = [name for name, entry in ENTRIES.items() if isinstance(entry, SumsEntry)]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 4,000 vectors in twelve dimensions, four classes, the first of which has seven in ten.

    So many for so few dimensions that the noise at epsilon 500 is none: on the digits it still costs streaming LDA
    two points. What the first class spreads along least the others spread along most, so a row that passes over the
    scatter of small tasks shows.
    """
    draw, size, width = np.random.default_rng(5), 4_000, 12
    turned = np.linalg.qr(draw.normal(size=(width, width)))[0]
    place = np.arange(size) % 10
    labels = np.where(place < 7, 0, place - 6)
    spread = np.geomspace(1.0, 0.1, width)
    means = np.concatenate([np.zeros((1, width)), 0.45 * draw.normal(size=(3, width))])
    x = draw.normal(size=(size, width)) * np.where(labels[:, None] == 0, spread, spread[::-1]) + means[labels]
    made = {"x": (x @ turned).astype(np.float32), "y": labels, "test": np.arange(size) // 10 % 5 == 0}
    folder = tmp_path_factory.mktemp("vectors") / "made"
    save_dataset(as_dataset(made, classes=[str(label) for label in range(4)]), folder)
    return folder


@pytest.mark.slow
def test_a_huge_epsilon_is_no_noise(run_tiny, vectors: Path) -> None:
    settings = (
        "data.source=folder", "data.name=", f"data.data_dir={vectors}", "scenario.partition=iid", "scenario.tasks=4",
        f"rows={json.dumps(SUMS)}", "privacy.max_dropouts=0", "storage.budget_kib=4096",
    )  # fmt: skip
    found = []
    for noise, epsilon in (("shared", "500"), ("none", "inf")):
        own = [f"{name}.{key}={value}" for name in SUMS for key, value in (("noise", noise), ("epsilon", epsilon))]
        records = run_tiny(*settings, *own).records("metrics.jsonl")
        found.append({record["row"]: record["micro"] for record in records if record["kind"] == "final"})
    assert found[0].keys() == set(SUMS)
    assert found[0] == pytest.approx(found[1], abs=0.02)
