"""What a certificate says of bounded norms: what is really enforced, and who was left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from evaluation.files import read_jsonl
from secure_fcl.rows.enforced import enforced_norms
from secure_fcl.rows.row_plan import RowPlan


def norms_of(plan: RowPlan, folder: Path) -> dict[str, Any]:
    """Return the entry "norms" of a row whose norms are checked, else nothing; `folder`: of the run."""
    if not plan.bounds_norms:
        return {}
    blamed = Counter(
        client
        for record in read_jsonl(folder / "cost.jsonl").records
        if record["row"] == plan.name
        for client in record.get("blamed", ())
    )
    found = ", ".join(f"client{client} of {count} sums" for client, count in sorted(blamed.items()))
    return {"norms": [*enforced_norms(plan), f"left out, for its norm or another fault: {found or 'nobody'}"]}
