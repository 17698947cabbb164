"""The thin ClientApp, by Flower's public interface alone: for its simulation, and for stock SuperNodes.

On a stock SuperNode it is the server that supplies this code, with every run anew. What a client may not take from a
server it must not take this way: `secure_fcl.engines.flower.process` runs the device's own code instead.
"""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from secure_fcl.engines.deployed.folder import DeviceFolder
from secure_fcl.engines.flower.contents import ASK, GREET
from secure_fcl.engines.flower.names import DEVICES, FOLDER, PARTITION
from secure_fcl.engines.flower.node import node_of
from secure_fcl.engines.parties import party_of
from secure_fcl.errors import DeviceRefused

app = ClientApp()


def folder_of(context: Context) -> Path:
    """Return the device's folder that a node plays.

    Raises:
        DeviceRefused: neither the node nor a simulated run names one.
    """
    if FOLDER in context.node_config:
        return Path(str(context.node_config[FOLDER]))
    devices = context.run_config.get(DEVICES)
    if devices and PARTITION in context.node_config:
        return Path(str(devices)) / party_of(int(context.node_config[PARTITION]))
    raise DeviceRefused(f"this node names no folder of a device; start it with --node-config '{FOLDER}=\"DIR\"'")


def reply(message: Message, context: Context) -> Message:
    """Answer a challenge or an ask, with what the device's disk holds: Flower may hand any message to any process."""
    return node_of(DeviceFolder.read(folder_of(context)), "shipped").reply(message)


for _kind in (GREET, ASK):
    app.query(_kind.partition(".")[2])(reply)
