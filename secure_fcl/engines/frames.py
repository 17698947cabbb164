"""Commands as bytes: msgpack and raw arrays, nothing pickled, and one sentence for what is wrong with a frame."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from crypto.errors import CryptoError
from crypto.planning.plans import Plan
from crypto.protocols.plans import plan_from_bytes
from crypto.wire.arrays import pack, unpack
from crypto.wire.messages import Abort, Aggregate, Item, Message, decode, encode
from crypto.wire.values import pack_value, require_sparse, unpack_value
from privacy import Charge
from secure_fcl.config import Config, dump_config, validate
from secure_fcl.engines.commands import AnyArray, Arrays, Command, Items, Simulated
from secure_fcl.engines.parties import Party
from secure_fcl.errors import FrameRefused
from secure_fcl.rows.budgets import Arrivals, arrivals_from_json, arrivals_to_json
from secure_fcl.strategies import State

KINDS: Mapping[str, type[Command]] = {kind.__name__: kind for kind in get_args(Command)}
"""Every kind of request and reply by the name that stands in its frame."""

_FIELDS: dict[type[Any], dict[str, Any]] = {kind: get_type_hints(kind) for kind in (*KINDS.values(), Simulated)}


def to_frame(command: Command) -> bytes:
    """Return one command as bytes.

    Raises:
        FrameRefused: a value that does not fit its field, or is too large for a frame.
    """
    arrays: list[AnyArray] = []
    try:
        written = _written(command, arrays)
        named = {str(number): array for number, array in enumerate(arrays)}
        return pack({"kind": type(command).__name__, "fields": written}, named)
    except (CryptoError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise FrameRefused(f"this {type(command).__name__} cannot be sent: {error}") from error


def from_frame(frame: bytes) -> Command:
    """Return the command of a frame.

    Raises:
        FrameRefused: whatever is not a frame of `to_frame`, and nothing else is raised; names the kind and the field.
    """
    return _command(frame, KINDS, _LEAVES)


def from_untrusted(frame: bytes, kinds: Collection[type[Command]]) -> Command:
    """Return the command of a frame that somebody sent who may be corrupt: only of `kinds`, and no code is imported.

    *Guarantee*: takes memory of a small multiple of the frame's length, whatever is in it.

    Raises:
        FrameRefused: as `from_frame`; another kind; a plan that names code; a long frame of many small values.
    """
    try:
        require_sparse(frame)
    except CryptoError as error:
        raise FrameRefused(f"a frame is damaged: {error}") from error
    return _command(frame, {kind.__name__: kind for kind in kinds}, _UNTRUSTED)


def _command(frame: bytes, kinds: Mapping[str, type[Command]], leaves: Mapping[object, _Leaf]) -> Command:
    try:
        meta, arrays = unpack(frame)
    except CryptoError as error:
        raise FrameRefused(f"a frame is damaged: {error}") from error
    match meta:
        case {"kind": str(name), "fields": dict(found), **more} if name in kinds and not more:
            command: Command = _read(kinds[name], found, arrays, name, leaves)
            return command
    raise FrameRefused(f"a frame of kind {str(meta.get('kind'))[:40]!r}; known are {', '.join(kinds)}")


def to_batch(number: int, commands: Mapping[Party, Command]) -> bytes:
    """Return commands for many parties as one frame; one object for several parties is written once."""
    groups = [[parties, to_frame(command)] for command, parties in grouped(commands)]
    return pack_value([number, groups])


def from_batch(data: bytes) -> tuple[int, dict[Party, Command]]:
    """Return what `to_batch` wrote; parties of one group share the object.

    Raises:
        FrameRefused: as `from_frame`.
    """
    try:
        value = unpack_value(data)
    except CryptoError as error:
        raise FrameRefused(f"a batch of frames is damaged: {error}") from error
    found: dict[Party, Command] = {}
    match value:
        case [int(number), list(groups)]:
            for group in groups:
                match group:
                    case [list(parties), bytes(frame)] if all(isinstance(party, str) for party in parties):
                        found |= dict.fromkeys(parties, from_frame(frame))
                    case _:
                        raise FrameRefused("a batch of frames has a group that is no pair of parties and frame")
            return number, found
    raise FrameRefused("a batch of frames is no pair of number and groups")


def grouped(commands: Mapping[Party, Any]) -> Sequence[tuple[Any, list[Party]]]:
    """Return each object among the commands with the parties it is for, in order of first appearance."""
    groups: dict[int, tuple[Any, list[Party]]] = {}
    for party, command in commands.items():
        groups.setdefault(id(command), (command, []))[1].append(party)
    return list(groups.values())


def _written(value: Any, arrays: list[AnyArray]) -> dict[str, object]:
    """Return the fields of a dataclass as msgpack has them; arrays go into `arrays` and leave their place."""
    written: dict[str, object] = {}
    for name, hint in _FIELDS[type(value)].items():
        own = getattr(value, name)
        if hint in (Arrays, State):
            written[name] = {key: len(arrays) + place for place, key in enumerate(own)}
            arrays.extend(own.values())
        else:
            written[name] = _written(own, arrays) if hint in _FIELDS else _LEAVES[hint][0](own)
    return written


def _read(
    kind: type[Any],
    found: Mapping[str, Any],
    arrays: Mapping[str, AnyArray],
    where: str,
    leaves: Mapping[object, _Leaf],
) -> Any:
    """Return a dataclass of fields as `_written` has them."""
    hints = _FIELDS[kind]
    if found.keys() != hints.keys():
        odd = sorted(map(str, found.keys() ^ hints.keys()))
        raise FrameRefused(f"a frame of kind {where} has too many or too few fields: {', '.join(odd)[:200]}")
    read: dict[str, Any] = {}
    for name, hint in hints.items():
        place = f"{where}.{name}"
        try:
            if hint in (Arrays, State):
                read[name] = _arrays(found[name], arrays)
            elif hint in _FIELDS:
                read[name] = _read(hint, _exact(dict)(found[name]), arrays, place, leaves)
            else:
                read[name] = leaves[hint][1](found[name])
        except FrameRefused:
            raise
        # Whatever a reader of untrusted values raises means one thing here.
        except Exception as error:
            raise FrameRefused(f"a frame's field {place} is malformed: {type(error).__name__}: {error}") from error
    return kind(**read)


def _arrays(places: object, arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    return {name: arrays[str(_whole(place))] for name, place in _exact(dict)(places).items()}


def _exact(kind: type[Any]) -> Callable[[object], Any]:
    def read(value: object) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
        return value

    return read


def _whole(value: object) -> int:
    number: int = _exact(int)(value)
    if number < 0:
        raise ValueError(f"{number} is below 0")
    return number


def _item(blob: object) -> Item:
    item = decode(_exact(bytes)(blob))
    if not isinstance(item, Message | Aggregate | Abort):
        raise TypeError(f"{type(item).__name__} is for helper parties alone")
    return item


def _retired(value: object) -> Arrivals:
    pairs = [_exact(list)(pair) for pair in _exact(list)(value)]
    return arrivals_from_json([(_exact(str)(group), _whole(arrival)) for group, arrival in pairs])


_Leaf = tuple[Callable[[Any], object], Callable[[Any], Any]]


def _plain(read: Callable[[Any], Any]) -> _Leaf:
    return lambda value: read(value), read


_LEAVES: dict[object, _Leaf] = {
    bool: _plain(_exact(bool)),
    int: _plain(_whole),
    float: (float, _exact(float)),
    str: _plain(_exact(str)),
    bytes: _plain(_exact(bytes)),
    bytes | None: _plain(lambda value: None if value is None else _exact(bytes)(value)),
    Path: (str, lambda text: Path(_exact(str)(text))),
    Path | None: (
        lambda path: None if path is None else str(path),
        lambda text: None if text is None else Path(_exact(str)(text)),
    ),
    Config: (dump_config, lambda text: validate(tomllib.loads(_exact(str)(text)))),
    # Frames travel between a run and the processes that it started itself.
    Plan: (Plan.to_bytes, lambda data: plan_from_bytes(_exact(bytes)(data), trust_code=True)),
    Items: (lambda items: [encode(item) for item in items], lambda blobs: tuple(map(_item, _exact(list)(blobs)))),
    Arrivals: (arrivals_to_json, _retired),
    tuple[Charge, ...]: (
        lambda charges: [charge.to_json() for charge in charges],
        lambda records: tuple(Charge.from_json(_exact(dict)(record)) for record in _exact(list)(records)),
    ),
}
_UNTRUSTED: Mapping[object, _Leaf] = {
    **_LEAVES,
    Plan: (Plan.to_bytes, lambda data: plan_from_bytes(_exact(bytes)(data))),
}
