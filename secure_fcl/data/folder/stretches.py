"""Stretches of one recording and one label, their windows, and the data set that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from secure_fcl.data.arrays import check_halves
from secure_fcl.data.catalogue import NAMES
from secure_fcl.data.dataset import NO_CLIENT, Dataset, Floats
from secure_fcl.data.errors import DataDamaged, DataRefused
from secure_fcl.data.folder.section import FolderSection
from secure_fcl.data.split import falls_to_test


@dataclass(frozen=True, eq=False, kw_only=True)
class Stretch:
    """Consecutive examples of one client, recording and label; no reading of it lies in another stretch.

    Attributes:
        client: "" for nobody.
        recording: public name inside the client.
        part: number inside the recording.
        x: float32 (m, ...), in time order.
        label: position in the label set.
        test: whether the folder says that it is for testing; None: the declared rule decides.
    """

    client: str
    recording: str
    part: int = 0
    x: Floats
    label: int
    test: bool | None = None


def windows(signal: Floats, window: int, step: int) -> Floats:
    """Return the windows (m, channels, window) of readings (t, channels), each `step` after the one before."""
    if len(signal) < window:
        return np.empty((0, signal.shape[1], window), dtype=np.float32)
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(signal, window, axis=0)[::step])


def data_set_name(section: FolderSection, folder_name: str) -> str:
    """Return what the data set of a folder is called; never a name of those that come with the program.

    Raises:
        DataRefused: data.toml gives it the name of one of those.
    """
    if section.name in NAMES:
        raise DataRefused(f"name = {section.name!r} in data.toml is a published data set's; give this one another")
    return section.name or f"folder {folder_name}"


def assemble(
    section: FolderSection, name: str, stretches: Sequence[Stretch], clients: Sequence[str], units: str
) -> Dataset:
    """Return the data set of stretches.

    Args:
        section: what is declared.
        name: of the data set.
        stretches: in the order in which their examples shall stand.
        clients: everybody who has a file, also one without a stretch; empty where examples belong to nobody.
        units: where none are declared.

    Raises:
        DataRefused: no example, a client or recording that is named in data.toml and not there, or an empty half.
    """
    names = section.clients or tuple(sorted(clients))
    for client in clients:
        if client not in names:
            raise DataRefused(f"client {client!r} is not one of clients = {list(names)}; declare it, or move it out")
    _check_named(section, stretches, names)
    if not sum(len(one.x) for one in stretches):
        raise DataRefused(f"data set {name!r} has no example; give files with at least one whole window or image")
    place = {client: number for number, client in enumerate(names)}
    counts = [len(one.x) for one in stretches]
    test = np.repeat(np.array([_falls(section, one) for one in stretches], dtype=np.bool_), counts)
    sessions = _sessions(stretches)
    check_halves(~test, test)
    run = np.repeat(np.arange(len(counts)), counts)
    try:
        return Dataset(
            name=name,
            x=np.concatenate([one.x for one in stretches]),
            y=np.repeat(np.array([one.label for one in stretches], dtype=np.int64), counts),
            client=np.repeat(np.array([place.get(s.client, NO_CLIENT) for s in stretches], dtype=np.int64), counts),
            session=np.repeat(np.array(sessions, dtype=np.int64), counts),
            run=run,
            position=np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts),
            train=~test,
            test=test,
            classes=section.classes,
            units=section.units or units,
            windows_per_reading=section.per_reading,
            source=section.source,
            client_names=names,
        )
    except DataDamaged as error:
        raise DataRefused(str(error)) from error


def _falls(section: FolderSection, one: Stretch) -> bool:
    if one.test is not None:
        return one.test
    name = f"{one.client}/{one.recording}"
    if one.client in section.test_clients or name in section.test_recordings:
        return True
    return falls_to_test(f"{name}/{one.part}" if section.test_by == "stretch" else name, section.test_share)


def _sessions(stretches: Sequence[Stretch]) -> list[int]:
    """Number the recordings of each client from 0, in the order in which they come."""
    known: dict[str, dict[str, int]] = {}
    return [known.setdefault(s.client, {}).setdefault(s.recording, len(known[s.client])) for s in stretches]


def _check_named(section: FolderSection, stretches: Sequence[Stretch], names: Sequence[str]) -> None:
    for client in section.test_clients:
        if client not in names:
            raise DataRefused(
                f"test_clients names {client!r}, and the clients are {', '.join(names) or 'nobody'}; mend it"
            )
    there = {f"{one.client}/{one.recording}" for one in stretches}
    for recording in section.test_recordings:
        if recording not in there:
            shown = ", ".join(sorted(there)[:6])
            raise DataRefused(f"test_recordings names {recording!r}, and there are {shown}; mend it")
