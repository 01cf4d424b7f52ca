"""The sweep of all coalitions, side by side with the ways in which it is done today.

    python -m benchmarks.sweep [--json] [--companies 10] [--rounds 30] [--width 32]
    python -m benchmarks.sweep --table [N ...] [--backend ray|inline]

Digits, equal shares, one small model, one seed. Our time is the whole sweep on Ray, start-up
included. The baselines train a sample of coalitions of every size, and their time is extrapolated
by the number of members:

* one Flower simulation for each coalition, the start of Ray included, as each really pays it;
* one Flower simulation in which coalition after coalition is trained;
* plain torch, one coalition after the other, against our sweep in one process on as many threads.

Every process has imported everything before its clock starts. The losses of the sampled
coalitions on the validation set must be the same in all of them.

`gemm_fraction` counts the operations that the training needs (not the gradient of its input, which
is not needed) by the seconds that the companies report for it. `gemm_fraction_of_everything` counts
them by the seconds of the whole sweep in one process: messages, aggregation and scoring, too. Both
are fractions of the best square matrix product in float32 on the same thread.
"""

import argparse
import json

from benchmarks.sweep.measure import TABLE_COMPANIES, measure, table
from benchmarks.sweep.sweeps import quietly
from fl_sv.machine import keep_freed_memory, use_threads


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Our sweep of all coalitions against today's ways."
    )
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument("--companies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument(
        "--table", nargs="*", type=int, metavar="N", help="seconds and memory of N companies"
    )
    parser.add_argument("--backend", choices=["ray", "inline"], default="ray", help="of the table")
    options = parser.parse_args()
    quietly()
    use_threads(1)
    keep_freed_memory()  # as `fl-sv run` does
    if options.table is not None:
        for row in table(
            options.table or TABLE_COMPANIES, options.backend, options.rounds, options.width
        ):
            print(json.dumps(row), flush=True)
        return
    found = measure(options.companies, options.rounds, options.width)
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
