import importlib.util

import pytest

from crypto.backends import status


def test_all_libraries_work_here() -> None:
    found = status()
    assert [entry.name for entry in found] == ["cryptography", "tenseal", "crypten"]
    for entry in found:
        assert entry.usable, entry.detail
        assert entry.remedy == ""


def test_missing_libraries_come_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    _, tenseal, crypten = status()
    for entry, command in ((tenseal, "tenseal>=0.3.17"), (crypten, "--no-deps crypten==0.4.1")):
        assert not entry.usable
        assert "not installed" in entry.detail
        assert command in entry.remedy
