"""Sums on shares: clients share their vectors between two computing servers that run CrypTen."""
