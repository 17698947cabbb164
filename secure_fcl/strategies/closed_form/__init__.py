"""Strategies that upload sums of bounded statistics and compute their classifier in closed form."""
