"""Lists the benchmarks, one name a line; `make bench` runs them all."""

from collections.abc import Iterator
from pathlib import Path


def names() -> Iterator[str]:
    """Everything that `python -m benchmarks.NAME` runs: modules, and packages with a `__main__`."""
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.suffix == ".py" and not path.name.startswith("_"):
            yield path.stem
        elif (path / "__main__.py").exists():
            yield path.name


if __name__ == "__main__":
    print(*names(), sep="\n")
