"""The process that plays clients: the only place where a clear update ever exists.

It trains, encodes, adds noise shares and encrypts; what leaves it are protocol messages. Run as
`python -m secure_fcl.engines.worker FD`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.keys.randomness import KeyedStream
from crypto.keys.roster import Identity
from crypto.opening import open_client
from crypto.planning.plans import plan_from_bytes
from crypto.protocols.session import ClientSession
from crypto.wire.messages import Item, Message
from privacy import Charge, RandomBytes, spent
from secure_fcl.compression import Carrier
from secure_fcl.config import validate
from secure_fcl.data import load
from secure_fcl.engines.channel import Channel, pack_items, unpack_items
from secure_fcl.engines.device import Device
from secure_fcl.engines.identities import state_digest
from secure_fcl.engines.simulation import save_clear_update
from secure_fcl.randomness import Coins
from secure_fcl.rows.budgets import ClientBudget, arrivals_from_json, planned_budget
from secure_fcl.rows.build import build_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import Contribution, DeviceView, State, StepContext
from secure_fcl.strategies.side_channels import Discloses
from secure_fcl.streams import Scenario, build_scenario


@dataclass
class _Row:
    """What a worker holds while one row runs."""

    plan: RowPlan
    devices: dict[int, Device]
    sessions: dict[int, ClientSession]
    coins: Coins
    folder: Path
    budget: ClientBudget


class Worker:
    """Answers the commands of the run's process, one after the other."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._scenario: Scenario | None = None
        self._row: _Row | None = None

    def serve(self) -> None:
        """Answer until told to stop or the other side is gone."""
        while True:
            try:
                meta, arrays = self._channel.receive()
            except EOFError:
                return
            if meta["do"] == "stop":
                return
            try:
                self._answer(meta, arrays)
            except Exception as error:
                # The text goes to the run's own process on this machine, which turns it into one sentence.
                self._channel.send(
                    {"re": "error", "type": type(error).__name__, "text": str(error), "trace": traceback.format_exc()}
                )

    def _answer(self, meta: dict[str, Any], arrays: dict[str, Any]) -> None:
        match meta["do"]:
            case "open":
                self._open(meta, arrays)
            case "keys":
                self._keys(meta)
            case "deliver":
                self._answer_messages(self._current(), meta["items"], [])
            case "visit":
                self._visit(meta, arrays)
            case "close":
                self._close(meta["slot"], dict(arrays))
            case "disclose":
                self._disclose(meta, dict(arrays))
            case "export":
                self._export()

    def _open(self, meta: dict[str, Any], arrays: dict[str, NDArray[np.float64]]) -> None:
        import torch

        config = validate(meta["config"])
        torch.set_num_threads(config.threads)
        if self._scenario is None:
            self._scenario = build_scenario(load(config.data.name, config.data.data_dir or None), config)
        plan = build_row(config, self._scenario, meta["row"], meta["noise_multiplier"])
        coins = Coins(meta["secret"])
        devices = {k: Device(plan, k, coins, arrays.get(f"keys{k}")) for k in meta["clients"]}
        for k, device in devices.items():
            held = {name[: -len(f"-{k}")]: array for name, array in arrays.items() if name.endswith(f"-{k}")}
            if held:
                device.restore(held)
        # The plan is the client's own, so its budget is too; only what was charged before is told to it.
        charged = spent(Charge.from_json(record) for record in meta["charged"])
        budget = ClientBudget(plan, planned_budget(plan), charged)
        self._row = _Row(plan, devices, {}, coins, Path(meta["folder"]), budget)
        self._channel.send(
            {"re": "opened", "pid": os.getpid()},
            {f"keys{k}": d.keys for k, d in devices.items()} | {f"items{k}": d.items for k, d in devices.items()},
        )

    def _current(self) -> _Row:
        if self._row is None:
            raise RuntimeError("no row is open; the run's process must send open first")
        return self._row

    def _keys(self, meta: dict[str, Any]) -> None:
        row = self._current()
        secure = plan_from_bytes(meta["plan"])
        first: list[Item] = []
        public: object | None = None
        # Who is not in the plan has not joined yet, or has left.
        row.sessions.clear()
        for k in (k for k in row.devices if f"client{k}" in secure.clients):
            own = Identity.load(Path(meta["identities"]) / f"client{k}.key")
            session = open_client(secure, own.name, public=public, identity=own)
            first += session.start()
            public = session.public
            row.sessions[k] = session
        self._answer_messages(row, meta["items"], first)

    def _answer_messages(self, row: _Row, blobs: list[bytes], before: list[Item]) -> None:
        """Give messages to the clients they are for, and return what follows and how many clients lack keys."""
        answers = list(before)
        for message in unpack_items(blobs):
            for session in row.sessions.values():
                if isinstance(message, Message) and message.receiver in (session.name, "clients"):
                    answers += session.on(message)
        waiting = sum(not session.ready for session in row.sessions.values())
        self._channel.send({"re": "answered", "items": pack_items(answers), "waiting": waiting})

    def _visit(self, meta: dict[str, Any], arrays: dict[str, NDArray[np.float32]]) -> None:
        row, state = self._current(), dict(arrays)
        plan, step = row.plan, row.plan.step(meta["slot"], meta["round"])
        model = state_digest(arrays, f"{plan.name} {step.slot} {step.round}")
        wire = plan.wire(step.phase, step.slot)
        carrier = wire.draw(step.slot, step.round)
        begun = time.perf_counter()
        retired = arrivals_from_json(meta["retired"])
        groups = plan.scenario.groups
        row.budget.take_part({groups[k] for k in row.sessions}, step.slot, step.round, retired)
        views = {
            k: row.devices[k].view(step.slot, step.round, {task for group, task in retired if group == groups[k]})
            for k in row.sessions
        }
        coins = [self._training_coins(row, k, state, views[k], step) for k in views]
        made = plan.strategy.contribute_all(state, list(views.values()), step, coins) if views else iter(())
        for k, contribution in zip(views, made, strict=True):
            row.devices[k].kept = dict(contribution.kept)
            values = self._encoded(row, k, carrier, contribution, step)
            trained = time.perf_counter()
            session = row.sessions[k]
            # Who missed the last answer has no keys for this sum and sits it out.
            number = meta["number"]
            messages = session.submit(number, wire.sent.name, values, model=model) if session.ready else ()
            sealed = time.perf_counter()
            self._channel.send(
                {"re": "sent", "client": k, "items": pack_items(messages),
                 "train": trained - begun, "encrypt": sealed - trained}
            )  # fmt: skip
            begun = time.perf_counter()
        self._channel.send({"re": "done"})

    def _training_coins(self, row: _Row, client: int, state: State, view: DeviceView, step: StepContext) -> RandomBytes:
        """Return a client's coins for one round, and leave its update in the clear where a view of it is declared."""
        plan, wanted = row.plan, row.plan.config.attacks
        coins: RandomBytes = row.coins.stream(plan.name, "round", client, step.slot, step.round, "training")
        shown = wanted.enabled and wanted.one_client_view and client == wanted.client and plan.name == wanted.row
        if not (shown and step.slot == 0 and step.round == 0):
            return coins
        # One key for both visits: the noise-free twin sees the same batches, and no coin is ever stored.
        key = coins(32)
        save_clear_update(row.folder, plan, state, view, KeyedStream(key), KeyedStream(key))
        return KeyedStream(key)

    def _encoded(
        self, row: _Row, client: int, carrier: Carrier, contribution: Contribution, step: StepContext
    ) -> NDArray[np.int64]:
        """Return the integer vector of one client: contribution, shortened, clipped, encoded, noise share added."""
        labels = (row.plan.name, "round", client, step.slot, step.round)
        values = carrier.encode(contribution.parts, row.coins.stream(*labels, "rounding"))
        noise = row.plan.noise_in(step.slot, step.phase)
        return values + noise.share(len(values), row.coins.stream(*labels, "noise")) if noise else values

    def _close(self, slot: int, state: State) -> None:
        row = self._current()
        for device in row.devices.values():
            device.close(slot, state)
        self._channel.send({"re": "closed"}, {f"held{k}": d.held.index for k, d in row.devices.items()})

    def _disclose(self, meta: dict[str, Any], state: State) -> None:
        row = self._current()
        strategy, step = row.plan.strategy, row.plan.step(meta["slot"], meta["round"])
        arrays: dict[str, NDArray[np.float32]] = {}
        if isinstance(strategy, Discloses):
            for k, device in row.devices.items():
                made = strategy.disclose(state, device.view(step.slot, step.round), step)
                arrays |= {f"{name}-{k}": array for name, array in made.items()}
        self._channel.send({"re": "disclosed"}, arrays)

    def _export(self) -> None:
        devices = self._current().devices
        arrays = {f"{name}-{k}": array for k, d in devices.items() for name, array in d.export().items()}
        self._channel.send({"re": "exported"}, arrays)


def main(descriptor: int) -> None:
    """Serve on an inherited socket. Ctrl-C is the parent's to handle: it ends workers when it has saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Worker(Channel(Connection(descriptor))).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
