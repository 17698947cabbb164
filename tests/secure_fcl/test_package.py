import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", ["attacks.py", "crypto/__init__.py"])
def test_a_users_own_module_of_a_toolkits_name_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    done = run(tmp_path, "import secure_fcl")
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert "rename that file or folder" in done.stderr


def test_elsewhere_the_package_imports_and_stays_light(tmp_path: Path) -> None:
    done = run(tmp_path, "import sys, secure_fcl; print({'torch', 'numpy', 'typer'} & set(sys.modules))")
    assert (done.returncode, done.stdout.strip()) == (0, "set()")


@pytest.mark.parametrize("module", ["secure_fcl.engines.worker", "secure_fcl.cli.commands", "secure_fcl.runner"])
def test_a_process_imports_no_large_library_before_it_is_needed(module: str, tmp_path: Path) -> None:
    large = {"torch", "opacus", "sklearn", "dp_accounting", "matplotlib", "scipy.stats", "scipy.signal"}
    done = run(tmp_path, f"import sys, {module}; print(sorted({large} & set(sys.modules)))")
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_module_is_the_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "secure_fcl", "config"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "[training]" in done.stdout


def test_nothing_that_only_posix_has_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('fcntl', 'resource', 'termios', 'pwd', 'grp')))\n"
        "import attacks, crypto, evaluation, privacy, secure_fcl.cli.commands, secure_fcl.runner\n"
        "from pathlib import Path\n"
        "from crypto.protocols.masks.journal import FileJournal\n"
        "FileJournal(Path('journal'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "JournalError: the journal journal needs the file locks of Linux or macOS; run there" in done.stderr
    assert not list(tmp_path.iterdir())
