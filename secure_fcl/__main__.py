"""`python -m secure_fcl` is `secure-fcl`."""

from __future__ import annotations

from secure_fcl.cli.commands import main

if __name__ == "__main__":
    main()
