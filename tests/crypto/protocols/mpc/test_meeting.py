"""How the processes of "mpc" meet and end, with the real CrypTen. Each start costs 1 to 3 s."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from crypto import Aggregate, Upload, open_client, plan, run_round, set_up
from crypto.planning.plans import Plan
from crypto.running.processes import child_environment, host_parties


def normed() -> Plan:
    """A plan with a dealer, so that all four helpers run."""
    return plan("mpc", ("a", "b"), (Upload(name="g", length=5, bound=100, norm_bound=200),), 2)


def test_they_meet_in_a_folder_that_a_url_would_quote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a%20b #1? 100% ö"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    made = normed()
    with host_parties(made) as hosted:
        assert hosted._meeting_place().is_relative_to(place)
        parties = {name: open_client(made, name) for name in made.clients} | hosted.parties
        set_up(parties, timeout=60)
        outcome = run_round(parties, 0, "g", dict.fromkeys(made.clients, np.full(5, 7)), timeout=60)
    assert isinstance(outcome, Aggregate)
    assert outcome.total.tolist() == [14] * 5
    assert not any(place.iterdir())


ALONE = """
import sys
from pathlib import Path
from crypto.errors import CryptoError
from crypto.protocols.mpc import crypten_backend, meeting
from functools import partial
crypten_backend.meet_through = partial(meeting.meet_through, seconds=1.0)
try:
    crypten_backend.CrypTenGroup(0, 2, Path(sys.argv[1]))
except CryptoError as error:
    print(error)
"""


@pytest.mark.parametrize("place", ["meet", "no such folder/meet"])
def test_who_waits_for_nobody_says_so_in_one_sentence_and_soon(tmp_path: Path, place: str) -> None:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-P", "-c", ALONE, str(tmp_path / place)],
        capture_output=True, text=True, env=child_environment(), timeout=60, check=False,
    )  # fmt: skip
    (said,) = done.stdout.splitlines()
    assert said.startswith("the 2 processes of CrypTen did not meet in ")
    assert "within 1 s" in said
    assert said.endswith("start them together, in a folder that all of them can write")
    assert time.monotonic() - begun < 30


RUN = """
import sys, time
from crypto.protocols.plans import plan_from_bytes
from crypto import open_client, set_up
from crypto.running.processes import host_parties
made = plan_from_bytes(bytes.fromhex(sys.argv[1]))
hosted = host_parties(made)
print(*(party.pid for party in hosted.parties.values()), flush=True)
if sys.argv[2] == "met":
    set_up({name: open_client(made, name) for name in made.clients} | hosted.parties)
    print("met", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("when", ["starting", "met"])
def test_a_killed_run_leaves_no_helper_alive(when: str, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", RUN, normed().to_bytes().hex(), when]
    environment = {**child_environment(), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout is not None
        helpers = [int(number) for number in run.stdout.readline().split()]
        assert len(helpers) == 4
        if when == "met":
            assert run.stdout.readline() == "met\n"
        assert all(map(alive, helpers))
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    end = time.monotonic() + 20
    while any(map(alive, helpers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(alive, helpers))
    if when == "met":
        assert not any(tmp_path.iterdir())


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody has waited for is dead, and answers to signal 0.
    status = Path(f"/proc/{number}/stat")
    return not status.is_file() or status.read_text().rpartition(")")[2].split()[0] != "Z"
