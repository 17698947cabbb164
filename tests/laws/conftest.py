import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from lawbench import LawRun  # noqa: E402 - found once the folder is on the path

import privacy.testing  # noqa: E402
from secure_fcl.config import load_config  # noqa: E402
from secure_fcl.engines.federation import simulated  # noqa: E402
from secure_fcl.engines.pool import WorkerPool  # noqa: E402
from secure_fcl.rows.budgets import RowBudget  # noqa: E402
from secure_fcl.running import loop  # noqa: E402
from secure_fcl.running.folder import RunFolder  # noqa: E402
from secure_fcl.running.loop import Job  # noqa: E402
from secure_fcl.running.prepare import prepare  # noqa: E402

SETTINGS = (
    "data.name=crafted:examples", "scenario.clients=6", "scenario.tasks=2", "privacy.max_dropouts=1", "workers=2",
    "training.model=mlp:8", "training.rounds=6", "training.steps=1", "training.q_memory=0.3", "training.q_fisher=0.5",
    "training.learning_rate=0.1", "training.upload_bits=40", "training.fisher_bits=50", "training.fisher_noise=0.2",
    "attacks.enabled=false", "memory.keep=0.9", "memory.capacity=40", "protection=plain",
    "privacy.accountant=crafted:accountant",
)  # fmt: skip

RunLaws = Callable[..., dict[str, LawRun]]


@pytest.fixture(scope="session")
def crafted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set's code in it."""
    folder = tmp_path_factory.mktemp("crafted")
    shutil.copy(HERE / "crafted.py", folder)
    return folder


@pytest.fixture(scope="session")
def law_run(crafted: Path) -> RunLaws:
    """`law_run(*rows, settings=...)`: a finished run of these rows, by name; the same one for the same arguments."""

    @cache
    def run(*rows: str, settings: tuple[str, ...] = (), parties: type[WorkerPool] = WorkerPool) -> dict[str, LawRun]:
        before, patch = Path.cwd(), pytest.MonkeyPatch()
        os.chdir(crafted)
        # What a budget file says of its worst cohort, and whether the accountant conforms, have tests of their own.
        patch.setattr(RowBudget, "epsilon", property(lambda _: 0.0))
        patch.setattr(privacy.testing, "check_accountant", lambda _: None)
        try:
            named = ", ".join(f'"{row}"' for row in rows)
            prepared = prepare(load_config(None, [f"rows=[{named}]", *SETTINGS, *settings]))
            folder = RunFolder.create(crafted / "runs", prepared.config)
            clients = prepared.scenario.clients
            with folder.locked(), parties(prepared.config.workers, clients) as pool:
                # What a certificate says of a ledger has tests of its own, and takes seconds at this little noise.
                patch.setattr(loop, "certify", lambda *_: None)
                pool.ledger = folder  # type: ignore[attr-defined]
                Job(prepared, folder, simulated(pool, clients)).run()
        finally:
            os.chdir(before)
            patch.undo()
        return {plan.name: LawRun(plan, folder) for plan, _ in prepared.rows}

    return run
