"""A federation across companies: certificates, keys, checks, and thin commands over Flower's own
command line.

Nothing here imports Flower. `flwr` runs as a program, and what speaks its protocol is a module of
`clients`."""
