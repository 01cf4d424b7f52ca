"""What peers make of the same utilities, of mistakes in them, and of the same federated run.

    python -m benchmarks.peers [--json] [--patience 30]

Every peer is installed once, into a virtual environment in $FL_SV_HOME/peers (default ~/.fl-sv),
which needs a package index. A peer that needs a newer Python gets the first one on the PATH. A peer
that cannot be installed or run is listed with the reason. Each method is called twice; the seconds
are those of the faster call. Error is the relative L2 distance from what the method claims to give:
Shapley values by definition, or leave-one-outs.
"""

import argparse
import json

from benchmarks.peers.compare import measure
from benchmarks.peers.tables import show
from benchmarks.sweep.sweeps import quietly


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--patience",
        type=float,
        default=30.0,
        help="seconds for the two calls of a method on a table",
    )
    options = parser.parse_args()
    quietly()
    result = measure(options.patience)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
