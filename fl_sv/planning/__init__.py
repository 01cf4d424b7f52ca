"""What a run will cost, and what cannot be done, before anything trains."""
