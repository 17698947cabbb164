import os
import signal
import time
from pathlib import Path

import pytest

from secure_fcl.engines.pool import WorkerPool, available_cores
from secure_fcl.errors import WorkerLost


def test_clients_are_shared_among_no_more_workers_than_clients() -> None:
    with WorkerPool(3, 2) as pool:
        assert pool.shares == [[0], [1]]
        assert len(set(pool.pids)) == 2
        assert os.getpid() not in pool.pids
        pids = pool.pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert available_cores() >= 1


def test_every_client_has_one_worker() -> None:
    with WorkerPool(2, 7) as pool:
        assert sorted(k for share in pool.shares for k in share) == list(range(7))
        assert max(map(len, pool.shares)) - min(map(len, pool.shares)) <= 1


def test_a_worker_that_is_gone_is_one_sentence() -> None:
    with WorkerPool(1, 1) as pool:
        os.kill(pool.pids[0], signal.SIGKILL)
        with pytest.raises(WorkerLost, match=r"exit code -9.*--resume") as caught:
            list(pool.everyone({"do": "close", "slot": 0}))
        assert "\n" not in str(caught.value)


def test_what_goes_wrong_in_a_worker_is_said_and_its_trace_is_a_note() -> None:
    with WorkerPool(1, 1) as pool:
        with pytest.raises(WorkerLost, match="a worker stopped with RuntimeError: no row is open") as caught:
            list(pool.everyone({"do": "close", "slot": 0}))
        assert "\n" not in str(caught.value)
        assert "Traceback" in "".join(caught.value.__notes__)
        # The worker itself goes on.
        with pytest.raises(WorkerLost, match="no row is open"):
            list(pool.everyone({"do": "close", "slot": 0}))


def test_closing_twice_is_harmless_and_quick() -> None:
    pool = WorkerPool(1, 1)
    begun = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - begun < 15


def test_ctrl_c_is_the_parents() -> None:
    with WorkerPool(1, 1) as pool:
        assert os.getpgid(pool.pids[0]) != os.getpgid(0)
