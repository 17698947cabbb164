"""Random bytes, identities and rosters, sealed boxes, and secrets that never print."""
