"""Forecasts: what a run would cost and spend, and the facts of every strategy."""
