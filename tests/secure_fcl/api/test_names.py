import subprocess
import sys
from pathlib import Path

import pytest

CALLS = ("run", "open", "audit", "study", "plan", "compare", "Run", "Dataset")
EVERY = """
import importlib, pkgutil, secure_fcl
found = sorted(m.name for m in pkgutil.walk_packages(secure_fcl.__path__, "secure_fcl.") if "__main__" not in m.name)
assert len(found) > 100
for name in {order}(found):
    importlib.import_module(name)
"""


def python(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("order", ["list", "reversed"])
def test_names_stay_callable_after_every_module_is_imported(order: str, tmp_path: Path) -> None:
    program = EVERY.format(order=order) + f"print(*(callable(getattr(secure_fcl, name)) for name in {CALLS}))"
    assert set(python(program, tmp_path).split()) == {"True"}


def test_looking_at_the_names_loads_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys, secure_fcl; from secure_fcl import run, Dataset; "
        "print({'torch', 'opacus', 'matplotlib'} & set(sys.modules))"
    )
    assert python(program, tmp_path).strip() == "set()"


def test_a_name_that_is_not_there_is_an_attribute_error(tmp_path: Path) -> None:
    assert "AttributeError" in python(
        "import secure_fcl\ntry:\n    secure_fcl.trian\nexcept AttributeError as e:\n    print(type(e).__name__)",
        tmp_path,
    )
