#!/usr/bin/env bash
# torch 2.13.0 on a CPU: the Euclidean norm of a long float32 vector.
#
# One would guess: `x.norm()` is about as exact as `x.square().sum().sqrt()`, whose sum goes by halves and is off by some
# 1e-8. What happens: norm and torch.linalg.vector_norm, with a dimension and without, add up in a few running float32
# totals. Of ten million equal entries the norm is .4 % short, of ten million normal ones some hundredths of a per cent;
# of a million .07 % and .001 %. The root of torch's own sum of squares is right to 1e-6, and so is `dtype=torch.float64`.
# NumPy's float32 norm, a product of BLAS, errs too: a tenth as much here.
# Why it matters: whoever scales vectors to a given norm by this one leaves them that much too long, and all in one
# direction, since the norm is always short where entries are alike. Differential privacy rests on such norms.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/env/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
import torch

torch.set_num_threads(1)
print("torch", torch.__version__, "numpy", np.__version__)
found = {}
for size in (10**4, 10**6, 10**7):
    torch.manual_seed(0)
    for name, x in (("equal", torch.full((size,), 0.1337)), ("normal", torch.randn(size))):
        exact = float(x.double().norm())
        ways = {
            "norm": x.norm(),
            "vector_norm by row": torch.linalg.vector_norm(x[None], dim=1)[0],
            "root of the sum of squares": x.square().sum().sqrt(),
            "vector_norm, dtype=float64": torch.linalg.vector_norm(x, dtype=torch.float64),
            "numpy": np.linalg.norm(x.numpy()),
        }
        off = {way: float(value) / exact - 1.0 for way, value in ways.items()}
        found[size, name] = off
        print(f"{size:>9,} {name:6}", *(f"{way} {error:+.1e};" for way, error in off.items()))
as_seen = all(
    found[10**7, name]["norm"] < -1e-4 and found[10**7, name]["vector_norm by row"] < -1e-4
    and all(abs(found[10**7, name][way]) < 1e-6 for way in ("root of the sum of squares", "vector_norm, dtype=float64"))
    for name in ("equal", "normal")
)
print("as described above" if as_seen else "this has changed")
sys.exit(0 if as_seen else 1)
PY
