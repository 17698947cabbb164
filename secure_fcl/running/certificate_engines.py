"""What a certificate says of the engine: who played the clients, whose code they ran, and who held which keys."""

from __future__ import annotations

from typing import Literal

_PLAYED = {
    "local": "local: worker processes of one machine played the clients; a simulation",
    "tls": "tls: deployed devices, over mutual TLS",
    "flower": "flower: deployed devices, over a Flower federation of this machine",
}
_CODE = {
    "local": "the run's own process, for every party",
    "tls": "every party, by its own installation",
    "flower simulation": "the run's own process: Flower's simulation runs its app for every device",
    "flower own": "every device, by its own installation in a client process of its own, as each says of itself",
    "flower stock": "the server: a stock SuperNode runs the app that whoever starts the run ships to it",
}
_DEALT = "one machine made all private keys; each party reads its own alone, and the roster pins the public ones"
_KEYS = {
    "local": "the run's own process makes or reads the private keys of all parties",
    "tls": "every party holds its own private key alone; the roster pins the public ones",
    "flower": _DEALT,
}


def parts_of_engine(
    engine: Literal["local", "tls", "flower"], nodes: Literal["simulation", "own", "stock"]
) -> dict[str, str]:
    """Return the fields of a row's certificate in which runs over different engines differ, and no others do.

    `nodes`: `flower.nodes`.
    """
    code = _CODE[f"flower {nodes}" if engine == "flower" else engine]
    return {"engine": _PLAYED[engine], "code_supplied_by": code, "keys": _KEYS[engine]}
