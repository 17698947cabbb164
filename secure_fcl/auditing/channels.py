"""Side channels of a run: do sizes and times of the recorded uploads tell how much data a client has?"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

import numpy as np

from attacks.games.views import SIDE_CHANNELS, View
from attacks.sums.channels import ChannelFinding, channel_finding, message_features
from evaluation.files import read_jsonl
from secure_fcl.auditing.world import TOO_LITTLE, AuditWorld, Bools
from secure_fcl.engines.disclosures import disclosures_path
from secure_fcl.engines.simulation import load_arrays
from secure_fcl.randomness import public_seed
from secure_fcl.streams import IDLE

Measure = Literal["bytes", "seconds", "number"]

#: Channel, the field of a recorded message it is read from, and what it may not tell.
_CHANNELS: tuple[tuple[str, Measure], ...] = (("message sizes", "bytes"), ("message times", "seconds"))


def play_channels(world: AuditWorld) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return one finding per channel: can it tell clients with much data in a task from those with little?

    A world of the game is one visit of a client to a task; its secret is whether the client has more examples than the
    median client of that task. No ledger charges sizes or times, so that anything found is unaccounted for. Times are
    those of this simulation, from the start of a client's training to its upload.
    """
    messages = _messages(world)
    if not messages:
        return [], ("side channels: the run recorded no uploads",)
    rows, secrets = _visits(world, messages)
    findings, missing = [], []
    for channel, field in _CHANNELS:
        if any(field not in one for visit in rows for one in visit):
            missing.append(f"side channel, {channel}: the run recorded none")
            continue
        values = [[float(one[field]) for one in visit] for visit in rows]
        features = np.stack([_features(field, visit) for visit in values])
        seed = public_seed(world.plan.config.seed, "channel", channel) % 2**32
        try:
            found = channel_finding(channel, features, secrets, charged=0.0, seed=seed)
        except TOO_LITTLE as error:
            missing.append(f"side channel, {channel}: {error}")
            continue
        findings.append(_record(found, values, field))
    more, untold = _declared(world)
    return findings + more, (*missing, *untold)


def _declared(world: AuditWorld) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return one finding per side channel that the strategy declares: which client holds which class?

    A world of the game is one client and one class announced for the slot that a message speaks of; its secret is
    whether the client trains on the class then. The adversary looks at the size of what the client sent for it.
    """
    findings, missing = [], []
    plan = world.plan
    for channel in plan.channels:
        sizes, secrets = [], []
        for slot in range(channel.lag, plan.scenario.slots):
            told = slot - channel.lag
            sent = load_arrays(disclosures_path(world.folder.path, plan.name, slot))[channel.name]
            for row, name in zip(sent, plan.clients_in(slot), strict=True):
                held, loudness = _first_labels(world, int(name.removeprefix("client")), told), channel.loudness(row)
                for label in plan.scenario.slot_classes(told):
                    sizes.append(float(loudness[label]))
                    secrets.append(label in held)
        features = np.log1p(np.array(sizes)[:, None])
        seed = public_seed(plan.config.seed, "channel", channel.name) % 2**32
        try:
            found = channel_finding(channel.name, features, np.array(secrets), charged=0.0, seed=seed)
        except TOO_LITTLE as error:
            missing.append(f"side channel, {channel.name}: {error}")
            continue
        findings.append(_record(found, [sizes], "number"))
    return findings, tuple(missing)


def _first_labels(world: AuditWorld, client: int, slot: int) -> set[int]:
    """Return the classes that a client trains on in the first round of a slot."""
    scenario, places = world.plan.scenario, world.plan.storage.places_per_chunk
    chunks = [scenario.experience(client, task).chunk(0, places) for task in scenario.released(client, slot)]
    return {int(label) for chunk in chunks for label in scenario.data.y[chunk]}


def _features(field: str, values: list[float]) -> np.ndarray:
    """What an adversary sees of one visit; times alone come with equal sizes, which tell nothing."""
    sizes = values if field == "bytes" else [1.0] * len(values)
    fields = {"message_bytes": np.array(sizes, dtype=np.float64)}
    if field == "seconds":
        fields["message_seconds"] = np.array(values, dtype=np.float64)
    return message_features(View.of(SIDE_CHANNELS, fields))


def _messages(world: AuditWorld) -> list[dict[str, Any]]:
    """Return every recorded upload of the row: client, slot, bytes and seconds."""
    records = read_jsonl(world.folder.path / "cost.jsonl").records
    own = [record for record in records if record.get("row") == world.plan.name]
    return [{**one, "slot": record["task"]} for record in own for one in record.get("ciphertexts", ())]


def _visits(world: AuditWorld, messages: list[dict[str, Any]]) -> tuple[list[list[dict[str, Any]]], Bools]:
    """Return the uploads of every client in every slot, and whether it held more than the slot's median client."""
    scenario = world.plan.scenario
    grouped: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for one in messages:
        grouped[int(one["slot"]), int(one["client"])].append(one)
    held = np.zeros((scenario.slots, scenario.clients))
    for client, calendar in enumerate(scenario.calendar.tolist()):
        for slot, task in enumerate(calendar):
            held[slot, client] = 0 if task == IDLE else len(scenario.experience(client, task).index)
    above = held > np.median(held, axis=1, keepdims=True)
    groups = sorted(grouped)
    return [grouped[key] for key in groups], np.array([above[slot, client] for slot, client in groups])


def _record(found: ChannelFinding, values: list[list[float]], measure: Measure) -> dict[str, Any]:
    every = np.array([value for visit in values for value in visit])
    return {
        "channel": found.channel, "measure": measure,
        "auc": found.auc.value, "low": found.auc.low, "high": found.auc.high,
        "n": found.auc.n, "charged": found.charged, "unaccounted": found.unaccounted,
        "least": float(every.min()), "largest": float(every.max()),
    }  # fmt: skip
