"""Addresses as people write them."""

from __future__ import annotations

from secure_fcl.errors import ConfigInvalid

MAX_PORT = 65535


def address_of(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, an IPv6 host in brackets.

    Raises:
        ConfigInvalid: it is none.
    """
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= MAX_PORT:
        raise ConfigInvalid(
            f"{text[:80]!r} is no address; write HOST:PORT, the port 0 to {MAX_PORT}, [::1]:PORT for IPv6"
        )
    return host, int(port)
