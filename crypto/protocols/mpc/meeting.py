"""How the processes of CrypTen find one another: through a file named by its path, and only for so long.

CrypTen itself knows a rendezvous by URL, and torch takes the path of a file URL as it stands, quoted: in a folder
whose name quoting changes ("%", "#", "?", blanks) each process waits for a file that nobody writes. It also waits
half an hour for a process that never comes.
"""

from __future__ import annotations

import importlib
from datetime import timedelta
from pathlib import Path
from typing import Any

from crypto.errors import CryptoError

MEET_SECONDS = 60.0
#: For one exchange between the computing servers: both do the same work between two of them.
EXCHANGE_SECONDS = 600.0
#: The dealer hears nothing while clients train, so it waits; it ends with the first server, or with its own parent.
IDLE = timedelta(days=365)


def meet_through(communicator: Any, rendezvous: Path, rank: int, world: int, seconds: float = MEET_SECONDS) -> None:
    """Have CrypTen's `communicator`, the class, meet through this file when it is initialized next.

    `world`: computing servers; the dealer is one more, of that rank. Where they have not met within `seconds`,
    initializing ends with one sentence, a `CryptoError`.
    """

    def initialize(_rank: int, _world: int, init_ttp: bool = False) -> None:
        everyone = world + 1 if init_ttp else world
        try:
            communicator.instance = _joined(communicator, rendezvous, rank, (world, everyone), seconds)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise CryptoError(
                f"the {everyone} processes of CrypTen did not meet in {rendezvous.parent} within {seconds:g} s "
                f"({reason}); start them together, in a folder that all of them can write"
            ) from error

    communicator.initialize = initialize


def _joined(communicator: Any, rendezvous: Path, rank: int, worlds: tuple[int, int], seconds: float) -> Any:
    """Return the communicator of one process, as CrypTen's own constructor leaves it."""
    dist: Any = importlib.import_module("torch.distributed")
    (world, everyone), limit = worlds, timedelta(seconds=seconds)
    if not rendezvous.parent.is_dir():
        raise CryptoError("there is no such folder")
    store = dist.FileStore(str(rendezvous), everyone)
    store.set_timeout(limit)
    store.set(f"here {rank}", "")
    store.wait([f"here {other}" for other in range(everyone)], limit)
    dist.init_process_group(backend="gloo", store=store, rank=rank, world_size=everyone, timeout=limit)
    made = communicator.__new__(communicator)
    made.distributed_backend, made.rendezvous = "gloo", str(rendezvous)
    made.rank, made.world_size, made.ttp_initialized = rank, world, everyone > world
    made._name = f"rank{rank}"
    made.reset_communication_stats()
    made.ttp_group = dist.new_group(list(range(everyone)), timeout=IDLE)
    if everyone > 1:
        made.ttp_comm_group = dist.new_group([0, everyone - 1], timeout=IDLE)
    made.main_group = dist.new_group(list(range(world)), timeout=timedelta(seconds=EXCHANGE_SECONDS))
    return made
