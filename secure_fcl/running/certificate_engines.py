"""What a certificate says of the engine: who played the clients, whose code they ran, and who held which keys."""

from __future__ import annotations

from typing import Literal

_PLAYED = {
    "local": "local: worker processes of one machine played the clients; a simulation",
    "tls": "tls: deployed devices, over mutual TLS",
    "flower": "flower: deployed devices, over Flower",
}
_CODE = {
    "local": "the run's own process, for every party",
    "tls": "every party, by its own installation",
    "flower": "the server: a stock SuperNode runs the app that whoever starts the run ships to it",
}
_KEYS = {
    "local": "the run's own process makes or reads the private keys of all parties",
    "tls": "every party holds its own private key alone; the roster pins the public ones",
    "flower": "every party holds its own private key alone; the roster pins the public ones",
}


def parts_of_engine(engine: Literal["local", "tls", "flower"]) -> dict[str, str]:
    """Return the fields of a row's certificate in which runs over different engines differ, and no others do."""
    return {"engine": _PLAYED[engine], "code_supplied_by": _CODE[engine], "keys": _KEYS[engine]}
