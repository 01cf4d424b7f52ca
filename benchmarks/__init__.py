"""Measured claims: a folder for each, and a command `python -m benchmarks.NAME [--json]` for each.

`python -m benchmarks` lists the names. A name is a file here (truth, alarms, profile, demo) or a
folder with a `__main__.py` (sweep, estimators, federation, distillation, peers).
"""
