"""The real CrypTen, in processes of its own. Each start costs 1 to 3 s."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crypto import Aggregate, Upload, open_client, plan, run_round, set_up
from crypto.errors import PartyLost
from crypto.running.processes import child_environment, host_parties


def test_extreme_sums_loss_of_a_server_and_cleaning_up(capfd: pytest.CaptureFixture[str]) -> None:
    bound = (2**63 - 1) // 3
    made = plan("mpc", ("a", "b", "c"), (Upload(name="g", length=5, bound=bound),), 5)
    with host_parties(made) as hosted:
        folder = hosted._meeting_place().parent
        assert folder.stat().st_mode & 0o777 == 0o700
        parties = {name: open_client(made, name) for name in made.clients} | hosted.parties
        set_up(parties)
        for number, value in enumerate((bound, -bound)):
            outcome = run_round(parties, number, "g", dict.fromkeys(made.clients, np.full(5, value)))
            assert isinstance(outcome, Aggregate)
            assert outcome.total.tolist() == [3 * value] * 5
        os.kill(hosted.parties["compute1"].pid, signal.SIGKILL)
        with pytest.raises(PartyLost) as caught:
            run_round(parties, 2, "g", dict.fromkeys(made.clients, np.ones(5, dtype=np.int64)))
        assert "compute" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not folder.exists()
    assert not any(party.alive for party in hosted.parties.values())
    assert capfd.readouterr() == ("", "")


def test_multiplication_is_refused(tmp_path: Path) -> None:
    program = (
        "import sys, torch\nfrom pathlib import Path\nfrom crypto.protocols.mpc.crypten_backend import CrypTenGroup\n"
        "from crypto.errors import CryptoError\n"
        "group = CrypTenGroup(0, 1, Path(sys.argv[1]))\nimport crypten\n"
        "x = crypten.cryptensor(torch.ones(3))\n"
        "try:\n    x * x\nexcept CryptoError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(tmp_path / "meet")],
        capture_output=True,
        text=True,
        env=child_environment(),
        timeout=60,
        check=False,
    )
    assert "multiplying shares is refused" in done.stdout, done.stderr[-500:]
