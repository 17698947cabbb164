import ast
import dataclasses
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import secure_fcl

ROOT = Path(secure_fcl.__file__).resolve().parent.parent
PACKAGES = ("secure_fcl", "crypto", "privacy", "attacks", "evaluation")
FILES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a checkout")


def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("lint-imports")
    if not tool.exists():
        pytest.skip("import-linter is not installed")
    return subprocess.run([tool], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_import_contract_holds() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the packages and their contract, to plant imports in."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"^(.+) BROKEN$", done.stdout, flags=re.MULTILINE)


def test_the_import_contract_refuses_circles(copied: Path) -> None:
    for name in PACKAGES:
        room = copied / name / "planted"
        room.mkdir()
        (room / "__init__.py").write_text("")
        (room / "one.py").write_text(f"from {name}.planted.two import HERE\n")
        # Inside a function too: a circle that is put off is one.
        (room / "two.py").write_text(f"def late() -> None:\n    from {name}.planted.one import HERE\n")
    done = lint_imports(copied)
    assert done.returncode == 1
    assert broken(done) == ["No import circles"]
    assert all(f"No cycles are allowed in {name}.planted." in done.stdout for name in PACKAGES)
    for name in PACKAGES:
        (copied / name / "planted" / "two.py").write_text("HERE = 1\n")
    assert lint_imports(copied).returncode == 0


def test_the_import_contract_sees_the_engines(copied: Path) -> None:
    planted = copied / "secure_fcl" / "engines" / "planted.py"
    planted.write_text("import opacus\n")
    done = lint_imports(copied)
    assert done.returncode == 1
    assert broken(done) == ["Opacus only in privacy"]
    assert "secure_fcl.engines.planted" in done.stdout


def test_no_folder_is_hidden_from_the_import_contract() -> None:
    # The contract sees modules of packages only: a folder without this file is read by nobody.
    assert [str(path) for path in FILES if not (path.parent / "__init__.py").exists()] == []


def test_one_version() -> None:
    assert project()["version"] == secure_fcl.__version__
    changelog = ROOT / "CHANGELOG.md"
    if changelog.exists():
        assert secure_fcl.__version__ in changelog.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_short_and_documented(name: str) -> None:
    text = (ROOT / name).read_text()
    assert text.count("\n") <= 400
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{name} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{name}: {node.name} is too long"
        assert not isinstance(node, ast.Import) or not {a.name for a in node.names} & {"pickle", "dill"}


def test_no_clear_generator_of_numbers_inside_crypto() -> None:
    for path in (ROOT / "crypto").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
            names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            assert not names & {"random", "numpy.random"}, path
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node).startswith("np.random")), path


@pytest.mark.parametrize(
    ("library", "home"), [("opacus", "privacy"), ("tenseal", "crypto"), ("crypten", "crypto"), ("typer", "secure_fcl")]
)
def test_each_library_has_one_importer(library: str, home: str) -> None:
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [module]
            if any(name.split(".")[0] == library for name in names):
                found.add(path.relative_to(ROOT).as_posix())
    # Opacus' optimisers are subclassed too, and commands stand in several files of one room; the rest has one adapter.
    assert len(found) <= 1 or library == "opacus" or {Path(one).parent.name for one in found} == {"cli"}
    assert all(name.startswith(f"{home}/") for name in found)


def test_the_commands_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"demo", "test", "lint", "bench"} <= targets
    readme = (ROOT / "README.md").read_text()
    asked = set(re.findall(r"^\s*\$?\s*make ([a-z-]+)|`make ([a-z-]+)", readme, flags=re.MULTILINE))
    assert {a or b for a, b in asked} <= targets
    from typer.testing import CliRunner

    from secure_fcl.cli.commands import app

    for command in set(re.findall(r"secure-fcl ([a-z]+)", readme)) - {"is"}:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command


def test_the_settings_in_the_documents_exist() -> None:
    from secure_fcl.config import load_config
    from secure_fcl.errors import ConfigInvalid

    found = []
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        found += [s for s in re.findall(r"--set ([a-z_.]+=[\w.\-]+)", path.read_text()) if s != "a.b=c"]
    unknown = []
    for setting in found:
        try:
            load_config(None, [setting])
        except ConfigInvalid as error:
            # Two settings may belong together (no noise and no budget); a key that is not there belongs nowhere.
            unknown += [setting] if "unknown configuration key" in str(error) else []
    assert unknown == []


def test_every_public_name_exists() -> None:
    import importlib

    for name in PACKAGES:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            assert getattr(module, public) is not None


def _positional_numbers(of: type) -> list[str]:
    """Names of the class's numbers, if it has two or more and takes any of its fields by position; else none."""
    numbers = [f for f in dataclasses.fields(of) if f.init and f.name in vars(of).get("__annotations__", {})]
    numbers = [
        f
        for f in numbers
        if f.type in (int, float, int | None, float | None, "int", "float", "int | None", "float | None")
    ]
    taken = any(f.init and not f.kw_only for f in dataclasses.fields(of) if f.name in vars(of)["__annotations__"])
    return [f.name for f in numbers] if len(numbers) > 1 and taken else []


def _frozen_dataclasses(package: str) -> list[type]:
    names = [name for name in NAMES if name.startswith(f"{package}/") and not name.endswith("__main__.py")]
    found = []
    for name in names:
        module = importlib.import_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        for key, value in vars(module).items():
            ours = isinstance(value, type) and value.__module__ == module.__name__ and not key.startswith("_")
            if ours and dataclasses.is_dataclass(value) and value.__dataclass_params__.frozen:
                found.append(value)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_public_numbers_are_given_by_name(package: str) -> None:
    found = _frozen_dataclasses(package)
    assert len(found) > 5
    swapped = {f"{of.__module__}.{of.__name__}": numbers for of in found if (numbers := _positional_numbers(of))}
    assert swapped == {}, "two numbers by position can change places unnoticed: kw_only=True"


def test_numbers_by_position_are_seen() -> None:
    planted = dataclasses.make_dataclass("Planted", [("name", "str"), ("low", "float"), ("high", "float | None")])
    assert _positional_numbers(planted) == ["low", "high"]
    named = dataclasses.make_dataclass("Named", [("low", "float"), ("high", "float")], kw_only=True)
    assert _positional_numbers(named) == []
