#!/usr/bin/env bash
# Flower 1.42.0: making a `Message` outside a running app, as a unit test of one's own aggregation would.
#
# One would guess: `Message(content, dst_node_id=..., message_type=...)` is a plain value, as its documentation shows it, and
# can be made anywhere: in a test of a function that answers messages, or of a grid of one's own.
# What happens: the constructor asks for the run's number in a state of the process that only Flower's own entry points set,
# and raises `RuntimeError: TaskIdentity.run_id is not set.`, which names neither Message nor what to do.
# Why it matters: code against the Message API cannot be tested without a SuperLink or a simulation, or without setting that
# state of the process by hand.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check flwr==1.42.0
FLWR_TELEMETRY_ENABLED=0 "$folder/env/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from flwr.app import ArrayRecord, Message, RecordDict

print("flwr", version("flwr"))
print("a record dict alone:", list(RecordDict({"weights": ArrayRecord()})))
try:
    message = Message(RecordDict(), dst_node_id=1, message_type="train")
except RuntimeError as error:
    print("a message:", type(error).__name__, error)
    as_seen = "run_id is not set" in str(error)
else:
    print("a message:", message.metadata.message_type)
    as_seen = False
print("as described above" if as_seen else "this has changed")
sys.exit(0 if as_seen else 1)
PY
