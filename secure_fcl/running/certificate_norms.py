"""What a certificate says of bounded norms: what is really enforced, and who was left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from crypto.planning.upload import Upload
from evaluation.files import read_jsonl
from secure_fcl.rows.row_plan import RowPlan


def norms_of(plan: RowPlan, folder: Path) -> dict[str, Any]:
    """Return the entry "norms" of a row whose norms are checked, else nothing; `folder`: of the run."""
    if not plan.bounds_norms:
        return {}
    enforced = [_enforced(upload, scale) for upload, scale in _checked(plan)]
    blamed = Counter(
        client
        for record in read_jsonl(folder / "cost.jsonl").records
        if record["row"] == plan.name
        for client in record.get("blamed", ())
    )
    found = ", ".join(f"client{client} of {count} sums" for client, count in sorted(blamed.items()))
    return {"norms": [*enforced, f"left out, for its norm or another fault: {found or 'nobody'}"]}


def _checked(plan: RowPlan) -> list[tuple[Upload, float]]:
    """Return each checked upload with the loosest bounds of any slot, and the integers of one unit."""
    scales = {wire.sent.name: wire.sent.scale for found in plan.wires.values() for wire in found}
    loosest: dict[str, Upload] = {}
    for slot in range(plan.scenario.slots):
        for upload in plan.secure_plan(slot).uploads:
            known = loosest.setdefault(upload.name, upload)
            if upload.noise_norm_bound > known.noise_norm_bound:
                loosest[upload.name] = upload
    return [(upload, scales[name]) for name, upload in loosest.items() if upload.norm_bound]


def _enforced(upload: Upload, scale: float) -> str:
    vector, noise = upload.norm_bound / scale, upload.noise_norm_bound / scale
    head = f"{upload.name}: every client's vector has an L2 norm of at most {vector:.4g}"
    if not upload.noise_norm_bound:
        return f"{head}, noise that it added itself included: a corrupt client moves a sum by no more"
    return (
        f"{head}, and its noise share, checked apart, one of at most {noise:.4g}: a corrupt client moves a sum by "
        f"up to both together, {vector + noise:.4g}"
    )
