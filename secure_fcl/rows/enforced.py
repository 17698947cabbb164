"""What bounds on norms really enforce: of a vector, of a share of noise, and of both together."""

from __future__ import annotations

from crypto.planning.upload import Upload
from secure_fcl.rows.row_plan import RowPlan


def enforced_norms(plan: RowPlan) -> tuple[str, ...]:
    """Return a sentence for each upload of a row whose norm is checked; none where none is."""
    if not plan.bounds_norms:
        return ()
    return tuple(_enforced(upload, scale) for upload, scale in _checked(plan))


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
