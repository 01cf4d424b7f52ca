"""A federation across companies: certificates, keys, checks, and commands that call Flower's own.

Nothing here imports Flower: `flwr` runs as a program, and the module that speaks its protocol lies
in `clients`.
"""
