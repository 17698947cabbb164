"""Vectors before the sum: fixed-point encoding and rotation."""
