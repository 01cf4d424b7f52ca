"""Lists the benchmarks, one name a line; `make bench` runs them all."""

import pkgutil

import benchmarks

for module in pkgutil.iter_modules(benchmarks.__path__):
    if not module.name.startswith("_"):
        print(module.name)
