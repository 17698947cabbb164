"""One client sends 1,000 times its update: accuracy with and without a bound on norms that is checked on shares."""
