"""The thin ClientApp, by Flower's public interface alone: for its simulation, and for stock SuperNodes.

On a stock SuperNode it is the server that supplies this code, with every run anew. What a client may not take from a
server it must not take this way: `secure_fcl.engines.flower.process` runs the device's own code instead.
"""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from secure_fcl.engines.flower.contents import ASK, GREET
from secure_fcl.engines.flower.names import DEVICES, FOLDER, PARTITION
from secure_fcl.engines.flower.node import Node, node_of
from secure_fcl.engines.parties import party_of
from secure_fcl.errors import DeviceRefused

app = ClientApp()


def node_at(context: Context) -> Node:
    """Return the client that a node plays, read anew from its folder: Flower may ask any process for any node.

    Raises:
        DeviceRefused: neither the node nor a simulated run names a folder, or it cannot be used.
    """
    if FOLDER in context.node_config:
        return node_of(Path(str(context.node_config[FOLDER])))
    if DEVICES in context.run_config and PARTITION in context.node_config:
        return node_of(Path(str(context.run_config[DEVICES])) / party_of(int(context.node_config[PARTITION])))
    raise DeviceRefused(f"this node names no folder of a device; start it with --node-config '{FOLDER}=\"DIR\"'")


@app.query(GREET.partition(".")[2])
def greet(message: Message, context: Context) -> Message:
    """Answer a challenge."""
    return node_at(context).reply(message)


@app.query(ASK.partition(".")[2])
def answer(message: Message, context: Context) -> Message:
    """Answer an ask."""
    return node_at(context).reply(message)
