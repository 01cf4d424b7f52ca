"""Values against the truth: error and interval coverage of `estimate_shapley`, ours and shapiq's,
and exact seconds.

    python -m benchmarks.estimators [--full] [--shapleig] [--json]

Without options about two minutes on two cores, with --full ten to twenty. shapiq's methods appear
where the package is installed (`pip install 'fl-sv[shapiq]'`, all of them on Python 3.12).
--shapleig compares with shapiq's sequential ShaplEIG instead, half a minute an estimate, on two
games of each federated family; it needs `shapiq[shapleig]`.

Error is the relative L2 distance from the exact values, mean over games, the same games for all
methods. Coverage is the share of (game, company) pairs whose exact value lies in the interval of
level 0.9.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date

from threadpoolctl import threadpool_limits

from benchmarks.common.machine import machine_text
from benchmarks.estimators.games import N_COMPANIES
from benchmarks.estimators.measure import averages, exact_seconds, targets, tasks, work
from benchmarks.estimators.tables import show


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="10 games for errors, 200 for coverage")
    parser.add_argument("--shapleig", action="store_true", help="only the sequential ShaplEIG")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    started = time.perf_counter()
    exact = exact_seconds()
    # One thread each, or the workers wait for one another: in numpy, and in what they load later.
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    with ProcessPoolExecutor(initializer=threadpool_limits, initargs=(1,)) as pool:
        rows = [
            row for found in pool.map(work, tasks(options.full, options.shapleig)) for row in found
        ]
    estimates = averages(rows)
    result = {
        "date": date.today().isoformat(),
        "machine": machine_text(),
        "seconds": round(time.perf_counter() - started, 1),
        "n_companies": N_COMPANIES,
        "exact": exact,
        "targets": targets(estimates),
        "estimates": estimates,
    }
    if options.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
