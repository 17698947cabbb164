"""One class decorator that keeps an object's secrets out of prints, logs and pickles."""

from __future__ import annotations

from typing import NoReturn, TypeVar

from crypto.errors import SecretExposed

T = TypeVar("T")


def holds_secrets(cls: type[T]) -> type[T]:
    """Redact `repr` and refuse pickling and copying of every instance of `cls`.

    *Guarantee*: `repr`, `str` and `format` show only the class name; `pickle`, `copy.copy` and
    `copy.deepcopy` raise `SecretExposed`. It does not stop code that reads the attributes, and Python
    cannot wipe immutable bytes from memory.
    """

    def redacted(self: object) -> str:
        return f"<{type(self).__name__}: secrets not shown>"

    def refuse(self: object, *_: object) -> NoReturn:
        raise SecretExposed(
            f"{type(self).__name__} holds secrets and is neither copied nor pickled; "
            "open a new session in the process that needs one"
        )

    for name, method in (
        ("__repr__", redacted),
        ("__reduce_ex__", refuse),
        ("__reduce__", refuse),
        ("__copy__", refuse),
        ("__deepcopy__", refuse),
    ):
        setattr(cls, name, method)
    return cls
