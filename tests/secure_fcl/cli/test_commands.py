import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_fcl.cli.commands import app
from secure_fcl.config import load_config

# Killed runs repeat a round; without room for it their cohorts would be retired at the end.
ROWS = ('rows=["replay","class_sums"]', "replay_noise=true", "privacy.spare_rounds=2")
QUICK = ('rows=["class_sums"]',)


@pytest.fixture
def invoke(tmp_path: Path, tiny_settings: tuple[str, ...]) -> Callable[..., tuple[int, str, str]]:
    """`invoke(*settings)`: `secure-fcl run` in this process with the tiny settings; exit code, stdout, stderr."""

    def run(*settings: str, extra: tuple[str, ...] = ()) -> tuple[int, str, str]:
        arguments = ["run", "--runs", str(tmp_path / "runs"), "--name", "run", *extra]
        for setting in (*tiny_settings, *QUICK, *settings):
            arguments += ["--set", setting]
        result = CliRunner().invoke(app, arguments)
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("training.rounds=0", "training.rounds = 0"),
        ("trainig.rounds=1", "unknown configuration key 'trainig'"),
        ("class_sums.epsilon=1e-4", "cannot be reached"),
        ("storage.budget_kib=1", "storage.budget_kib = 1"),
        ("privacy.max_dropouts=4", "privacy.max_dropouts = 4"),
        ("scenario.tasks=11", "scenario.tasks = 11"),
        ("scenario.clients=1", "privacy.max_dropouts"),
        ("data.name=nothing", "'nothing'"),
        ("device=quantum", "device = 'quantum'"),
    ],
)
def test_what_cannot_run_is_one_sentence_and_leaves_nothing(
    invoke: Callable[..., tuple[int, str, str]], tmp_path: Path, setting: str, named: str
) -> None:
    code, _, stderr = invoke(setting)
    assert code == 2
    assert named in stderr
    assert stderr.startswith("secure-fcl: ")
    assert stderr.strip().count("\n") == 0
    assert not (tmp_path / "runs").exists()


