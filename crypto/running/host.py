"""The program of a party that runs in a process of its own: `python -m crypto.running.host FD` (see
`crypto.running.processes`).

The socket FD first brings the set-up (plan, role, rendezvous file, identity file, journal file), then one item a frame;
every input is answered by one frame with the number of items and one frame for each. An empty frame or the end
of the stream ends the process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from crypto.errors import MessageError
from crypto.keys.roster import Identity
from crypto.opening import open_party
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Journal
from crypto.protocols.catalogue import entry_of
from crypto.protocols.entry import Group
from crypto.protocols.masks.errors import JournalError
from crypto.protocols.masks.journal import FileJournal
from crypto.protocols.plans import plan_from_bytes
from crypto.protocols.session import Session
from crypto.wire.messages import Begin, Deadline, Item, Message, decode, encode
from crypto.wire.values import unpack_value

COUNT_BYTES = 4
ORPHAN_CHECK_SECONDS = 1.0
STOP_SECONDS = 3.0
JOURNAL_SECONDS = ORPHAN_CHECK_SECONDS + STOP_SECONDS + 1.0


def main(descriptor: int) -> int:
    """Run one party until it is told to stop; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(descriptor)
    inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    stopped = threading.Event()
    threading.Thread(target=_read, args=(connection, inbox, stopped), daemon=True).start()
    try:
        return _serve(connection, inbox)
    except (BrokenPipeError, ConnectionResetError):
        return 0
    except Exception as error:
        # One line, and the last on stderr: the parent quotes it.
        print(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}", file=sys.stderr, flush=True)
        return 1
    finally:
        stopped.set()


def _read(
    connection: Connection[bytes, bytes], inbox: queue.SimpleQueue[bytes | None], stopped: threading.Event
) -> None:
    """Move frames to the inbox, so that the parent never waits to send; end the process if the parent is
    gone.
    """
    parent = os.getppid()
    try:
        while True:
            while not connection.poll(ORPHAN_CHECK_SECONDS):
                if os.getppid() != parent:
                    raise EOFError
            frame = connection.recv_bytes()
            if not frame:
                break
            inbox.put(frame)
    except (EOFError, OSError):
        pass
    inbox.put(None)
    if not stopped.wait(STOP_SECONDS):
        os._exit(1)


def _serve(connection: Connection[bytes, bytes], inbox: queue.SimpleQueue[bytes | None]) -> int:
    first = inbox.get()
    if first is None:
        return 0
    match unpack_value(first):
        case [bytes(plan), str(role), str(rendezvous), str(identity), str(journal)]:
            # The parent started this process: code that its plan names is the parent's to trust.
            session, group = _open(plan_from_bytes(plan, trust_code=True), role, rendezvous, identity, journal)
        case _:
            raise MessageError("the set-up of a hosted party is malformed")
    _answer(connection, session.start())
    while (frame := inbox.get()) is not None:
        item = decode(frame)
        _answer(connection, session.on(item) if isinstance(item, Message | Begin | Deadline) else ())
    if group is not None:
        group.close()
        # If the parent was killed, nobody else deletes the meeting place.
        Path(rendezvous).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            Path(rendezvous).parent.rmdir()
    return 0


def _open(
    plan: Plan, role: str, rendezvous: str, identity_file: str, journal_file: str
) -> tuple[Session, Group | None]:
    identity = Identity.load(Path(identity_file)) if identity_file else None
    meeting = entry_of(plan.protocol).meeting
    group = meeting.join(plan, role, Path(rendezvous)) if meeting is not None and rendezvous else None
    journal = _journal(Path(journal_file)) if journal_file else None
    return open_party(plan, role, opener=group, identity=identity, journal=journal), group


def _journal(path: Path) -> Journal:
    """Open a journal, which a process whose parent was killed may hold a little longer."""
    end = time.monotonic() + JOURNAL_SECONDS
    while True:
        try:
            return FileJournal(path)
        except JournalError:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def _answer(connection: Connection[bytes, bytes], items: tuple[Item, ...]) -> None:
    connection.send_bytes(len(items).to_bytes(COUNT_BYTES, "big"))
    for item in items:
        connection.send_bytes(encode(item))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
