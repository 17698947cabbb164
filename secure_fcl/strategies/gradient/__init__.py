"""Strategies that train a network: one frame, and methods that say what is special about each."""
