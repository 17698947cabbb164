"""Sums without a key that opens them: clients send x + pad to the server, a helper the sum of the pads of one list."""
