"""House style (CONTRIBUTING.md), as far as a machine can hold it: errors, docstrings, imports, names, rooms."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import secure_fcl

ROOT = Path(secure_fcl.__file__).resolve().parent.parent
PACKAGES = ("secure_fcl", "crypto", "privacy", "attacks", "evaluation")
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

#: Words that begin a sentence in capitals because they are names.
PROPER = (
    "Adam", "BatchNorm", "CrypTen", "NaN", "Opacus", "Poisson", "Python", "Renyi", "SampledSkellam", "Skellam",
    "TenSEAL", "TensorBoard",
)  # fmt: skip
#: Errors that are not for a person to read: exits, and what an interface of Python asks for.
NOT_SENTENCES = {
    "Exit",
    "SystemExit",
    "KeyError",
    "AttributeError",
    "StopIteration",
    "NotImplementedError",
    "from_exception_data",
}
#: Names that hold, all over the packages, what nobody may print.
SECRET = re.compile(r"^_?(secret|private|private_key|key_bytes|master|nonce|pads?|plaintext|noise)$")


def sources(package: str) -> dict[str, str]:
    """The text of every module of a package by its path."""
    files = sorted((ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}


def wrong_files(package: str, judge: Callable[[str], list[str]]) -> dict[str, list[str]]:
    return {name: wrong for name, text in sources(package).items() if (wrong := judge(text))}


def messages(tree: ast.AST) -> Iterator[ast.expr]:
    """The first argument of every error that is raised, or made by a function for its caller to raise."""
    for node in ast.walk(tree):
        made = node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Return) else None
        if not isinstance(made, ast.Call) or not made.args:
            continue
        name = ast.unparse(made.func).rpartition(".")[2]
        error = isinstance(node, ast.Raise) or re.search(r"(Error|Refused|Invalid|Missing|Damaged)$", name)
        if error and name not in NOT_SENTENCES:
            yield made.args[0]


def ends(node: ast.expr, last: bool) -> Iterator[ast.expr]:
    """The literals that a message can begin with, or end with."""
    if isinstance(node, ast.BinOp):
        yield from ends(node.right if last else node.left, last)
    elif isinstance(node, ast.IfExp):
        yield from ends(node.body, last)
        yield from ends(node.orelse, last)
    elif isinstance(node, ast.JoinedStr):
        yield node.values[-1 if last else 0]
    else:
        yield node


def text_of(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def capital(text: str) -> bool:
    """Whether a text begins in upper case, and not with a name or an abbreviation."""
    return text[:1].isupper() and not text.startswith(PROPER) and not re.match(r"[A-Z][A-Z0-9]", text)


def wrong_sentences(source: str) -> list[str]:
    """What is wrong with the sentences of errors in a source."""
    found = []
    for message in messages(ast.parse(source)):
        where = f"line {message.lineno}: "
        first = [text_of(node) for node in ends(message, last=False)]
        found += [where + f"starts with a capital: {text[:40]!r}" for text in first if capital(text)]
        final = [text_of(node) for node in ends(message, last=True)]
        found += [where + f"ends with a stop: {text[-40:]!r}" for text in final if text.endswith((".", "!"))]
        for node in ast.walk(message):
            if re.search(r"[a-z)}'][.!] [A-Z]", text_of(node) if isinstance(node, ast.Constant) else ""):
                found.append(where + "holds two sentences; join them with a semicolon")
            if isinstance(node, ast.FormattedValue) and SECRET.match(ast.unparse(node.value).rpartition(".")[2]):
                found.append(where + f"prints {ast.unparse(node.value)}, which is secret by its name")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_errors_are_one_sentence(package: str) -> None:
    assert wrong_files(package, wrong_sentences) == {}


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("raise E('The plan is bad')", "starts with a capital"),
        ("raise E(f'{n} rounds are too many.')", "ends with a stop"),
        ("raise E(f'{n} is wrong. Give 3')", "holds two sentences"),
        ("raise E('a' if x else 'B is it')", "starts with a capital"),
        ("raise E('a\\n' + rest + 'b.')", "ends with a stop"),
        ("raise E(f'the key {self._secret!r} is short')", "is secret by its name"),
        ("def f():\n    return BudgetInvalid('Too much')", "starts with a capital"),
    ],
)
def test_a_sentence_of_another_form_is_found(source: str, wrong: str) -> None:
    assert [wrong in said for said in wrong_sentences(source)] == [True]


def test_sentences_of_the_right_form_pass() -> None:
    assert wrong_sentences("raise E(f'{len(secret)} bytes, 0.5 or more are needed; see x.y')") == []
    assert wrong_sentences("raise E('BFV holds less')\nraise KeyError('X.')") == []


def wrong_docstrings(source: str) -> list[str]:
    """What is wrong with how the docstrings of functions and classes say what is raised."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        text = ast.get_docstring(node) or ""
        section = re.search(r"^Raises:\n((?:(?:    .*)?\n?)+)", text, re.MULTILINE)
        prose = text.replace(section[0], "") if section else text
        if re.search(r"\b[Rr]aises (as )?[`(]?[A-Z]|\bRaises as |^Raises \(", prose):
            found.append(f"{node.name}: errors are named in running text; give them a section `Raises:`")
        for line in filter(str.strip, section[1].splitlines() if section else ()):
            entry = re.match(r" {4}(?: +\S|[\w.]+(?:, [\w.]+)*: (.+))", line)
            if not entry or capital(entry[1] or ""):
                found.append(f"{node.name}: {line.strip()!r} is not of the form `Error: clause in lower case.`")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_raised_stands_in_a_section(package: str) -> None:
    assert wrong_files(package, wrong_docstrings) == {}


