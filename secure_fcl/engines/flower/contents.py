"""Frames as what Flower carries: small ones inside a ConfigRecord, large ones as the bytes of one array.

Flower cuts an array into chunks of 5 MiB and sends equal ones once; a ConfigRecord goes in one piece.
"""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from secure_fcl.errors import FrameRefused

GREET, ASK = "query.greet", "query.ask"
"""Types of messages; Flower hands each to the function of a ClientApp that is registered for it."""
INLINE = 256 * 1024
"""Bytes up to which a frame travels in the ConfigRecord."""
MOST_BYTES = 512 * 1024 * 1024
"""Bytes of one frame, either way. Flower itself has taken them over the wire when this is looked at."""

_FRAME, _LARGE = "frame", "large"
# Neither a dtype nor a form that Flower would parse: nothing but the bytes is ever looked at.
_DTYPE, _FORM = "uint8", "secure-fcl.frame"


def to_content(frame: bytes) -> RecordDict:
    """Return a frame as the content of a message.

    Raises:
        FrameRefused: it has more than `MOST_BYTES`.
    """
    if len(frame) > MOST_BYTES:
        raise FrameRefused(f"a frame of {len(frame)} bytes; Flower's messages here carry at most {MOST_BYTES}")
    if len(frame) <= INLINE:
        return RecordDict({_FRAME: ConfigRecord({"bytes": frame})})
    array = Array(_DTYPE, (len(frame),), _FORM, frame)
    return RecordDict({_FRAME: ConfigRecord({"size": len(frame)}), _LARGE: ArrayRecord({"bytes": array})})


def from_content(content: RecordDict) -> bytes:
    """Return the frame that `to_content` was given; nothing of it is parsed yet.

    Raises:
        FrameRefused: whatever `to_content` does not write.
    """
    head = content.config_records.get(_FRAME)
    if head is None:
        raise FrameRefused("a message of Flower carries no frame; its sender is no secure-fcl")
    match dict(head):
        case {"bytes": bytes(frame), **more} if not more and set(content) == {_FRAME} and len(frame) <= INLINE:
            return frame
        case {"size": int(size), **more} if not more and set(content) == {_FRAME, _LARGE} and size <= MOST_BYTES:
            large = content.array_records.get(_LARGE)
            if large is not None and set(large) == {"bytes"} and len(large["bytes"].data) == size:
                data: bytes = large["bytes"].data
                return data
    raise FrameRefused("a message of Flower carries a frame in another form than secure-fcl sends, or a cut one")
