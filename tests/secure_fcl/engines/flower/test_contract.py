"""What the package touches of Flower is there, under the same names: another release fails here, loudly."""

import importlib
import inspect
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

from secure_fcl.engines.flower import contract
from secure_fcl.errors import CarrierLost


def installed() -> bool:
    try:
        metadata.version("flwr")
    except metadata.PackageNotFoundError:
        return False
    return True


ENVIRONMENT = {"COLUMNS": "200", "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
needs_flower = pytest.mark.skipif(not installed(), reason="flwr is not installed; pip install '.[flower]'")


def shown(name: str) -> str:
    """Names of a function's parameters as the contract writes them, or what else it is."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        break
    for part in parts[cut:]:
        found = getattr(found, part)
    if isinstance(found, property):
        return "property"
    names: list[str] = []
    for parameter in inspect.signature(found).parameters.values():
        starred = any(name.startswith("*") for name in names)
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            names.append("*")
        names.append(("*" if parameter.kind is parameter.VAR_POSITIONAL else "") + parameter.name)
    return f"({', '.join(names)})"


@needs_flower
def test_the_installed_release_is_one_of_those_that_were_tested() -> None:
    contract.require_release()


@needs_flower
def test_everything_that_is_touched_has_the_same_parameters() -> None:
    assert {name: shown(name) for name in contract.TOUCHED} == dict(contract.TOUCHED)


@needs_flower
@pytest.mark.parametrize("command", contract.OPTIONS)
def test_every_option_that_is_given_exists(command: str) -> None:
    first, *more = command.split()
    program = str(Path(sysconfig.get_path("scripts")) / first)
    done = subprocess.run([program, *more, "--help"], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert [option for option in contract.OPTIONS[command] if option not in done.stdout] == []


@pytest.mark.parametrize(
    ("release", "does"), [("1.41.0", True), ("1.42.7", True), ("1.40.9", False), ("1.43.0", False), ("2.0", False)]
)
def test_other_releases_are_refused(monkeypatch: pytest.MonkeyPatch, release: str, does: bool) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: release)
    if does:
        contract.require_release()
        return
    with pytest.raises(CarrierLost, match=f"flwr {release} is installed"):
        contract.require_release()


def test_without_flower_there_is_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(CarrierLost, match="not installed; pip install 'flwr"):
        contract.require_release()
