import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from crypto import (
    Abort,
    Aggregate,
    Begin,
    Deadline,
    Plan,
    Upload,
    open_client,
    plan,
    plan_roles,
    run_round,
    set_up,
)
from crypto.errors import BackendMissing, PartyLost, PlanRefused
from crypto.keys.roster import Roster, make_identities
from crypto.running.processes import ProcessParty, child_environment, host_parties


def tiny(protocol: str = "plain", **change: object) -> Plan:
    made: dict[str, object] = {"clients": ("a", "b"), "uploads": (Upload(name="g", length=3, bound=10),), "rounds": 5}
    return plan(protocol, **(made | change))  # type: ignore[arg-type]


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("protocol", ["plain", "bfv"])
def test_roles_run_in_processes_of_their_own(protocol: str) -> None:
    made = tiny(protocol)
    with host_parties(made) as hosted:
        pids = {party.pid for party in hosted.parties.values()}
        assert tuple(hosted.parties) == plan_roles(made)
        assert len(pids | {os.getpid()}) == len(pids) + 1
        parties = {name: open_client(made, name) for name in made.clients} | hosted.parties
        set_up(parties)
        outcome = run_round(parties, 0, "g", {"a": np.array([1, 2, 3]), "b": np.array([-9, 0, 9])})
        assert isinstance(outcome, Aggregate)
        assert outcome.total.tolist() == [-8, 2, 12]
    assert not any(running(pid) for pid in pids)
    hosted.close()


def test_roles_read_their_own_identity_files(tmp_path: Path) -> None:
    names = ("a", "b", "server", "keyholder")
    identities = make_identities(names)
    files = {name: tmp_path / f"{name}.key" for name in names}
    for name in names:
        identities[name].save(files[name])
    made = tiny("bfv", roster=Roster.of(identities.values()))
    with host_parties(made, identities=files) as hosted:
        parties = {name: open_client(made, name, identity=identities[name]) for name in made.clients} | hosted.parties
        set_up(parties)
        outcome = run_round(parties, 0, "g", {"a": np.array([1, 2, 3]), "b": np.array([-9, 0, 9])})
        assert isinstance(outcome, Aggregate)
        assert outcome.total.tolist() == [-8, 2, 12]
    with host_parties(made, ("server",), {"server": files["keyholder"]}) as hosted, pytest.raises(PartyLost) as caught:
        set_up(hosted.parties)
    assert "needs its own identity" in str(caught.value)


def test_one_party_by_hand() -> None:
    made = tiny()
    party = ProcessParty(made, "server")
    try:
        assert party.receive(10) is None
        assert party.pending == 0
        party.send(Begin(0, "g"))
        for name in made.clients:
            for message in open_client(made, name).submit(0, "g", np.ones(3, dtype=np.int64)):
                party.send(message)
        outcome = party.receive(10)
        assert isinstance(outcome, Aggregate)
        assert outcome.total.tolist() == [2, 2, 2]
        assert party.receive(0.1) is None
        assert str(party.pid) in repr(party)
    finally:
        party.close()
    assert not party.alive
    with pytest.raises(PartyLost, match="was closed"):
        party.send(Begin(1, "g"))


def test_many_large_messages_do_not_jam_the_pipe() -> None:
    length = 60_000
    made = tiny(uploads=(Upload(name="g", length=length, bound=10),), rounds=40)
    party = ProcessParty(made, "server")
    try:
        clients = [open_client(made, name) for name in made.clients]
        for number in range(20):
            party.send(Begin(number, "g"))
            for client in clients:
                for message in client.submit(number, "g", np.ones(length, dtype=np.int64)):
                    party.send(message)
        outcomes = [party.receive(20) for _ in range(20)]
        assert all(isinstance(outcome, Aggregate) for outcome in outcomes)
        assert party.receive(5) is None
    finally:
        party.close()


