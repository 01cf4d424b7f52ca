"""The same utilities, and the same federated run, through every peer that installs here: `python -m
benchmarks.peers`.

A peer is a public package that values participants of federated learning, or computes Shapley
values from utilities."""
