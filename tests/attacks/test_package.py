from __future__ import annotations

import subprocess
import sys

import attacks
import attacks.errors


def test_importing_loads_no_heavy_library() -> None:
    code = "import attacks, attacks.testing, sys; print([m for m in ('torch', 'sklearn') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_table_of_contents_is_complete_and_sorted() -> None:
    assert all(hasattr(attacks, name) for name in attacks.__all__)
    errors = [value for name, value in vars(attacks.errors).items() if name.endswith(("Invalid", "Missing", "Failed"))]
    assert len(errors) == 10
    assert all(issubclass(error, attacks.AttackError) for error in errors)
