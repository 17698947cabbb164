"""What names code in a configuration: `module:name`, and `pickled:digest` of an object that was handed over live.

An object that a new process can import travels by its name. Any other, such as a class of a notebook or a network with
its weights, is pickled with its code (cloudpickle), kept in the run's folder, and named by the SHA-256 of its bytes:
what is loaded is what was named, or it is refused. Loading either runs code; a run folder that names any is opened
with `--trust-code` only (`secure_fcl.running.folder`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from crypto.errors import CodeNotFound
from crypto.protocols import outside
from crypto.protocols.outside import names_code

__all__ = [
    "environment", "file_of", "is_pickled", "load_code", "look_in", "names_code", "pickled_bytes", "reference_of",
    "stored_name",
]  # fmt: skip

#: The module's place in a reference to an object that was handed over live.
PICKLED = "pickled"
_VARIABLE = "SECURE_FCL_CODE"
#: Bytes of objects that this process was handed, and objects that it loaded, by digest; folders where others lie.
_HELD: dict[str, bytes] = {}
_LOADED: dict[str, object] = {}
_FOLDERS: list[Path] = []


def is_pickled(reference: str) -> bool:
    """Return whether a reference names the bytes of an object, and not a module."""
    return reference.partition(":")[0] == PICKLED


def stored_name(reference: str) -> str:
    """Return the name of the file that keeps a pickled object, in a folder of such files."""
    return f"{reference.partition(':')[2]}.pickle"


def load_code(reference: str) -> object:
    """Return what a reference names. Runs the module's code, or what unpickling runs: see this module's first lines.

    Raises:
        CodeNotFound: as `crypto.protocols.outside.load_code`; or the pickled bytes are not here, or others.
    """
    if not is_pickled(reference):
        return outside.load_code(reference)
    digest = reference.partition(":")[2]
    if digest not in _LOADED:
        import cloudpickle

        data = pickled_bytes(reference)
        try:
            # Only what the person at the keyboard handed over, or declared trusted, comes here.
            _LOADED[digest] = cloudpickle.loads(data)
        except Exception as error:
            raise CodeNotFound(
                f"{reference!r}: loading it failed with {type(error).__name__}: {error}; hand the object over again"
            ) from error
    return _LOADED[digest]


def file_of(reference: str) -> Path | None:
    """Return the file behind a reference without loading it; None for one without a file, or that is not found."""
    if not is_pickled(reference):
        return outside.file_of(reference)
    places = (folder / stored_name(reference) for folder in _folders())
    return next((place.resolve() for place in places if place.is_file()), None)


def pickled_bytes(reference: str) -> bytes:
    """Return the bytes of a pickled object, checked against the digest that names them.

    Raises:
        CodeNotFound: they are nowhere, or others.
    """
    digest, place = reference.partition(":")[2], file_of(reference)
    if digest in _HELD:
        return _HELD[digest]
    if place is None:
        raise CodeNotFound(
            f"{reference!r}: no file {stored_name(reference)} in the run's folder code; restore it, or hand the object "
            "over again"
        )
    data = place.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise CodeNotFound(f"{reference!r}: {place} holds other bytes than its name says; restore it")
    return data


def look_in(folder: Path) -> None:
    """Look for pickled objects in one folder more, in this process and in the workers that it starts."""
    if folder not in _FOLDERS:
        _FOLDERS.append(folder)


def environment() -> Mapping[str, str]:
    """Return what a child process needs in its environment to find the same objects."""
    folders = _folders()
    return {_VARIABLE: os.pathsep.join(str(folder.resolve()) for folder in folders)} if folders else {}


def _folders() -> list[Path]:
    return [*_FOLDERS, *(Path(text) for text in os.environ.get(_VARIABLE, "").split(os.pathsep) if text)]


def reference_of(value: object) -> str:
    """Return the reference by which another process rebuilds a live object: a function, a class, a network.

    A function or class that a worker finds by name, installed or as a file of the working folder, gives `module:name`.
    Anything else is pickled by value, with the code of modules that a worker would not find, and gives
    `pickled:digest`; `RunFolder.create` keeps the bytes in the folder of the run that names them, and the certificate
    names file and digest. A network's weights go with it and count as public.

    Raises:
        CodeNotFound: it cannot be pickled; names why.
    """
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str) and _found_by_workers(module, name, value):
        return f"{module}:{name}"
    import cloudpickle

    try:
        with _by_value(_own_modules(value)):
            data = cloudpickle.dumps(value)
    except Exception as error:
        raise CodeNotFound(
            f"{value!r} cannot be kept for worker processes ({type(error).__name__}: {error}); hand over a function "
            "that builds it"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    _HELD[digest] = data
    return f"{PICKLED}:{digest}"


def _found_by_workers(module: str, name: str, value: object) -> bool:
    loaded = sys.modules.get(module)
    if module == "__main__" or not name.isidentifier() or getattr(loaded, name, None) is not value:
        return False
    return module.split(".")[0] not in outside._OURS and _worker_finds(loaded)


def _worker_finds(module: ModuleType | None) -> bool:
    """Return whether a process that starts in this folder, without this one's additions to its path, imports the same.

    Workers search where Python is installed, what PYTHONPATH names, and single files of the working folder.
    """
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return module is not None
    path = Path(file).resolve()
    if "." not in module.__name__ and path == (Path.cwd() / f"{module.__name__}.py").resolve():
        return importlib.util.find_spec(module.__name__) is None or _first_place(module.__name__) == path
    named = [Path(text).resolve() for text in os.environ.get("PYTHONPATH", "").split(os.pathsep) if text]
    return any(path.is_relative_to(home) for home in (*_installed(), *named))


def _first_place(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).resolve() if spec is not None and spec.origin else None


def _installed() -> list[Path]:
    own = Path(__file__).resolve().parents[1]
    roots = [*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("stdlib"), str(own)]
    return [Path(root).resolve() for root in roots]


def _own_modules(value: object) -> list[ModuleType]:
    """Return the modules, of the object itself and of a network's layers, that only this process finds."""
    layers = (type(layer) for layer in getattr(value, "modules", tuple)()) if _is_network(value) else ()
    names = {getattr(kind, "__module__", None) for kind in (value, type(value), *layers)}
    found = [sys.modules[name] for name in names if isinstance(name, str) and name in sys.modules]
    return [module for module in found if module.__name__ != "__main__" and not _worker_finds(module)]


def _is_network(value: object) -> bool:
    return hasattr(value, "named_parameters") and not isinstance(value, type)


@contextmanager
def _by_value(modules: list[ModuleType]) -> Iterator[None]:
    import cloudpickle

    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
