"""Attacks on one client's gradient or update: inversion, extraction, labels, and how near a guess came."""
