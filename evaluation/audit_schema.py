"""The JSON schema of attacks.json, for programs that read it without knowing this one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KIND = "audit of a run"
FORMAT = 1
"""Version of attacks.json and of its schema. It rises when a field goes or changes its meaning, not when one comes."""

SCHEMA = Path(__file__).parent / "schemas" / f"attacks-{FORMAT}.json"


def attacks_schema() -> dict[str, Any]:
    """Return the schema of attacks.json (JSON Schema 2020-12), as it lies in the package.

    It allows more fields than it names, so that a reader of today reads a file of tomorrow with the same `format`.
    """
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found
