"""Whole runs over deployed devices against the same runs in simulation."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from privacy import Ledger
from secure_fcl.config import Config
from secure_fcl.engines.deployed.folder import ServerFolder
from secure_fcl.engines.deployed.making import roles_of, write_folders
from secure_fcl.engines.deployed.rehearsal import deployed_federation, hosts_of
from secure_fcl.engines.parties import party_of
from secure_fcl.randomness import noise_secret
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted, Job
from secure_fcl.running.prepare import prepare, prepare_deployed
from secure_fcl.streams.public import PublicCalendar


class Deployment:
    """The folders of a deployment of a configuration, and a run over them."""

    def __init__(self, out: Path, config: Config) -> None:
        self.config, self.out = config, out
        self.simulated = prepare(config)
        self.noise_key = self.simulated.noise_key(noise_secret())
        roles = roles_of(plan for plan, _ in self.simulated.rows)
        scenario = self.simulated.scenario
        write_folders(out, config.model_copy(update={"engine": "tls"}), PublicCalendar.of(scenario), roles, scenario)
        for role in roles:
            # One process stands in for all helper parties.
            if role != "server":
                shutil.copy(out / role / f"{role}.key", out / "server")
        self.server = ServerFolder.read(out / "server")
        self.devices = [out / party_of(k) for k in range(scenario.clients)]

    def run(self, runs: Path, rounds: int = 1_000) -> Path:
        """Run, or go on with, at most so many rounds, each time with new hosts on the devices' folders."""
        prepared, path = prepare_deployed(self.server.config, self.server.scenario()), runs / "run"
        folder = RunFolder.existing(path) if path.exists() else RunFolder.create(runs, prepared.config, "run")
        asked = iter(range(1, rounds))
        hosts = hosts_of(self.devices, self.noise_key)
        try:
            with folder.locked():
                federation = deployed_federation(self.server, hosts)
                Job(prepared, folder, federation, stopped=lambda: next(asked, None) is None).run()
        except Interrupted:
            assert rounds < 1_000
        finally:
            for host in hosts.values():
                host.close()
        return folder.path


def records(path: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / name).read_text().splitlines()]


def rows_of(path: Path) -> Mapping[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((path / "certificate.json").read_text())["rows"]
    return found


DIFFER = {"engine", "code_supplied_by", "keys"}
"""Fields of a row's certificate in which engines differ; each run's own name is in the hash that ends its ledger."""

LOCAL = ('rows=["class_sums","replay"]', "protection=plain")
SHARED = ('rows=["replay","calm"]', "replay.noise=shared", "calm.noise=shared", "training.features=plain")


@pytest.mark.parametrize(
    "settings",
    [
        LOCAL,
        pytest.param((*SHARED, "protection=secagg"), marks=pytest.mark.slow),
        pytest.param((*SHARED, "protection=helper"), marks=pytest.mark.slow),
    ],
)
def test_a_run_over_deployed_devices_is_the_simulated_run(
    settings: tuple[str, ...], run_tiny: Callable[..., Any], make_config: Callable[..., Config], tmp_path: Path
) -> None:
    settings = (*settings, "replay_noise=true")
    simulated = run_tiny(*settings)
    deployment = Deployment(tmp_path / "out", make_config(*settings))
    path = deployment.run(tmp_path / "runs")
    assert (path / "metrics.jsonl").read_bytes() == simulated.metrics
    assert type(simulated)(path).digest() == simulated.digest()
    theirs = {row: simulated.certificate(row) for row in rows_of(path)}
    for row, ours in rows_of(path).items():
        assert ours["epsilon"] == theirs[row]["epsilon"]
        different = {key for key in ours.keys() | theirs[row].keys() if ours.get(key) != theirs[row].get(key)}
        assert different == DIFFER | {"ledger_head"}
        with Ledger(path / "ledger" / f"{row}.jsonl") as charged:
            whole = charged.spent()
        groups = deployment.simulated.scenario.groups
        for client, device in enumerate(deployment.devices):
            (own,) = (device / "state").glob(f"*/{row}/ledger.jsonl")
            with Ledger(own) as ledger:
                mine = {cohort: events for cohort, events in whole.items() if cohort.group == groups[client]}
                assert ledger.spent() == mine
                assert len(ledger) == len(charged)


def test_a_run_that_stops_after_every_second_round_goes_on_where_its_devices_are(
    run_tiny: Callable[..., Any], make_config: Callable[..., Config], tmp_path: Path
) -> None:
    settings = ('rows=["derpp","fedsi"]', "replay_noise=true", "protection=secagg")
    simulated = run_tiny(*settings)
    deployment = Deployment(tmp_path / "out", make_config(*settings))
    for _ in range(12):
        path = deployment.run(tmp_path / "runs", rounds=2)
        if (path / "certificate.json").exists():
            break
    assert (path / "metrics.jsonl").read_bytes() == simulated.metrics
    assert type(simulated)(path).digest() == simulated.digest()
    # No folder of a simulation, in which what devices hold would lie.
    assert sorted(each.name for each in path.iterdir() if each.is_dir()) == ["ledger", "model", "transcript"]
