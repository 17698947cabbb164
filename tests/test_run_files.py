"""docs/files.md against a real run: every file of the folder and every field of its records is described there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from evaluation.files import read_json, read_jsonl
from secure_fcl.config import load_config
from secure_fcl.runner import execute, start

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).parent.parent / "docs" / "files.md").read_text(encoding="utf-8")
SETTINGS = (
    "data.name=digits", "scenario.partition=iid", "scenario.clients=4", "scenario.tasks=2", "training.rounds=2",
    "protection=plain", "workers=1", 'rows=["replay", "class_sums"]', "attacks.inversion_steps=2", "attacks.targets=2",
    "memory.capacity=200", "privacy.max_dropouts=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prepared, run = start(load_config(None, SETTINGS), tmp_path_factory.mktemp("runs"), "documented")
    execute(prepared, run)
    return run.path


def described() -> list[re.Pattern[str]]:
    """The first cells of the tables of files, `<...>` standing for anything but a slash."""
    names = re.findall(r"`([^`\s]+)`", "\n".join(re.findall(r"^\| (`.+?) \|", PAGE, re.MULTILINE)))
    return [re.compile(re.sub(r"<\\?\w[\w\\ ]*>", "[^/]+", re.escape(n).replace(r"\<", "<"))) for n in names]


def test_every_file_is_described(folder: Path) -> None:
    patterns = described()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix().removeprefix("simulation/")
            assert any(pattern.fullmatch(name) for pattern in patterns), f"docs/files.md does not describe {name}"


def fields(value: Any) -> set[str]:
    """Names of fields at any depth, but not those of tables keyed by class, client or row."""
    if isinstance(value, list):
        return set().union(*map(fields, value))
    if not isinstance(value, dict):
        return set()
    keyed = {"per_class", "per_client", "packages", "versions", "storage", "delta_parts", "rows", "event"}
    inner = (set().union(*map(fields, v.values())) if k == "rows" else set() if k in keyed else fields(v)
             for k, v in value.items())  # fmt: skip
    return set(value).union(*inner)


@pytest.mark.parametrize("name", ["metrics.jsonl", "cost.jsonl", "ledger/replay.jsonl"])
def test_every_field_of_the_records_is_described(folder: Path, name: str) -> None:
    found = set().union(*(fields(record) for record in read_jsonl(folder / name).records))
    assert {field for field in found if f"`{field}`" not in PAGE} == set()


@pytest.mark.parametrize("name", ["certificate.json", "attacks.json", "state.json"])
def test_every_field_of_the_documents_is_described(folder: Path, name: str) -> None:
    document = read_json(folder / name)
    assert json.dumps(document) != "{}"
    assert {field for field in fields(document) if f"`{field}`" not in PAGE} == set()
