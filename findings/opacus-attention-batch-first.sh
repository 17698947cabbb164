#!/usr/bin/env bash
# Opacus 1.6.0: DPMultiheadAttention with batch_first=True.
#
# One would guess: with the weights of torch's MultiheadAttention it gives torch's outputs, as its documentation compares
# the two, and as it does in the standard layout (sequence first).
# What happens: with batch_first=True and the very same weights the outputs differ by as much as they are large. Shapes are
# right, nothing is raised. In the standard layout the difference is zero.
# Why it matters: batch_first is what most code of today uses. A pre-trained transformer that is converted for DP-SGD
# starts from other outputs than it was trained to give. Transpose around the layer and leave batch_first off.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check torch==2.13.0 opacus==1.6.0
"$folder/env/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

import torch
from opacus.layers import DPMultiheadAttention
from torch import nn

print("opacus", version("opacus"), "torch", torch.__version__)


def apart(batch_first: bool) -> float:
    """Largest difference of the outputs of both layers with the same weights, over the largest output."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(8, 2, batch_first=batch_first)
    private = DPMultiheadAttention(8, 2, batch_first=batch_first)
    private.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 5, 8)
    with torch.no_grad():
        wanted, found = theirs(x, x, x)[0], private(x, x, x)[0]
    return float((found - wanted).abs().max() / wanted.abs().max())


found = {batch_first: apart(batch_first) for batch_first in (False, True)}
for batch_first, off in found.items():
    print(f"batch_first={batch_first}: outputs differ by {off:.1e} of the largest")
as_seen = found[False] < 1e-5 and found[True] > 0.1
print("as described above" if as_seen else "this has changed")
sys.exit(0 if as_seen else 1)
PY
