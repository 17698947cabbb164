"""Proofs that a secret-shared vector is short, for two verifiers of whom none sees it (PINE).

- field: integers modulo the prime 2^64 - 2^32 + 1, in numpy
- expanding: seeds into bytes and field elements
- gadgets: fully linear proofs that sums of squares or of products were computed right
- circuits: what must hold of a short vector, as such sums
- pine: what the prover sends, what each verifier says, and when both accept
"""
