"""Measured claims, each `python -m benchmarks.NAME [--json]`. `python -m benchmarks` lists the
names.
"""
