"""A company of the federation, as Flower runs it."""
