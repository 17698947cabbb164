"""Sums under BFV: clients encrypt for a key holder, the server adds ciphertexts."""
