"""Objects that somebody else's code defines, by the text `module:name`, without a registration call."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from crypto.errors import CodeNotFound

_OURS = ("secure_fcl", "crypto", "privacy", "attacks", "evaluation")


def names_code(text: str) -> bool:
    """Whether a name is of the form `module:name`, and so asks for code that is not ours."""
    return ":" in text


def load_code(reference: str) -> object:
    """Import the module of `module:name` and return what it calls `name`.

    The module is looked for where Python looks, then as a file of the working folder (`lab.py` for `lab`). The working
    folder itself is not put on Python's path: a user's own `attacks.py` there would hide ours. Importing runs the
    module's code: call this only for references that the person at the keyboard gave, or declared trusted.

    Raises:
        CodeNotFound: the text has another form, the module has the name of ours, there is no such module or name, or
            the module fails while it is imported; one sentence with the reference and the remedy.
    """
    module_name, _, name = reference.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise CodeNotFound(f"{reference!r} is not of the form module:name, for example lab:Mine")
    if module_name.split(".")[0] in _OURS:
        raise CodeNotFound(f"{reference!r}: {module_name} is a module of secure-fcl's own; give your file another name")
    module = _imported(module_name, reference)
    try:
        return getattr(module, name)
    except AttributeError:
        there = sorted(n for n in vars(module) if not n.startswith("_"))
        raise CodeNotFound(
            f"{reference!r}: {module.__file__} defines no {name!r}; it has {', '.join(there[:8]) or 'no public name'}"
        ) from None


def file_of(reference: str) -> Path | None:
    """Return the file of a reference's module, loaded or not; None for a module without one, or that is not found.

    Nothing is imported: neither the module nor a package around it.
    """
    name = reference.partition(":")[0]
    file = getattr(sys.modules[name], "__file__", None) if name in sys.modules else _origin(name)
    return None if file is None else Path(file).resolve()


def _origin(name: str) -> str | None:
    """Return where importing a module would find its file, without importing the packages around it."""
    first, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(first)
        for part in rest:
            if spec is None or spec.submodule_search_locations is None:
                return None
            spec = PathFinder.find_spec(f"{spec.name}.{part}", list(spec.submodule_search_locations))
    except (ImportError, ValueError):
        spec = None
    if spec is not None:
        return spec.origin if spec.has_location else None
    beside = Path.cwd() / f"{name}.py"
    return str(beside) if beside.is_file() else None


def _imported(name: str, reference: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    beside = Path.cwd() / f"{name}.py"
    try:
        if _importable(name):
            return importlib.import_module(name)
        if not beside.is_file():
            raise CodeNotFound(
                f"{reference!r}: Python finds no module {name!r}, and {beside} does not exist; install it, or start in "
                "the folder that holds it"
            )
        return _from_file(name, beside)
    except CodeNotFound:
        raise
    except Exception as error:
        raise CodeNotFound(f"{reference!r}: importing {name} failed with {type(error).__name__}: {error}") from error


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _from_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
