"""The device's side of a deployment: one client, and all that it decides by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from secure_fcl.engines import commands as c
from secure_fcl.engines.deployed.folder import DeviceFolder
from secure_fcl.engines.parties import Answer, Party


class DeployedHost:
    """The `Host` of one deployed device.

    Args:
        place: its folder.
        secret: key of repeatable noise, in tests alone: no deployed device is given one, and none can be sent.
    """

    def __init__(self, place: DeviceFolder, secret: bytes | None = None) -> None:
        self._place = place
        self._secret = secret

    @property
    def party(self) -> Party:
        """The name of the one client that it plays."""
        return self._place.name

    def answer(self, asks: Mapping[Party, c.Ask]) -> Iterator[Answer]:
        """See `Host`. Whatever goes wrong is answered with `Failed`, which names the class of the error alone."""
        for party in asks:
            yield Answer(party=party, reply=c.Failed(error="DeviceRefused", text="", trace=""))

    def close(self) -> None:
        """Let go of the device's files; what is on disk stays. May be called again."""
