"""Where the time of a sweep goes.

    python -m benchmarks.profile [--json]

The game of benchmarks.sweep (digits, 10 companies, 30 rounds, width 32) under Python's profiler,
which itself costs some percent, mostly of the many small steps.
"""

import json
import sys

from benchmarks.sweep.profile import measure
from benchmarks.sweep.sweeps import quietly


def main() -> None:
    quietly()
    found = measure()
    if "--json" in sys.argv:
        print(json.dumps(found))
        return
    for table in found.values():
        for name, seconds in table.items():
            print(f"{seconds:8.2f} s  {name}")


if __name__ == "__main__":
    main()
