"""Lower bounds on epsilon from what attacks found: canaries, one run with many coins, the Gaussian curve."""
