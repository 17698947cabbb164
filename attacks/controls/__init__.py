"""Controls: what an attack must find, since it was planted, and what it must not."""
