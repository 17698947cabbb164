"""Small runs give what they gave: integers, ledgers and certificates exactly, other numbers to 1e-6.

`record.py` beside this file says what a recording holds. A change that is meant to change numbers records anew, with

    python tests/recorded/record.py

in the same commit, and says there which numbers moved and why; any other change leaves the recordings alone. A new or
renamed key of the configuration is of the first kind: repeatable noise follows from all settings of a run.

Recordings belong to the machine they were made on: integer totals are rounded floats, and another processor or another
version of torch may round one of them differently. `recorded with` says on what; elsewhere everything is compared to
1e-6, weights to 1e-4, sums of integers to one in a hundred entries, and what attacks find to .05. To know it exactly
there, first record the commit before the change (`--out` a folder of your own), then compare with that.
"""

import copy
import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in HERE.glob("*.toml"))
QUICK = ("closed_forms", "online")
SLOW = ("gradient", "resumed", "side_channel")
EXACT = ("ledger", "certificate", "certificate.txt", "cost")
TOLERANCE = 1e-6
Recording = dict[str, Any]


def load(folder: Path, name: str) -> Recording:
    found: Recording = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return found


def close(part: str, here: bool) -> float:
    """How far two numbers of a part may lie apart: 0 for charges, more for what another processor computed."""
    if here:
        return 0.0 if part in EXACT else TOLERANCE
    # Where two scores are all but equal, another processor ranks them the other way round; weights follow from sums of
    # integers that it rounded otherwise.
    return {"attacks": 0.05, "transcript": 1e-4}.get(part, TOLERANCE)


def same(old: Any, new: Any, tolerance: float) -> bool:
    """Two leaves: floats to the tolerance, anything else equal and of one type."""
    if not isinstance(old, float) or not isinstance(new, float):
        return type(old) is type(new) and old == new
    if math.isnan(old) or math.isnan(new):
        return math.isnan(old) and math.isnan(new)
    return old == new or math.isclose(old, new, rel_tol=tolerance, abs_tol=tolerance)


