"""The run directory: what is finished, what is signed, and what can be computed again."""
