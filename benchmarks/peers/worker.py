"""Runs one adapter in the environment of its peer. Standard library only: nothing of fl-sv is
installed there.

    python worker.py ADAPTER < request > answer        both JSON

request: {"patience": seconds, "jobs": [{"method": name, "utilities": [v(S) by bitmask, null where
missing]}, ...]}, or "data" instead of "utilities". A method is a function of the adapter, from a
Table (or the data) to a number a company. answer: {"version": ..., "jobs": [{"calls": [[...],
[...]], "seconds": of the faster call, "asked": [bitmasks, in the first call]}, ...]}, or "error"
instead of "calls"."""

import contextlib
import importlib.util
import json
import signal
import sys
import time

CALLS = 2


class Table:
    """v(S) by the members of S, indices from 0; remembers which coalitions were requested."""

    def __init__(self, utilities):
        self.utilities, self.asked = utilities, set()
        self.n = len(utilities).bit_length() - 1

    def __call__(self, members):
        coalition = sum(1 << int(i) for i in set(members))
        self.asked.add(coalition)
        if self.utilities[coalition] is None:
            raise LookupError(f"coalition {coalition} is missing")
        return self.utilities[coalition]

    def known(self):
        """Members of every coalition that is not missing: the whole table is handed over."""
        self.asked.update(range(len(self.utilities)))
        for coalition, utility in enumerate(self.utilities):
            if utility is not None:
                yield [i for i in range(self.n) if coalition >> i & 1]


class OutOfPatience(BaseException):
    """Not an Exception, so that no peer takes it for one of its own."""


def stop(*_):
    raise OutOfPatience


def run(adapter, job, patience):
    """Two identical calls of one method."""
    calls, seconds, tables = [], [], []
    signal.setitimer(signal.ITIMER_REAL, patience)
    try:
        for _ in range(CALLS):
            if "utilities" in job:
                tables.append(Table(job["utilities"]))
            given = tables[-1] if tables else job["data"]
            started = time.perf_counter()
            calls.append([float(value) for value in getattr(adapter, job["method"])(given)])
            seconds.append(time.perf_counter() - started)
        answer = {"calls": calls, "seconds": min(seconds)}
    except OutOfPatience:
        answer = {"error": f"no answer to {CALLS} calls within {patience:g} s"}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return answer | {"asked": sorted(tables[0].asked) if tables else []}


def main():
    signal.signal(signal.SIGALRM, stop)
    request = json.load(sys.stdin)
    spec = importlib.util.spec_from_file_location("adapter", sys.argv[1])
    adapter = importlib.util.module_from_spec(spec)
    with contextlib.redirect_stdout(sys.stderr):  # peers print as they go
        spec.loader.exec_module(adapter)
        jobs = [run(adapter, job, request["patience"]) for job in request["jobs"]]
    print(json.dumps({"version": adapter.VERSION, "jobs": jobs}))


if __name__ == "__main__":
    main()
