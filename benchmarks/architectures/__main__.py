"""Stacks of users' modules beside a loop over the same models in plain torch.

    python -m benchmarks.architectures [--json] [--others] [--only NAME] [--turns 3]

64 models of a stack, 128 rows, batch 32, one round of plain SGD on one thread. The loop is the
usual one: a module, `backward`, torch's optimiser over lists of tensors (`foreach`), one model
after the other. Stack, loop and the matrix product that is the peak take turns in one process, and
each ratio is the median over turns. Their seconds are those of the thread on its processor, which
on a quiet machine are seconds; those of two workers are by the clock: two companies one after the
other, divided by both at once in two threads. `speedup_two_products` is the same for products of
matrices that take as long: what the machine had to give. Before the turns come as many rounds as
a stack needs until its steps are traced; what one trace takes is `trace_ms`.

`gemm_fraction` counts the products and convolutions that a training needs (by torch's counter,
attention's products too) by the seconds of everything, and divides by the best square matrix
product in float32 on the same thread; `loop_gemm_fraction` is the same of the loop. `others` are
modules of other kinds and sizes.
"""

import argparse
import json
from typing import Any

from benchmarks.architectures.cases import OTHERS, ROWS
from benchmarks.architectures.measure import TURNS, measure
from fl_sv.machine import keep_freed_memory, use_threads


def main() -> None:
    parser = argparse.ArgumentParser(description="Stacks of users' modules beside plain torch.")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--others", action="store_true", help="other modules, too")
    parser.add_argument("--only", default="", help="cases whose description has this in it")
    parser.add_argument("--turns", type=int, default=TURNS, help="of each case")
    options = parser.parse_args()
    use_threads(1)
    keep_freed_memory()  # as `fl-sv run` does
    found: dict[str, list[dict[str, Any]]] = {"rows": [], "others": []}
    for kind, cases in (("rows", ROWS), ("others", OTHERS if options.others else [])):
        chosen = [case for case in cases if options.only in json.dumps(case.row)]
        for row in measure(chosen, options.turns):
            found[kind].append(row)
            if not options.json:
                print(json.dumps(row), flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
