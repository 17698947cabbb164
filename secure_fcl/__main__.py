"""`python -m secure_fcl` is `secure-fcl`."""

from secure_fcl.cli import main

if __name__ == "__main__":
    main()
