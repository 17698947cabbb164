"""The closed forms side by side on generated sets: what CALM's constants were settled on, and how near it is."""