def test_a_damaged_data_file(
    invoke: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import secure_fcl.data.hapt as hapt

    copy = tmp_path / "hapt.npz"
    content = bytearray(hapt.PATH.read_bytes())
    content[1_000_000] ^= 1
    copy.write_bytes(content)
    monkeypatch.setattr(hapt, "PATH", copy)
    code, _, stderr = invoke("data.name=hapt", "scenario.partition=natural")
    assert code == 2
    assert "is damaged: sha256" in stderr
    assert not (tmp_path / "runs").exists()


def test_absent_data_is_one_sentence_that_names_every_folder(
    invoke: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SECURE_FCL_DATA", str(tmp_path / "variable"))
    code, _, stderr = invoke("data.name=mnist", f"data.data_dir={tmp_path / 'given'}")
    assert code == 2
    for folder in ("given", "variable", "home/.cache/secure-fcl"):
        assert f"{tmp_path / folder}/MNIST/raw" in stderr
    assert "train-images-idx3-ubyte" in stderr
    assert len(stderr.splitlines()) == 1
    assert "secure-fcl data fetch mnist" in stderr


@pytest.mark.parametrize(("protection", "module"), [("bfv", "tenseal"), ("mpc", "crypten")])
def test_an_absent_backend(
    invoke: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protection: str,
    module: str,
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == module else real(n, *a))
    monkeypatch.setitem(sys.modules, module, None)
    code, _, stderr = invoke(f"protection={protection}")
    assert code == 2
    assert "pip install" in stderr
    assert not (tmp_path / "runs").exists()


def test_a_run_folder_that_exists_or_is_in_use(
    invoke: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    reference,  # type: ignore[no-untyped-def]
) -> None:
    from secure_fcl.running.folder import RunFolder

    (tmp_path / "runs" / "run").mkdir(parents=True)
    (tmp_path / "runs" / "run" / "mine").write_text("")
    code, _, stderr = invoke()
    assert (code, "exists; choose another --name" in stderr) == (2, True)
    copy = tmp_path / "copy"
    shutil.copytree(reference.path, copy)
    with RunFolder.existing(copy).locked():
        # The lock is another process's: this one would be let in again.
        done = run_cli("run", "--resume", str(copy))
    assert done.returncode == 2
    assert "in use by another process" in done.stderr
    code = CliRunner().invoke(app, ["run", "--resume", str(tmp_path)]).exit_code
    assert code == 2
    result = CliRunner().invoke(app, ["run", "--resume", str(copy), "--set", "seed=3"])
    assert (result.exit_code, "leave the other options out" in result.stderr) == (2, True)


@pytest.mark.parametrize("calls", [1, 6, 14])
def test_a_full_disk_is_one_sentence_and_resumable(
    invoke: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    left = [calls]
    real = os.fsync

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, _, stderr = invoke("replay_noise=true")
    assert left[0] <= 0
    assert code == 2
    assert "No space left on device" in stderr
    assert stderr.strip().count("\n") == 0
    runs = tmp_path / "runs"
    assert not list(runs.rglob("*.tmp"))
    if not (runs / "run").exists():
        assert list(runs.iterdir()) == []
        return
    result = CliRunner().invoke(app, ["run", "--resume", str(runs / "run")])
    assert result.exit_code == 0
    kinds = [json.loads(line)["kind"] for line in (runs / "run" / "metrics.jsonl").read_text().splitlines()]
    assert kinds == ["round", "task", "round", "task", "final"]
    assert (runs / "run" / "report.html").stat().st_size > 1000


def test_a_run_from_start_to_report(invoke: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, stdout, stderr = invoke()
    assert (code, stderr) == (0, "")
    assert "class_sums" in stdout
    folder = tmp_path / "runs" / "run"
    assert f"report: {folder / 'report.html'}" in stdout
    assert load_config(folder / "config.toml").rows == ("class_sums",)
    for name in ("certificate.json", "certificate.txt", "cost.jsonl", "environment.json", "ledger/class_sums.jsonl",
                 "metrics.jsonl", "model/class_sums.npz", "report.html"):  # fmt: skip
        assert (folder / name).stat().st_size > 0
    (folder / "report.html").unlink()
    assert CliRunner().invoke(app, ["report", str(folder)]).exit_code == 0
    assert (folder / "report.html").exists()
    result = CliRunner().invoke(app, ["audit", str(folder)])
    # It has no row that trains a network: what it released is attacked.
    assert (result.exit_code, "attack: sums of class_sums" in result.stdout) == (0, True)
    assert json.loads((folder / "attacks.json").read_text())["sums"][0]["row"] == "class_sums"


def test_config_prints_what_it_reads(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["config", "--set", "seed=7"])
    assert result.exit_code == 0
    path = tmp_path / "config.toml"
    path.write_text(result.stdout)
    assert load_config(path) == load_config(None, ["seed=7"])
    again = CliRunner().invoke(app, ["config", str(path)])
    assert again.stdout == result.stdout


def test_data_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SECURE_FCL_DATA", raising=False)
    assert "hapt" in CliRunner().invoke(app, ["data", "list"]).stdout
    assert CliRunner().invoke(app, ["data", "verify", "hapt"]).exit_code == 0
    assert CliRunner().invoke(app, ["data", "verify", "mnist"]).exit_code == 2
    assert CliRunner().invoke(app, ["data", "verify", "nothing"]).exit_code == 2
    assert "part of the installation" in CliRunner().invoke(app, ["data", "fetch", "hapt"]).stdout


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "secure_fcl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom secure_fcl.cli.commands import app\n"
        "codes = [CliRunner().invoke(app, [*c, '--help']).exit_code for c in ([], ['run'], ['data'], ['study'])]\n"
        "print(codes, sorted({'torch', 'opacus', 'numpy', 'scipy', 'tenseal', 'secure_fcl.config'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "[0, 0, 0, 0] []"


def test_exit_codes_of_the_program() -> None:
    assert run_cli("--help").returncode == 0
    done = run_cli("run", "--set", "seed=x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("secure-fcl: configuration seed = 'x'")
    assert run_cli("nothing").returncode == 2


class Started:
    """`secure-fcl run` as a process group of its own, as a terminal would start it."""

    def __init__(self, folder: Path, settings: tuple[str, ...]) -> None:
        self.folder = folder
        options = [part for setting in settings for part in ("--set", setting)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "secure_fcl", "run", "--runs", str(folder.parent), "--name", folder.name, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            # A test run in the background inherits an ignored SIGINT, which a user's terminal never hands on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def records(self) -> int:
        path = self.folder / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def has_worker(self) -> bool:
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any(b"secure_fcl.engines.worker" in Path(f"/proc/{c}/cmdline").read_bytes() for c in children)

    def wait_for(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + 90
        while not ready():
            assert self.process.poll() is None, self.process.stderr
            assert time.monotonic() < end
            time.sleep(0.005)

    def finish(self) -> tuple[int, str, str]:
        stdout, stderr = self.process.communicate(timeout=90)
        return self.process.returncode, stdout, stderr

    def children(self) -> list[int]:
        found = []
        for path in (self.folder / "simulation").glob("processes-*.json"):
            pids = json.loads(path.read_text())
            found += pids.pop("workers")
            found += [pid for name, pid in pids.items() if name != "run"]
        return found


def gone(pids: list[int]) -> bool:
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            return False
    return True


def charges(folder: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in (folder / "ledger").glob("*.jsonl"))


def check_killed_run(folder: Path, settings: tuple[str, ...], records: int, metrics: bytes) -> None:
    started = Started(folder, settings)
    started.wait_for(lambda: started.records() >= records)
    pids = started.children()
    assert pids
    started.process.kill()
    assert started.finish()[0] == -signal.SIGKILL
    end = time.monotonic() + 20
    while not gone(pids):
        assert time.monotonic() < end, "a worker or helper outlives its parent"
        time.sleep(0.05)
    result = CliRunner().invoke(app, ["run", "--resume", str(folder)])
    assert result.exit_code == 0, result.output
    assert (folder / "metrics.jsonl").read_bytes() == metrics
    assert 6 <= charges(folder) <= 7


def test_a_killed_run_is_resumed(tmp_path: Path, tiny_settings: tuple[str, ...], reference) -> None:  # type: ignore[no-untyped-def]
    check_killed_run(tmp_path / "run", (*tiny_settings, *ROWS), 2, reference.metrics)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("half", ["first", "second"])
def test_a_run_killed_anywhere_is_resumed(  # type: ignore[no-untyped-def]
    half: str,
    tmp_path: Path,
    tiny_settings: tuple[str, ...],
    reference,
    campaign: Callable[[int, int], list[int]],
) -> None:
    start, count = (1, 6) if half == "first" else (7, 5)
    for records in campaign(count, 2):
        check_killed_run(tmp_path / str(records), (*tiny_settings, *ROWS), start + records, reference.metrics)


def test_ctrl_c_leaves_a_run_that_resume_completes(
    tmp_path: Path,
    tiny_settings: tuple[str, ...],
    reference,  # type: ignore[no-untyped-def]
) -> None:
    folder = tmp_path / "run"
    started = Started(folder, (*tiny_settings, *ROWS))
    # As soon as there is a worker, so that the signal meets it while it still imports.
    started.wait_for(started.has_worker)
    os.killpg(started.process.pid, signal.SIGINT)
    code, stdout, stderr = started.finish()
    assert (code, [line for line in stderr.splitlines() if "better, " not in line]) == (130, [])
    assert "--resume" in stdout
    result = CliRunner().invoke(app, ["run", "--resume", str(folder)])
    assert result.exit_code == 0, result.output
    assert (folder / "metrics.jsonl").read_bytes() == reference.metrics
    assert charges(folder) == 6


def test_ctrl_c_before_the_run_leaves_nothing(tmp_path: Path, tiny_settings: tuple[str, ...]) -> None:
    started = Started(tmp_path / "runs" / "run", (*tiny_settings, *ROWS))
    # In the middle of its imports, however busy the machine: Python itself, while it starts, would exit with 1.
    started.wait_for(lambda: "numpy" in Path(f"/proc/{started.process.pid}/maps").read_text())
    os.killpg(started.process.pid, signal.SIGINT)
    code, _, stderr = started.finish()
    assert code in (130, -signal.SIGINT)
    assert code != 130 or "Traceback" not in stderr
    assert not (tmp_path / "runs").exists() or (tmp_path / "runs" / "run" / "config.toml").exists()
