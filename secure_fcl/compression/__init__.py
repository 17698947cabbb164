"""Fewer bytes: public linear maps between a strategy's upload and the secure sum.

- maps: coordinates, chains, rotations; low_rank: random bases per layer
- recipe: the public choice, and one draw for each round
- wire: what travels, with its bounds; encodes a client's upload and decodes a sum
"""

from __future__ import annotations

from secure_fcl.compression.low_rank import LowRank
from secure_fcl.compression.maps import Chain, Compression, Coordinates, Rotated, Unchanged
from secure_fcl.compression.recipe import Kind, Recipe
from secure_fcl.compression.wire import Carrier, Wire, as_declared, wire_of, with_norm

__all__ = [
    "Carrier",
    "Chain",
    "Compression",
    "Coordinates",
    "Kind",
    "LowRank",
    "Recipe",
    "Rotated",
    "Unchanged",
    "Wire",
    "as_declared",
    "wire_of",
    "with_norm",
]
