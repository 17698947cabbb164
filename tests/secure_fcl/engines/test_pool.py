import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from secure_fcl.config import load_config
from secure_fcl.engines.commands import Close, Done, GiveHeld, Given, Identify, Open, Simulated
from secure_fcl.engines.pool import WorkerPool, available_cores
from secure_fcl.errors import WorkerLost

CLOSE = {"client0": Close(slot=0, state={})}


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(1, 1) as made:
        assert [answer.reply for answer in made.ask({"client0": Identify(folder=Path("keys"))})] == [Done()]
        yield made


def test_clients_are_shared_among_no_more_workers_than_clients() -> None:
    settings = ["data.name=digits", "scenario.partition=iid", "scenario.clients=4", "privacy.max_dropouts=1"]
    config = load_config(None, settings)
    with WorkerPool(2, 4) as pool:
        assert pool.parts == [["client0", "client2"], ["client1", "client3"]]
        assert pool.present() == ("client0", "client1", "client2", "client3")
        assert pool.processes == ()
        simulated = Simulated(noise_multiplier=1.0, charged=(), secret=None)
        ask = Open(row="class_sums", config=config, simulated=simulated)
        answers = list(pool.ask(dict.fromkeys(pool.present(), ask)))
        assert {a.party: a.reply for a in answers} == dict.fromkeys(pool.present(), Done())
        pids = pool.processes
        assert len(set(pids)) == 2
        assert os.getpid() not in pids
        # Only who is asked answers.
        held = {a.party: a.of(Given).arrays for a in pool.ask({"client2": GiveHeld(), "client1": GiveHeld()})}
        assert {party: list(arrays) for party, arrays in held.items()} == {"client1": ["held"], "client2": ["held"]}
        assert list(pool.ask({})) == []
        begun = time.monotonic()
        pool.close()
        pool.close()
        assert time.monotonic() - begun < 15
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert WorkerPool(3, 2).parts == [["client0"], ["client1"]]
    assert available_cores() >= 1


def test_every_client_has_one_worker() -> None:
    with WorkerPool(2, 7) as pool:
        assert sorted(k for share in pool.parts for k in share) == sorted(pool.present())
        assert max(map(len, pool.parts)) - min(map(len, pool.parts)) <= 1


def test_a_worker_that_is_gone_is_one_sentence() -> None:
    with WorkerPool(1, 1) as pool:
        list(pool.ask({"client0": Identify(folder=Path("keys"))}))
        os.kill(pool.processes[0], signal.SIGKILL)
        with pytest.raises(WorkerLost, match=r"exit code -9.*--resume") as caught:
            list(pool.ask(CLOSE))
    assert "\n" not in str(caught.value)


def test_what_goes_wrong_in_a_worker_is_said_and_its_trace_is_a_note(pool: WorkerPool) -> None:
    with pytest.raises(WorkerLost, match="a worker stopped with RuntimeError: no row is open") as caught:
        list(pool.ask(CLOSE))
    assert "\n" not in str(caught.value)
    assert "Traceback" in "".join(caught.value.__notes__)
    # The worker itself goes on.
    with pytest.raises(WorkerLost, match="no row is open"):
        list(pool.ask(CLOSE))


def test_who_is_silent_at_the_deadline_is_missing_and_its_late_answer_is_nobodys(pool: WorkerPool) -> None:
    (worker,) = pool.processes
    os.kill(worker, signal.SIGSTOP)
    begun = time.monotonic()
    assert list(pool.ask(CLOSE, deadline=0.2)) == []
    # A worker that owes an answer is not asked more; nothing piles up in front of it.
    assert list(pool.ask(CLOSE, deadline=0.2)) == []
    assert 0.4 <= time.monotonic() - begun < 10
    os.kill(worker, signal.SIGCONT)
    # The late answer was a failure; what is asked now is answered by itself.
    assert [a.reply for a in pool.ask({"client0": Identify(folder=Path("keys"))})] == [Done()]


def test_ctrl_c_is_the_parents(pool: WorkerPool) -> None:
    assert os.getpgid(pool.processes[0]) != os.getpgid(0)
