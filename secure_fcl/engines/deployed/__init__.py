"""Deployed devices: one client each, with configuration, data, ledger, memory and claims of its own on its own disk."""
