#!/usr/bin/env bash
# Opacus 1.6.0: ModuleValidator.fix on a trained network with BatchNorm.
#
# One would guess: `fix` puts GroupNorm in BatchNorm's place with the same affine weights, so that a pre-trained network
# goes on from where it was, and the groups hold several channels each.
# What happens: scale and shift start anew at 1 and 0, whatever was trained. The number of groups is min(32, channels), so
# up to 32 channels get a group each; behind a linear layer a group is then one number, its normalised value is always 0,
# and the output of the whole network no longer depends on its input. No error, no warning.
# Why it matters: `fix` is what the error about BatchNorm names. A multilayer perceptron of 32 units trains to chance, and
# the accuracy is blamed on the noise. Replace the layer by hand: copy weight and bias, and put several channels in a group.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check torch==2.13.0 opacus==1.6.0
"$folder/env/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

import torch
from opacus.validators import ModuleValidator
from torch import nn

print("opacus", version("opacus"), "torch", torch.__version__)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(12, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 4))
with torch.no_grad():
    net[1].weight.uniform_(0.5, 2.0)
    net[1].bias.normal_()
fixed = ModuleValidator.fix(net).eval()
x = torch.randn(64, 12)
with torch.no_grad():
    before, after = (float(one(x).std(0).max()) for one in (net.eval(), fixed))
kept = torch.equal(fixed[1].weight, net[1].weight) and torch.equal(fixed[1].bias, net[1].bias)
print("replaced by", fixed[1], "trained scale and shift kept:", kept)
print(f"spread of the outputs over 64 inputs: {before:.2g} before, {after:.2g} after")
as_seen = not kept and fixed[1].num_groups == 32 and before > 0.1 and after < 1e-4
print("as described above" if as_seen else "this has changed")
sys.exit(0 if as_seen else 1)
PY
