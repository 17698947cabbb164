import json
import os
from importlib import metadata
from pathlib import Path

import pytest
from rich.console import Console

import crypto
import secure_fcl.data
from secure_fcl.cli import doctor, doctor_names
from secure_fcl.cli.doctor import Finding, Library

GOOD = Library("numpy", "json", "pip install numpy")


def test_python_is_compared_with_the_oldest_supported() -> None:
    assert doctor.check_python((3, 11, 0)).state == "usable"
    old = doctor.check_python((3, 10, 9))
    assert (old.state, old.version) == ("broken", "3.10.9 is too old")
    assert old.remedy


def test_a_library_that_imports_is_usable() -> None:
    assert doctor.check_library(GOOD) == Finding("numpy", "usable", metadata.version("numpy"))


def test_a_library_that_is_not_installed_is_missing() -> None:
    row = doctor.check_library(Library("no-such-thing-here", "json", "pip install it", optional=True))
    assert row == Finding("no-such-thing-here", "missing", "", "pip install it", optional=True)


def test_a_library_that_does_not_import_is_broken() -> None:
    row = doctor.check_library(Library("numpy", "no_such_module_here", "pip install numpy"))
    assert row.state == "broken"
    assert "No module named 'no_such_module_here'" in row.version
    assert row.remedy == "pip install numpy"


@pytest.mark.parametrize("crash", ["os; os._exit(7)", "os; os.abort()", "time; time.sleep(60)"])
def test_no_crash_ends_the_program(crash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TIMEOUT_SECONDS", 2.0)
    assert doctor.check_library(Library("numpy", crash, "pip install numpy")).state == "broken"


def test_one_broken_library_hides_no_other() -> None:
    broken = Library("numpy", "os; os.abort()", "pip install numpy")
    assert [row.state for row in doctor.check_libraries([broken, GOOD])] == ["broken", "usable"]


def test_a_proof_counts_only_when_it_worked() -> None:
    proof = Library("numpy", "json", "", proves="scipy")
    claimed = Library("scipy", "no_such_module_here", "pip install scipy")
    assert [row.state for row in doctor.check_libraries([proof, claimed])] == ["usable", "usable"]
    failed = Library("numpy", "no_such_module_here", "", proves="scipy")
    assert [row.state for row in doctor.check_libraries([failed, claimed])] == ["broken", "broken"]


def test_a_system_on_which_nothing_trains_is_named_with_what_helps() -> None:
    (row,) = doctor.check_system("nt")
    assert (row.state, row.remedy) == ("broken", "wsl --install")
    assert not doctor.healthy([row])
    assert not doctor.check_system("posix")


@pytest.mark.parametrize("name", ["pycryptodome", "pycrypto"])
def test_a_package_that_case_alone_tells_from_ours_is_refused_where_case_is_ignored(tmp_path: Path, name: str) -> None:
    ours, theirs = tmp_path / "crypto", tmp_path / "Crypto"
    ours.mkdir()
    # A second name for the folder is what a file system that ignores case makes of `Crypto`.
    theirs.symlink_to(ours, target_is_directory=True)
    (row,) = doctor.check_names(ours, {name: theirs})
    assert (row.name, row.state) == ("crypto", "broken")
    assert not doctor.healthy([row])
    assert name in row.version
    assert row.remedy == (
        f"pip uninstall {name}; pip install pycryptodomex; pip install --force-reinstall --no-deps secure-fcl"
    )


def test_packages_in_folders_of_their_own_are_no_finding(tmp_path: Path) -> None:
    for folder in ("a/crypto", "a/Crypto", "b/Crypto"):
        (tmp_path / folder).mkdir(parents=True)
    assert not doctor.check_names(tmp_path / "a/crypto", {"pycryptodome": tmp_path / "a/Crypto"})
    assert not doctor.check_names(tmp_path / "a/crypto", {"pycryptodome": tmp_path / "b/Crypto"})
    assert not doctor.check_names(tmp_path / "a/crypto", {"pycryptodome": tmp_path / "c/Crypto"})
    assert not doctor.check_names(tmp_path / "a/crypto", {})


def test_crypto_is_found_where_it_is_imported_from(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(str(crypto.__file__)).parent
    assert doctor_names.folder_of_crypto() == here
    monkeypatch.setattr(doctor_names, "OTHERS", ("numpy", "no-such-thing-here"))
    assert doctor_names.installed_others().keys() == {"numpy"}
    assert doctor_names.installed_others()["numpy"].name == "Crypto"


def answer(**usable: bool) -> str:
    rows = [{"name": name, "usable": works, "detail": f"{name} failed"} for name, works in usable.items()]
    return f"print('a warning'); print({json.dumps(json.dumps(rows))})"


def test_crypto_rows_repeat_what_crypto_says() -> None:
    rows = {row.name: row for row in doctor.check_crypto(answer(cryptography=True, tenseal=False))}
    assert rows["cryptography"].state == "usable"
    assert (rows["tenseal"].state, rows["tenseal"].remedy) == ("broken", "pip install 'tenseal>=0.3.17'")
    assert "tenseal failed" in rows["tenseal"].version
    assert rows["crypten"].state != "usable"


@pytest.mark.parametrize("program", ["raise ImportError('gone')", "print('no json')", "print('[1]')", "pass"])
def test_crypto_that_gives_no_answer_is_broken(program: str) -> None:
    rows = doctor.check_crypto(program)
    assert [row.name for row in rows] == ["cryptography", "tenseal", "crypten"]
    assert all(row.state in ("broken", "missing") and row.remedy for row in rows)


def test_data_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row.name: row for row in doctor.check_data()}
    assert rows["data: hapt"].state == "usable"
    assert {row.state for row in rows.values()} <= {"usable", "missing"}

    def fail() -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(secure_fcl.data, "list_datasets", fail)
    (row,) = doctor.check_data()
    assert (row.state, row.version) == ("broken", "RuntimeError: disk on fire")


def test_healthy_ignores_what_is_optional() -> None:
    assert doctor.healthy([Finding("a", "usable", ""), Finding("b", "missing", "", "x", optional=True)])
    assert not doctor.healthy([Finding("a", "usable", ""), Finding("b", "missing", "", "x")])


def test_places_and_commands_are_shown_whole_and_literally() -> None:
    console = Console(width=40, record=True, file=None, force_terminal=False, quiet=False)
    rows = [
        Finding("flwr", "missing", "", "pip install 'flwr[simulation]>=1.41,<1.43'", optional=True),
        Finding("crypten", "broken", "0.4.1: [red]no[/red]", "pip install --no-deps crypten==0.4.1"),
        Finding(
            "data: mnist", "missing", f"/a/long/{'folder' * 12}/MNIST/raw", "secure-fcl data fetch mnist", optional=True
        ),
    ]
    with console.capture() as captured:
        doctor.render(rows, console)
    text = captured.get()
    for part in (*(row.remedy for row in rows), "[red]no[/red]", rows[2].version, "(optional)"):
        assert part in text


@pytest.mark.slow
def test_everything_is_tried_quickly() -> None:
    # Processor time of this process and of those that ended: machines are shared, and the clock is everybody's.
    started = sum(os.times()[:4])
    rows = doctor.check()
    assert sum(os.times()[:4]) - started < 30
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert {"python", "torch", "opacus", "tenseal", "crypten", "flwr", "dp-accounting", "data: hapt"} <= {*names}
    assert all(row.remedy for row in rows if row.state != "usable")
