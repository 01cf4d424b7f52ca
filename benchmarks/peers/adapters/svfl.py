"""svfl: all n! orders, by a callback. It never requests the empty coalition."""

from importlib.metadata import version

from svfl.svfl import calculate_sv

VERSION = version("svfl")


def shapley(table):
    found = calculate_sv({i: i for i in range(table.n)}, table, tuple)
    return [found[i] for i in range(table.n)]
