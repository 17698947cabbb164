"""Running: the main loop, its folder, what it measures, and the certificate."""
