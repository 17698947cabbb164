"""Flower's own commands, each in an environment of this run alone: no telemetry, no look for updates, no installing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crypto.running.processes import child_environment
from secure_fcl.errors import CarrierLost
from secure_fcl.references import environment

STOP_SECONDS = 10.0
COMMAND_SECONDS = 120.0
OFF: Mapping[str, str] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Variables that keep Flower, and Ray beneath its simulation, from calling home and from installing packages."""
QUICK: Mapping[str, str] = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2"}
"""How often Flower looks whether to start an app's process, in seconds: every second, otherwise."""


def flower_environment(home: Path) -> dict[str, str]:
    """Return the environment of every process of Flower; `home` is its folder for settings and applications."""
    paths = [sysconfig.get_path("scripts"), os.environ.get("PATH", "")]
    return {
        **child_environment(),
        **environment(),
        **OFF,
        **QUICK,
        "FLWR_HOME": str(home),
        "PATH": os.pathsep.join(paths),
    }


@dataclass(frozen=True, kw_only=True)
class Flower:
    """Runs Flower's commands for one SuperLink.

    Attributes:
        home: see `flower_environment`; `configure` names the SuperLink in it.
        logs: folder of one file for each process.
    """

    home: Path
    logs: Path

    def configure(self, address: str, root: Path | None) -> None:
        """Name the SuperLink that `call` is about; `root`: what vouches for it, None without TLS."""
        tls = "insecure = true" if root is None else f"root-certificates = {json.dumps(str(root))}"
        self.home.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        text = f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = {json.dumps(address)}\n{tls}\n'
        (self.home / "config.toml").write_text(text)

    def call(self, *arguments: str) -> dict[str, Any]:
        """Run one `flwr` command to its end, and return what it says as JSON.

        Raises:
            CarrierLost: it failed; names its last line.
        """
        command = ["flwr", *arguments, "--format", "json"]
        try:
            done = subprocess.run(
                command, env=flower_environment(self.home), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=COMMAND_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CarrierLost(
                f"flwr {arguments[0]} did not run ({type(error).__name__}); is Flower installed?"
            ) from error
        found = _json_of(done.stdout)
        if done.returncode or not found.get("success", False):
            last = _last_line(done.stdout + done.stderr) or f"exit code {done.returncode}"
            why = " ".join(str(found.get("error-message") or last).split())
            raise CarrierLost(f"flwr {arguments[0]} failed: {why[:300]}")
        return found

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a process that stays, with a log of its own name."""
        with (self.logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, env=flower_environment(self.home), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                process_group=0,
            )  # fmt: skip


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes, all at once and politely first."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    limit = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(timeout=max(0.1, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_listening(port: int, process: subprocess.Popen[bytes], log: Path, seconds: float = 60.0) -> None:
    """Wait until a process listens on a port of this machine.

    Raises:
        CarrierLost: it ended, or does not listen in time.
    """
    limit = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < limit:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    code = process.poll()
    why = f"does not listen after {seconds:g} s" if code is None else f"ended with code {code}"
    raise CarrierLost(f"{log.stem} {why}: {_last_line(log.read_text(errors='replace')) or 'its log is empty'}")


def free_port() -> int:
    """Return a port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _json_of(text: str) -> dict[str, Any]:
    """Return the JSON object in what a command printed, which may have lines of other text before it."""
    start = text.find("{")
    try:
        found = json.loads(text[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
