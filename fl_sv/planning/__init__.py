"""Checks and forecasts before anything trains: what is wrong, and what a run will cost."""
