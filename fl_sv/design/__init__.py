"""Which coalitions train: the small models all or a sample, the large model a few."""
