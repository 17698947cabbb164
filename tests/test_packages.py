"""What is built installs alone: an sdist, the wheel made of it, and a run from the installed wheel with its data."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("secure_fcl", "crypto", "privacy", "attacks", "evaluation")
#: Files that are read while the program runs and are no code; `make test` would find them in the checkout anyway.
KINDS = (".npz", ".md", ".html", ".css", ".js", ".toml", ".typed")


def files_at_run_time() -> set[str]:
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if path.suffix in KINDS or path.name == "py.typed"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_archives_hold_what_runs_and_nothing_else(built: Path) -> None:
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert files_at_run_time() <= names
    code = {p.relative_to(ROOT).as_posix() for package in PACKAGES for p in (ROOT / package).rglob("*.py")}
    assert code <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert code | files_at_run_time() | {"pyproject.toml", "README.md", "LICENSE"} <= inside


@pytest.mark.slow
def test_an_installed_wheel_runs_on_its_own_data(built: Path, tmp_path: Path) -> None:
    place = tmp_path / "environment"
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    install = [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    # The libraries it needs, without the checkout: a folder that a .pth file names has its own .pth files ignored.
    site = next((place / "lib").glob("python*/site-packages"))
    (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def command(*arguments: str) -> str:
        done = subprocess.run(
            [place / "bin" / "secure-fcl", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [python, "-c", "import secure_fcl; print(secure_fcl.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert Path(where.strip()).is_relative_to(place)
    assert command("--version") == f"secure-fcl {wheel.name.split('-')[1]}\n"
    assert "hapt" in command("data", "verify", "hapt")
    settings = ("rows=['class_sums']", "scenario.tasks=2", "attacks.enabled=false")
    command("run", "--name", "run", *(word for setting in settings for word in ("--set", setting)))
    assert (tmp_path / "runs" / "run" / "report.html").stat().st_size > 10_000
    assert "checked" in command("verify", "runs/run")
