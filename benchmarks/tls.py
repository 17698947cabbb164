"""`python -m benchmarks.tls`: rounds per second of devices behind TLS, against the same hosts called in one process.

Each device is the deployed one, with its files and claims: in a process of its own behind TLS, or all of them one after
the other in the process of the run. One step of small batches a round, so that what is measured is the carrier and the
secure sum and not the training.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from secure_fcl.config import load_config
from secure_fcl.engines.deployed.folder import ServerFolder
from secure_fcl.engines.deployed.making import roles_of, write_folders
from secure_fcl.engines.deployed.rehearsal import deployed_federation, hosts_of
from secure_fcl.engines.tls.certificates import make_ca, make_certificate, write_tls_files
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Job
from secure_fcl.running.prepare import prepare, prepare_deployed
from secure_fcl.serving import Server, Serving, open_run
from secure_fcl.streams.public import PublicCalendar


def settings_of(clients: int, protection: str, rounds: int) -> list[str]:
    return [
        "data.name=hapt", f"scenario.clients={clients}", "scenario.tasks=2", 'rows=["finetune"]',
        "attacks.enabled=false",
        "privacy.max_dropouts=1", f"training.rounds={rounds}", "training.steps=1",
        "training.q_current=0.01", f"protection={protection}",
    ]  # fmt: skip


def deployment(out: Path, settings: list[str]) -> tuple[ServerFolder, list[Path], int]:
    """Make the folders; return the server's, the devices', and the entries of the upload."""
    config = load_config(None, settings)
    made = prepare(config)
    roles = roles_of(plan for plan, _ in made.rows)
    folders = write_folders(
        out, config.model_copy(update={"engine": "tls"}), PublicCalendar.of(made.scenario), roles, made.scenario
    )
    ca = make_ca()
    for folder in folders:
        write_tls_files(folder / "tls", ca.certificate, make_certificate(ca, folder.name))
    length = max(upload.length for upload in made.rows[0][0].secure_plan().uploads)
    return ServerFolder.read(out / "server"), [folder for folder in folders if folder.name not in roles], length


def walls(run: Path) -> list[float]:
    """Seconds of every round but the first, which starts processes and imports."""
    costs = [json.loads(line) for line in (run / "cost.jsonl").read_text().splitlines()]
    return [float(cost["wall"]) for cost in costs if "wall" in cost][1:]


def in_one_process(out: Path, settings: list[str]) -> list[float]:
    server, devices, _ = deployment(out, settings)
    prepared, _ = open_run(server)
    prepared = prepare_deployed(prepared.config, server.scenario())
    folder = RunFolder.create(out, prepared.config, "run")
    Job(prepared, folder, deployed_federation(server, hosts_of(devices))).run()
    return walls(folder.path)


def over_tls(out: Path, settings: list[str]) -> list[float]:
    server, devices, _ = deployment(out, settings)
    processes: list[subprocess.Popen[bytes]] = []

    def say(_text: str) -> None:
        # The server says first whom it waits for: it listens.
        if processes:
            return
        at = f"127.0.0.1:{serves.port}"
        for place in devices:
            command = [sys.executable, "-P", "-m", "secure_fcl", "client", "--folder", str(place), "--server", at]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment))

    serves = Server(server, Serving(address=("127.0.0.1", 0), patience=120.0), say)
    try:
        serves.run()
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    return walls(serves.run_path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--protections", nargs="*", default=["plain", "secagg"])
    given = parser.parse_args()
    print("| protection | entries | in one process, s a round | over TLS, s a round | ratio |\n|---|---|---|---|---|")
    for protection in given.protections:
        settings = settings_of(given.clients, protection, given.rounds)
        with tempfile.TemporaryDirectory() as place:
            _, _, length = deployment(Path(place) / "sizes", settings)
            near = statistics.median(in_one_process(Path(place) / "near", settings))
            far = statistics.median(over_tls(Path(place) / "far", settings))
        print(f"| {protection} | {length} | {near:.3f} | {far:.3f} | {far / near:.2f} |", flush=True)


if __name__ == "__main__":
    main()
