"""docs/how-to/deploy.md, copied and run: its three machines are three folders of this one."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "deploy.md"
LASTING = ("server", "party", "client")
"""Commands that stay."""


@pytest.mark.skipif(not PAGE.exists(), reason="not a checkout")
def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = PAGE.read_text(encoding="utf-8").replace("10.0.0.1:7443", f"127.0.0.1:{port}")
    text = text.replace("/srv/secure-fcl", "deployment")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S) for line in block.splitlines()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started: dict[str, subprocess.Popen[bytes]] = {}

    def run(words: list[str]) -> subprocess.CompletedProcess[str]:
        assert words[0] == "secure-fcl"
        return subprocess.run(
            [sys.executable, "-P", "-m", "secure_fcl", *words[1:]], cwd=tmp_path, env=environment, text=True,
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip

    begun = time.monotonic()
    try:
        for line in lines:
            words = shlex.split(line)
            if words[1] in LASTING:
                with (tmp_path / f"{len(started)}.log").open("wb") as log:
                    started[line] = subprocess.Popen(
                        [sys.executable, "-P", "-m", "secure_fcl", *words[1:]],
                        cwd=tmp_path, env=environment, stdout=log, stderr=log,
                    )  # fmt: skip
                continue
            if words[1] == "status":
                server = next(process for line, process in started.items() if " server " in line)
                assert server.wait(240) == 0, [path.read_text()[-2000:] for path in tmp_path.glob("*.log")]
            done = run(words)
            if "--listen" in words:
                # The server is gone; its parties dial on, and are found.
                assert "well" in done.stdout
            assert done.returncode == 0, done.stdout + done.stderr
            if words[1] == "status":
                assert "state: finished" in done.stdout
                assert "epsilon of class_sums" in done.stdout
        others = [process for line, process in started.items() if " server " not in line]
        assert len(others) == 5
        for process in others:
            process.send_signal(signal.SIGTERM)
        assert {process.wait(30) for process in others} == {0}
    finally:
        for process in started.values():
            process.kill()
            process.wait()
    assert (tmp_path / "deployment" / "server" / "run" / "report.html").is_file()
    assert time.monotonic() - begun < 600
