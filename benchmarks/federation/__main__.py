"""A federation of real processes: what it costs, and what it survives.

    python -m benchmarks.federation [--json] [--companies 4] [--rounds 3]
                                    [--only undisturbed node_killed ...]

Companies with files of their own, TLS, node authentication and the proxy (see deployment.py): the
four of configs/smoke.yaml with every fault of faults.py; or, undisturbed, the eight of
configs/demo.yaml, or ten with all 1,024 coalitions of one small size. Every case must give the
tables of the same config in one process, to the byte.

* `sweep_over_one_model`: wall time of the sweep of all coalitions, sizes and seeds over that of the
  teacher, which is the federated training of one model for as many rounds (with ten companies a
  model of the small size).
* `seconds_lost`, `bytes_again`: wall time and traffic beyond the undisturbed run, all tries of a
  case together. On a machine that others use, compare `stages` instead: a fault comes in the sweep,
  and the teacher before it took as many rounds.
* `errors`: the message of each try that stopped.

Without nginx the proxy is a stand-in.
"""

import argparse
import json

from benchmarks.federation.measure import CASES, measure


def main() -> None:
    parser = argparse.ArgumentParser(
        description="A federation of real processes: its cost, and its faults."
    )
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument("--companies", type=int, choices=(4, 8, 10), default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(CASES), metavar="CASE")
    options = parser.parse_args()
    names = options.only or (list(CASES) if options.companies == 4 else ["undisturbed"])
    print(
        json.dumps(
            measure(options.companies, options.rounds, names), indent=None if options.json else 2
        )
    )


if __name__ == "__main__":
    main()
