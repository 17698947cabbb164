"""Decisions of `evaluation` rest on fields: whatever the labels of an audit, the same is counted and warned of."""

import re
from pathlib import Path
from typing import Any

import pytest

from evaluation import audit_tables, figures
from evaluation.files import read_json, write_json
from evaluation.leakage import leakage_grid
from evaluation.run_folder import Run, read_run
from evaluation.verdict import banners

LABELS = ("game", "attack", "view", "target", "world", "name", "law", "channel")


def renamed(value: Any) -> Any:
    """A document in which every label says something else, unequal labels staying unequal."""
    if isinstance(value, list):
        return [renamed(one) for one in value]
    if isinstance(value, dict):
        return {
            key: f"random canaries, staged round, task 7, sum of {one} (control)" if key in LABELS else renamed(one)
            for key, one in value.items()
        }
    return value


def decided(run: Run) -> dict[str, Any]:
    """What a page makes of an audit, apart from the labels themselves."""
    return {
        "severe": [banner.severe for banner in banners(run)],
        "figures": figures.subjects(run),
        "stages": [line[1] for line in audit_tables.attacks(run).rows],
        "tasks": [line[2] for line in audit_tables.by_task(run).rows],
        "so": [line[3] for line in audit_tables.mechanism(run).rows],
        "matrix": leakage_grid(run),
        "void": [bar.void for bar in audit_tables.attack_bars(run)],
    }


@pytest.fixture
def audited(run_folder: Path) -> Path:
    path = run_folder / "attacks.json"
    document = read_json(path)
    one = document["outcomes"][0]
    document["outcomes"] += [
        {**one, "target": "the second", "task": 1},
        {**one, "target": "made to be found", "about": "canaries", "auc_low": 0.6},
        {**one, "target": "played anew", "about": "staged", "control": "without noise"},
    ]
    document["reconstructions"].append({**document["reconstructions"][0], "noise": "as ran", "clients": 5})
    document["probes"] = [{"name": "a", "noise": "as ran", "refused": None, "recovered": 1.0, "similarity": 1.0}]
    document["channels"] = [{"channel": "lengths", "measure": "bytes", "unaccounted": True, "least": 1, "largest": 2}]
    document["laws"] = [{"law": "one", "means": "two", "p_value": 0.0, "broken": True}]
    write_json(path, document)
    return run_folder


def test_labels_decide_nothing(audited: Path) -> None:
    before = decided(read_run(audited))
    write_json(audited / "attacks.json", renamed(read_json(audited / "attacks.json")))
    after = decided(read_run(audited))
    assert after == before
    assert {"canaries", "staged, no noise", "control", "the run"} == set(after["stages"])
    assert after["tasks"] == ["task 2 (class 2, class 3)"]


@pytest.mark.parametrize(
    ("field", "value"), [("about", "canaries"), ("task", 0), ("control", "positive"), ("void", True)]
)
def test_fields_decide(audited: Path, field: str, value: object) -> None:
    before = decided(read_run(audited))
    document = read_json(audited / "attacks.json")
    document["outcomes"][0][field] = value
    write_json(audited / "attacks.json", document)
    assert decided(read_run(audited)) != before


def test_no_module_looks_for_words_in_what_it_read() -> None:
    # What parses its own syntax may: names of files, SVG, TOML, the text of a study.
    own_syntax = {"canvas.py", "files.py", "strict_json.py"}
    looks = re.compile(r"\.(startswith|endswith|find|index)\(|\bre\.(match|search|compile|findall)\(")
    package = Path(figures.__file__).parent
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted(package.glob("*.py")) if path.name not in own_syntax
        for line in path.read_text(encoding="utf-8").splitlines()
        if looks.search(line) and "columns.index(" not in line and "svg.index(" not in line
    ]  # fmt: skip
    assert found == []


def test_an_audit_without_the_fields_says_that_it_is_older(audited: Path) -> None:
    assert not any("older version" in banner.text for banner in banners(read_run(audited)))
    document = read_json(audited / "attacks.json")
    del document["outcomes"][0]["about"]
    write_json(audited / "attacks.json", document)
    assert any("older version" in banner.text for banner in banners(read_run(audited)))
