import subprocess
import sys

import privacy


def test_the_table_of_contents_names_what_exists() -> None:
    assert privacy.__all__ == sorted(privacy.__all__)
    assert all(hasattr(privacy, name) for name in privacy.__all__)


def test_importing_is_cheap() -> None:
    """Torch, Opacus and dp_accounting are loaded when they are first used."""
    code = "import sys, privacy, privacy.testing; print([m for m in sys.modules if '.' not in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'privacy'" in loaded
    for heavy in ("torch", "opacus", "dp_accounting"):
        assert f"'{heavy}'" not in loaded


def test_every_error_is_a_privacy_error() -> None:
    from privacy import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert len(classes) >= 8
    assert all(issubclass(c, privacy.PrivacyError) for c in classes)
