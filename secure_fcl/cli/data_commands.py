"""Commands for data of one's own; registered in `secure_fcl.cli.commands`."""

from __future__ import annotations

from pathlib import Path


def inspected(folder: Path) -> str:
    """Return what a folder holds by its data.toml, or the proposal of one.

    Raises:
        secure_fcl.data.DataError: what cannot be used, with file and row.
    """
    import numpy as np

    from secure_fcl.data.folder.inspect import propose
    from secure_fcl.data.folder.load import loaded
    from secure_fcl.data.folder.section import FILE

    if not (folder / FILE).is_file():
        return f"{propose(folder).text()}\n# Write it to {folder / FILE}, then inspect again.\n"
    found = loaded(folder)
    data = found.data
    counts = np.bincount(data.y, minlength=len(data.classes))
    lines = [
        repr(data),
        f"declared in {folder / FILE}: {len(data.classes)} classes, units {data.units!r}",
        f"clients: {len(data.clients) or 'of nobody'}; one reading lies in up to {data.windows_per_reading} examples",
        "read off the data (not private, print it nowhere else): "
        + ", ".join(f"{name} {count}" for name, count in zip(data.classes, counts, strict=True)),
        *(f"left out: {note}" for note in found.notes),
        f"use it: secure-fcl run --set data.source=folder --set data.data_dir={folder}"
        + (f" --set scenario.clients={len(data.clients)}" if data.clients else " --set scenario.partition=iid"),
    ]
    return "\n".join(lines) + "\n"
