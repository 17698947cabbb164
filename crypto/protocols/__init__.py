"""Secure-sum protocols: one interface (`session`), envelopes, and a folder or file for each protocol."""
