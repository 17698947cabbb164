"""Two strategies on arrays of one's own: 8 people wear a sensor, four activities, two tasks; then a model predicts."""

from __future__ import annotations

import numpy as np

import secure_fcl

rng = np.random.default_rng(7)
people, classes = 8, ("rest", "walk", "run", "jump")
client = np.repeat(np.arange(people), 80)
label = np.tile(np.arange(len(classes)), len(client) // len(classes))
time = np.arange(64) / 25
# Six channels of 64 readings; activities differ in rhythm and strength.
waves = np.sin(2 * np.pi * (0.8 * label)[:, None, None] * time + rng.uniform(0, 6, (len(label), 6, 1)))
x = (0.3 * label[:, None, None] * waves + rng.normal(0, 0.1, (len(label), 6, 64))).astype(np.float32)

run = secure_fcl.run(
    {
        "rows": ["class_sums", "finetune"],
        "scenario": {"clients": people, "tasks": 2},
        "class_sums": {"epsilon": 8.0},
        "training": {"rounds": 3},
        "privacy": {"max_dropouts": 1},
        "attacks": {"enabled": False},
    },
    data={"x": x, "y": label, "client": client, "classes": classes, "test": np.arange(len(label)) % 5 == 0,
          "units": "g and 2 rad/s, 25 Hz"},
)  # fmt: skip
print(run.accuracy)
print(run.epsilon)
print("predicted:", *run.model("class_sums").predict(x[:4]))
print("report:", run.report)
