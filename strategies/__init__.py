"""Flower strategies: the strict teacher's, the sweep's, and Flower's own by name."""
