"""Torch modules as functions of one flat vector of weights, and the updates that clients make of them."""