@pytest.mark.parametrize(
    ("docstring", "wrong"),
    [
        ("Read it. Raises FileError if it is malformed.", True),
        ("Read it; raises FileError.", True),
        ("Read it. Raises as `read`.", True),
        ("Read it.\n\n    Raises:\n        FileError: It is malformed.\n    ", True),
        ("Read it.\n\n    Raises:\n        As `read`.\n    ", True),
        (
            "Read it.\n\n    Raises:\n        FileError, crypto.Other: as `read`, or\n            BFV fails.\n    ",
            False,
        ),
        ("Raise FileError unless it is sound.", False),
    ],
)
def test_the_test_of_sections_can_fail(docstring: str, wrong: bool) -> None:
    assert bool(wrong_docstrings(f'def f():\n    """{docstring}"""\n')) == wrong


def late(source: str) -> bool:
    body = ast.parse(source).body
    return any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in body) == (len(body) > 1)


@pytest.mark.parametrize("package", PACKAGES)
def test_annotations_are_evaluated_late_in_every_module_that_has_code(package: str) -> None:
    assert [name for name, source in sources(package).items() if not late(source)] == []
    assert not late('"""A module."""\nx = 1\n')


EMPTY = re.compile(r"_+(helper|do|impl|inner|internal|process|handle|util|main|stuff|thing)s?\d*(_impl)?$")


@pytest.mark.parametrize("package", PACKAGES)
def test_helpers_are_named_by_what_they_do(package: str) -> None:
    trees = {name: ast.walk(ast.parse(source)) for name, source in sources(package).items()}
    functions = [
        (name, node.name) for name, tree in trees.items() for node in tree if isinstance(node, ast.FunctionDef)
    ]
    assert [where for where in functions if EMPTY.match(where[1])] == []
    assert EMPTY.match("_helper2")
    assert not EMPTY.match("_processes")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_hides_a_function_of_the_api(package: str) -> None:
    face = {name for name in getattr(importlib.import_module(package), "__all__", ()) if name.islower()}
    modules = {path.stem for path in (ROOT / package).iterdir() if path.is_dir() or path.suffix == ".py"}
    assert modules & (face | {"run", "audit", "study", "plan", "compare", "open"}) == set()


def test_the_guide_names_every_room() -> None:
    for package in PACKAGES:
        line = next(line for line in GUIDE.splitlines() if line.startswith(f"| `{package}` |"))
        rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        named = set(re.findall(r"`(\w+)/`", line))
        assert rooms - {"testing"} <= named, f"CONTRIBUTING.md lacks {rooms - named} of {package}"
        assert all(any(path.is_dir() for path in (ROOT / package).rglob(name)) for name in named), line
