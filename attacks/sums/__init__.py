"""Attacks on what a secure sum reveals: who arrived, what a server that plans ahead learns, side channels."""
