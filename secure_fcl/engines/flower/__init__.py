"""Flower 1.42 as a carrier: its grid is the server's `Parties`, its nodes call a `Host`; the loop knows none of it."""