def differences(old: Any, new: Any, tolerance: float, where: str) -> Iterator[str]:
    """Every place where two values differ, in the order of the recording."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in old or key not in new:
                yield f"{where} {key}: {'recorded, and gone' if key in old else 'not recorded, and new'}"
            else:
                yield from differences(old[key], new[key], tolerance, f"{where} {key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for n, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from differences(left, right, tolerance, f"{where} [{n}]")
    elif not same(old, new, tolerance):
        yield f"{where}: recorded {old!r}, now {new!r}"


def rounded_alike(old: Any, new: Any) -> Any:
    """The new array of integers, or the old one where both may be the same floats of two processors, rounded.

    One entry in a hundred may be rounded the other way: the digest then differs, and the sum by as many at most.
    """
    if not (isinstance(old, dict) and isinstance(new, dict) and "sha256" in old and "sha256" in new):
        return new
    alike = all(old[key] == new[key] for key in ("dtype", "shape"))
    return old if alike and abs(old["sum"] - new["sum"]) <= 1 + math.prod(old["shape"]) / 100 else new


def compare(old: Recording, new: Recording) -> list[str]:
    """The first difference of each part of a recording; less strict where they are of two machines."""
    here = old.get("recorded with") == new.get("recorded with")
    if not here:
        new = {key: rounded_alike(old.get(key), value) for key, value in new.items()}
    found = []
    parts = dict.fromkeys(key.partition("/")[0] for key in [*old, *new])
    for part in parts.keys() - {"recorded with"}:
        left, right = ({k: v for k, v in all_.items() if k.partition("/")[0] == part} for all_ in (old, new))
        found += [line.strip() for line in list(differences(left, right, close(part, here), ""))[:1]]
    return sorted(found)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("names", [QUICK, pytest.param(SLOW, marks=pytest.mark.slow)], ids="-".join)
def test_runs_are_as_recorded(names: tuple[str, ...], tmp_path: Path) -> None:
    # One process for several: it loads the big libraries once.
    command = [sys.executable, str(HERE / "record.py"), *names, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = []
    for name in names:
        old, new = load(HERE, name), load(tmp_path, name)
        lines += [f"{name}: {line}" for line in compare(old, new)]
        if lines and old["recorded with"] != new["recorded with"]:
            lines.append(f"{name}: recorded with {old['recorded with']}, now {new['recorded with']}")
    assert not lines, "\n".join(["the first difference of each part:", *lines])


def test_every_configuration_is_recorded_and_compared() -> None:
    assert sorted((*QUICK, *SLOW)) == NAMES == sorted(path.stem for path in HERE.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_recordings_are_small_and_hold_no_secret_and_no_place(name: str) -> None:
    text = (HERE / f"{name}.json").read_text(encoding="utf-8")
    assert len(text) < 80_000
    assert hashlib.sha256(b"tests/recorded").hexdigest() not in text
    assert not [place for place in ('"/', "/tmp", "/home", str(Path.home())) if place in text]


def numbers(value: Any, kind: type) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) that holds a number of this type."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        if type(item) is kind:
            yield value, key
        yield from numbers(item, kind)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["metrics", "cost", "ledger", "transcript", "certificate"])
def test_one_integer_more_is_seen(name: str, part: str) -> None:
    old = load(HERE, name)
    places = [key for key, value in old.items() if key.startswith(part) and any(numbers(value, int))]
    for where in (places[0], places[-1]):
        new = copy.deepcopy(old)
        holder, key = list(numbers(new[where], int))[-1] if isinstance(new[where], dict | list) else (new, where)
        holder[key] += 1
        (line,) = compare(old, new)
        assert line.startswith(where)
        assert f"recorded {holder[key] - 1}, now {holder[key]}" in line


@pytest.mark.parametrize("name", NAMES)
def test_a_float_is_seen_from_the_tolerance_on_and_in_charges_at_once(name: str) -> None:
    old = load(HERE, name)
    for part, small, large in (("metrics", 1e-8, 1e-4), ("transcript", 1e-8, 1e-4), ("ledger", 0.0, 1e-14)):
        where = [key for key, value in old.items() if key.startswith(part) and any(numbers(value, float))][-1]
        for change, seen in ((small, False), (large, True)):
            new = copy.deepcopy(old)
            holder, key = max(numbers(new[where], float), key=lambda place: abs(place[0][place[1]]))
            holder[key] *= 1 + change
            found = compare(old, new)
            assert [line.partition(" ")[0] for line in found] == ([where] if seen else [])


@pytest.mark.parametrize("name", NAMES)
def test_other_changes_are_seen(name: str) -> None:
    old = load(HERE, name)
    total = next(key for key in old if key.endswith("/total"))
    for where, changed in (
        (total, old[total] | {"sha256": "0" * 64}),
        (total, old[total] | {"dtype": "int32"}),
        ("certificate.txt/2", "another line"),
        ("ledger/new/0", {}),
    ):
        (line,) = compare(old, old | {where: changed})
        assert line.startswith(where)
    (line,) = compare(old, {key: value for key, value in old.items() if key != total})
    assert line == f"{total}: recorded, and gone"


def test_another_processor_may_round_otherwise_and_no_more() -> None:
    array = {"dtype": "int64", "shape": [1000], "sum": 5_000, "sha256": "0" * 64}
    old = {"recorded with": {"vectors": "AVX2"}, "transcript/a/0/total": array, "ledger/a/0": {"variance": 1.0, "n": 3}}
    there = {"recorded with": {"vectors": "AVX512"}}
    rounded = {"transcript/a/0/total": array | {"sum": 5_011, "sha256": "1" * 64}}
    last_digit = {"ledger/a/0": {"variance": 1.0 + 1e-15, "n": 3}}
    for changed, seen in (
        (rounded, 1), (there | rounded, 0),
        (last_digit, 1), (there | last_digit, 0),
        (there | {"ledger/a/0": {"variance": 1.001, "n": 3}}, 1),
        (there | {"ledger/a/0": {"variance": 1.0, "n": 4}}, 1),
        (there | {"transcript/a/0/total": array | {"sum": 5_012}}, 1),
        (there | {"transcript/a/0/total": array | {"shape": [999]}}, 1),
    ):  # fmt: skip
        assert len(compare(old, old | changed)) == seen, changed


def test_not_a_number_equals_itself_only() -> None:
    nan = {"metrics/0": {"x": math.nan}}
    assert compare(nan, copy.deepcopy(nan)) == []
    assert compare(nan, {"metrics/0": {"x": 0.0}}) == ["metrics/0 x: recorded nan, now 0.0"]
    assert compare({"metrics/0": {"x": 1}}, {"metrics/0": {"x": True}}) == ["metrics/0 x: recorded 1, now True"]
