"""Full disks: of the server, which ends with one sentence and goes on when there is room, and of a device."""

import errno
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from evaluation.errors import EvaluationError
from privacy import PrivacyError
from secure_fcl.config import Config
from secure_fcl.errors import SecureFclError
from secure_fcl.runner import verify
from tests.secure_fcl.engines.tls.conftest import until
from tests.secure_fcl.engines.tls.test_serving import Deployment, masked, served

REFUSED = (SecureFclError, EvaluationError, PrivacyError, OSError)
"""What a command ends on with one sentence."""


class FullDisk:
    """From the n-th time that something in a folder is forced to disk, there is no space left, for so many times."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, at: int, times: int) -> None:
        self._folder, self._at, self._times = str(folder), at, times
        self.seen, self._sync = 0, os.fsync
        patch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(self._folder):
            self.seen += 1
            if self._at <= self.seen < self._at + self._times:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sync(descriptor)


@pytest.mark.parametrize(("place", "at"), [("ledger", 1), ("", 4), ("", 9)])
def test_a_server_whose_disk_is_full_ends_with_one_sentence_and_goes_on(
    make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, at: int
) -> None:
    deployment = Deployment(tmp_path / "out", masked(make_config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = deployment.server(address=("127.0.0.1", port))
    with ExitStack() as stack:
        with monkeypatch.context() as patch:
            full = FullDisk(deployment.out / "server" / "run" / place, patch, at, 10**6)
            with served(server) as found:
                for name in deployment.clients:
                    stack.enter_context(deployment.device(name, port))
                assert until(lambda: bool(found), 60)
        assert full.seen >= at
        assert isinstance(found[0], REFUSED), found
        assert "No space left on device" in str(found[0])
        assert "\n" not in str(found[0])
        # There is room again, and the same command goes on; the devices dialled all the while.
        with served(deployment.server(address=("127.0.0.1", port))) as again:
            assert until(lambda: bool(again), 60)
    assert again == [server.run_path / "report.html"]
    assert not verify(server.run_path).misfits


def test_a_device_whose_disk_is_full_is_left_out_and_comes_back(
    make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = Deployment(tmp_path / "out", masked(make_config))
    with monkeypatch.context() as patch:
        full = FullDisk(deployment.out / "client1" / "state", patch, 12, 3)
        server = deployment.server()
        with served(server) as found, ExitStack() as stack:
            for name in deployment.clients:
                stack.enter_context(deployment.device(name, server.port))
            assert until(lambda: bool(found), 90)
    assert full.seen > 15
    assert found == [server.run_path / "report.html"]
    assert not verify(server.run_path).misfits
