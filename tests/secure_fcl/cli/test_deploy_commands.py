"""`secure-fcl deploy`: folders that belong together, and certificates that are renewed and revoked."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_fcl.cli.commands import app
from secure_fcl.config import dump_config
from secure_fcl.engines.deployed.folder import DeviceFolder, ServerFolder
from secure_fcl.engines.tls.certificates import read_certificate

run = CliRunner().invoke


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, make_config: Callable) -> Path:
    folder = tmp_path_factory.mktemp("deploy")
    (folder / "run.toml").write_text(dump_config(make_config('rows=["class_sums"]', "protection=helper")))
    done = run(app, ["deploy", str(folder / "out"), "--config", str(folder / "run.toml"), "--server", "10.0.0.1:7443"])
    assert done.exit_code == 0, done.output
    return folder / "out"


def test_every_party_has_a_folder_of_its_own(deployment: Path) -> None:
    server = ServerFolder.read(deployment / "server")
    assert len(server.scenario().test_indices()) > 0
    assert server.config.engine == "tls"
    devices = [DeviceFolder.read(deployment / f"client{k}") for k in range(5)]
    assert {device.digest for device in devices} == {server.digest}
    assert [device.client for device in devices] == [0, 1, 2, 3, 4]
    for name in ("server", "helper", *(device.name for device in devices)):
        folder = deployment / name
        # Nobody else's key, and nobody else's data.
        assert [path.name for path in folder.glob("*.key")] == [f"{name}.key"]
        assert [path.name for path in folder.glob("data/*")] == (
            ["test.npz"] if name == "server" else [] if name == "helper" else ["examples.npz"]
        )
        assert read_certificate((folder / "tls" / "cert.pem").read_bytes()).name == name
        for secret in (*folder.glob("*.key"), folder / "tls" / "key.pem", *folder.glob("data/*")):
            assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert not (deployment / "client0" / "authority").exists()


def test_every_party_is_started_by_a_service_a_container_and_a_command(deployment: Path) -> None:
    page, compose = (deployment / "README.md").read_text(), (deployment / "compose.yaml").read_text()
    for name in ("client0", "client4", "helper", "server"):
        unit = (deployment / name / "secure-fcl.service").read_text()
        assert "Restart=on-failure" in unit
        command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
        assert command.removeprefix("ExecStart=/usr/bin/env ") in page.splitlines()
        assert f"  {name}:\n" in compose
    assert "secure-fcl client --folder /srv/secure-fcl/client0 --server 10.0.0.1:7443\n" in page


def test_a_certificate_is_renewed_and_the_old_one_revoked(deployment: Path) -> None:
    certificate = deployment / "client1" / "tls" / "cert.pem"
    before = read_certificate(certificate.read_bytes())
    done = run(app, ["deploy", str(deployment), "--rotate", "client1"])
    assert done.exit_code == 0, done.output
    assert "the identity in client1.key stays" in done.output
    checked = run(app, ["deploy", str(deployment), "--check"])
    assert (checked.exit_code, checked.output.count(": well")) == (0, 7)
    both = run(app, ["deploy", str(deployment), "--check", "--rotate", "client1"])
    assert (both.exit_code, "give one alone" in both.output) == (2, True)
    after = read_certificate(certificate.read_bytes())
    assert after.name == "client1"
    assert after.serial != before.serial
    for name in ("server", "client0"):
        listed = json.loads((deployment / name / "revoked.json").read_text())
        assert listed["serials"] == [before.serial]
        assert listed["revoked"] == []
    # It is shut out by its serial alone: the party goes on.
    assert DeviceFolder.read(deployment / "client1").revoked() == frozenset()


def test_a_party_that_is_shut_out_is_on_every_list(deployment: Path) -> None:
    done = run(app, ["deploy", str(deployment), "--revoke", "client2"])
    assert done.exit_code == 0, done.output
    for name in ("server", "client0", "client2", "helper"):
        assert json.loads((deployment / name / "revoked.json").read_text())["revoked"] == ["client2"]
    again = run(app, ["deploy", str(deployment), "--revoke", "client2"])
    assert (again.exit_code, "revoked already" in again.output) == (2, True)
    assert run(app, ["deploy", str(deployment), "--revoke", "nobody"]).exit_code == 2


def test_a_deployment_is_never_overwritten_and_a_refused_one_leaves_nothing(deployment: Path, tmp_path: Path) -> None:
    words = [
        word for key in ("data.name=digits", "scenario.partition=iid", 'rows=["class_sums"]') for word in ("--set", key)
    ]
    assert "never overwritten" in run(app, ["deploy", str(deployment), *words]).output
    for wrong in (["--server", "nowhere"], ["--set", "privacy.max_dropouts=999"]):
        assert run(app, ["deploy", str(tmp_path / "out"), *wrong]).exit_code == 2
        assert list(tmp_path.iterdir()) == []


def test_data_that_are_on_the_devices_are_only_declared(make_config: Callable, tmp_path: Path) -> None:
    (tmp_path / "sizes.toml").write_text(
        'name = "mine"\nshape = [1, 8, 8]\nclasses = ["a", "b"]\nlargest_place = 50\nexamples = 90\nmost_of_one = 50\n'
    )
    config = make_config('rows=["class_sums"]', "scenario.partition=iid")
    (tmp_path / "run.toml").write_text(dump_config(config))
    words = ["deploy", str(tmp_path / "out"), "--config", str(tmp_path / "run.toml")]
    done = run(app, [*words, "--without-data", str(tmp_path / "sizes.toml")])
    assert done.exit_code == 0, done.output
    assert not list((tmp_path / "out").glob("*/data"))
    assert DeviceFolder.read(tmp_path / "out" / "client0").calendar.classes == ("a", "b")
