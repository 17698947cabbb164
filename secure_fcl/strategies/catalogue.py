"""The list of strategies: every name that a configuration may give without naming code of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secure_fcl.strategies.closed_form import calm, class_sums, classifiers
from secure_fcl.strategies.entry import GradientEntry, SumsEntry
from secure_fcl.strategies.methods import (
    averaging,
    cfed,
    distillation,
    fedweit,
    glfc,
    memory_aware,
    not_true,
    plain,
    regularisation,
    replay,
    scaffold,
)  # fmt: skip

Entry = GradientEntry[Any] | SumsEntry[Any]

ENTRIES: Mapping[str, Entry] = {
    "finetune": plain.finetune,
    "replay": plain.replay,
    "fedavg": averaging.fedavg,
    "fedprox": regularisation.fedprox,
    "scaffold": scaffold.scaffold,
    "fedewc": regularisation.fedewc,
    "fedcurv": regularisation.fedcurv,
    "fedsi": regularisation.fedsi,
    "fedssi": regularisation.fedssi,
    "fedmas": memory_aware.fedmas,
    "fedlwf": distillation.fedlwf,
    "flwf2t": distillation.flwf2t,
    "fedntd": not_true.fedntd,
    "cfed": cfed.cfed,
    "derpp": replay.derpp,
    "fedagem": replay.fedagem,
    "glfc": glfc.glfc,
    "glfc_safe": glfc.glfc_safe,
    "fedweit": fedweit.fedweit,
    "fedweit_safe": fedweit.fedweit_safe,
    "joint": plain.joint,
    "local_only": averaging.local_only,
    "class_sums": class_sums.class_sums,
    "analytic": classifiers.analytic,
    "slda": classifiers.slda,
    "calm": calm.calm,
}
"""In the order in which tables show them: names are in files of runs, so they never change their meaning."""

CHANNELS: tuple[str, ...] = tuple(name for entry in ENTRIES.values() for name in entry.channels)
"""Names of all side channels that these strategies know."""
