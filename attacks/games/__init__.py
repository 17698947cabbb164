"""Games: what an adversary sees, what it guesses, the secret coins, and how its scores are judged."""