def test_a_killed_party_is_reported_in_one_sentence() -> None:
    made = tiny("bfv")
    with host_parties(made) as hosted:
        parties = {name: open_client(made, name) for name in made.clients} | hosted.parties
        set_up(parties)
        os.kill(hosted.parties["keyholder"].pid, signal.SIGKILL)
        with pytest.raises(PartyLost) as caught:
            run_round(parties, 0, "g", dict.fromkeys(made.clients, np.ones(3, dtype=np.int64)))
        assert "keyholder" in str(caught.value)
        assert "-9" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_party_that_fails_is_quoted(capfd: pytest.CaptureFixture[str]) -> None:
    party = ProcessParty(tiny(), "server")
    try:
        party._channel.send_bytes(b"\x02 no message")
        party.collect()
        with pytest.raises(PartyLost, match=r"exit code 1: MessageError: unknown message tag 32"):
            party.collect()
    finally:
        party.close()
    assert capfd.readouterr().err == ""


def test_a_silent_party_times_out() -> None:
    party = ProcessParty(tiny(), "server")
    try:
        party.collect()
        os.kill(party.pid, signal.SIGSTOP)
        party.send(Deadline(0, "g"))
        assert party.receive(0.1) is None
        with pytest.raises(PartyLost, match="no answer within"):
            party.collect(0.1)
    finally:
        os.kill(party.pid, signal.SIGCONT)
        party.close()


def test_unknown_roles_and_a_lonely_computing_server_are_refused() -> None:
    with pytest.raises(PlanRefused):
        ProcessParty(tiny(), "keyholder")
    with pytest.raises(PlanRefused, match="rendezvous"):
        ProcessParty(tiny("mpc"), "compute0")
    with pytest.raises(PlanRefused):
        host_parties(tiny("bfv"), ("server", "nobody"))


def test_missing_crypten_names_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissing) as caught:
        host_parties(tiny("mpc"))
    assert "pip install omegaconf pyyaml" in str(caught.value)
    assert "pip install --no-deps crypten==0.4.1" in str(caught.value)


def test_a_file_named_crypto_in_the_working_folder_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crypto.py").write_text("raise SystemExit('the wrong crypto')")
    monkeypatch.chdir(tmp_path)
    party = ProcessParty(tiny(), "server")
    try:
        assert party.collect(20) == ()
    finally:
        party.close()


def test_children_end_when_the_parent_is_killed() -> None:
    program = (
        "import crypto, time\nfrom crypto.running.processes import host_parties\n"
        "p = crypto.plan('bfv', ('a', 'b'), (crypto.Upload(name='g', length=3, bound=10),), 1)\n"
        "h = host_parties(p)\nprint(*[x.pid for x in h.parties.values()], flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-P", "-c", program], stdout=subprocess.PIPE, text=True, env=child_environment()
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 15
    while any(running(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(running(pid) for pid in pids)


def test_what_a_hosted_helper_answered_is_in_its_journal(tmp_path: Path) -> None:
    loose = plan("helper", ("a", "b"), (Upload(name="g", length=3, bound=5),), rounds=2)
    own = make_identities((*loose.clients, *loose.roles))
    made = loose.pinned(Roster.of(own.values()))
    files = {role: tmp_path / f"{role}.key" for role in loose.roles}
    for role, file in files.items():
        own[role].save(file)
    journal = tmp_path / "helper.answers"
    for starts in (1, 2):
        with host_parties(made, identities=files, journals={"helper": journal}) as hosted:
            parties = {name: open_client(made, name, identity=own[name]) for name in made.clients} | hosted.parties
            set_up(parties)
            outcome = run_round(parties, 0, "g", dict.fromkeys(made.clients, np.ones(3, dtype=np.int64)))
        kinds = [line.split()[:-1] for line in journal.read_text().splitlines()]
        assert kinds.count(["helper", "start"]) == starts
        # The list of round 0 is answered once, whoever asks after a restart.
        assert kinds.count(["helper", "list"]) == 1
        assert isinstance(outcome, Aggregate if starts == 1 else Abort)
