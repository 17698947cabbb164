"""Membership: was this example trained on, is it still in the memory, which task gave it away."""
