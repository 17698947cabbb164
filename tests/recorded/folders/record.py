"""Record a run folder in today's format, once for every number in `secure_fcl.running.format`.

    python tests/recorded/folders/record.py

writes `format-<number>` beside this file. What a later version must still read is the run's own files, so the page
is left out, and so is `simulation/`, which no deployment writes. Folders that are there are never recorded anew.
"""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path
from unittest.mock import patch

from secure_fcl.cli.commands import app
from secure_fcl.running.format import FORMAT

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run the configuration beside this file and keep what it wrote."""
    name = f"format-{FORMAT}"
    # The folder is for everybody, and says nothing of who recorded it.
    with patch.object(platform, "platform", lambda: platform.system()):
        app(["run", str(HERE / "format.toml"), "--runs", str(HERE), "--name", name], standalone_mode=False)
    shutil.rmtree(HERE / name / "simulation")
    for left_out in ("report.html", ".lock"):
        (HERE / name / left_out).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
