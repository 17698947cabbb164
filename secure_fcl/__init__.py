"""secure-fcl: federated continual learning with DP-SGD, encrypted sums, and an attack suite.

- config: a run's configuration; runner and running: run it; auditing: attacks it; studies: many of them; cli: commands
- data, features, streams, memory, strategies, compression, rows: what a run is made of; forecast: what it would cost
- engines: worker processes and the messages between them
- testing: laws that any strategy, stream or memory must keep
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

__version__ = "0.1.0"

_SIBLINGS = ("crypto", "privacy", "attacks", "evaluation")


def _check_siblings() -> None:
    """Refuse to run with somebody else's module under the name of one of our toolkits.

    The four names are generic: a user's own `attacks.py` in the working folder would be imported instead of ours.
    """
    home = Path(__file__).resolve().parent.parent
    for name in _SIBLINGS:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != home or origin.parent.name != name:
            found = origin or "nothing"
            raise ImportError(
                f"secure_fcl needs its own package {name!r} from {home / name}, but Python finds {found}; "
                "rename that file or folder, or start Python from another folder"
            )


_check_siblings()
