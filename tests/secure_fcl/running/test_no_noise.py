"""As epsilon grows, a row becomes what it is without noise."""

import json

import pytest

from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.strategies.entry import SumsEntry

SUMS = [name for name, entry in ENTRIES.items() if isinstance(entry, SumsEntry)]


@pytest.mark.slow
def test_a_huge_epsilon_is_no_noise(run_tiny) -> None:
    settings = ("scenario.partition=iid", f"rows={json.dumps(SUMS)}", "scenario.tasks=4", "privacy.max_dropouts=0")
    found = []
    for noise, epsilon in (("shared", "500"), ("none", "inf")):
        own = [f"{name}.{key}={value}" for name in SUMS for key, value in (("noise", noise), ("epsilon", epsilon))]
        records = run_tiny(*settings, *own).records("metrics.jsonl")
        found.append({record["row"]: record["micro"] for record in records if record["kind"] == "final"})
    assert found[0].keys() == set(SUMS)
    assert found[0] == pytest.approx(found[1], abs=0.02)
