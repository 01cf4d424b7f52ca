"""Every coalition's adapters on one frozen base, beside a loop of torch and peft.

    python -m benchmarks.adapters [--json] [CASE ...]

One thread, float32, AdamW, rank 4, batches of 32 rows, Llamas with random weights:

* `small`: about 30 thousand parameters, 32 places, adapters beside every layer;
* `million`: six blocks, about a million parameters, 64 places, adapters beside every layer;
* `last_block`: the same with adapters in the last block alone.

A company trains the adapters of its coalitions as one stack. The loop trains a sample of them, one
after the other, with a model of peft, `backward` and torch's foreach AdamW. The losses of both on
further rows must be the same.
"""

import argparse
import json

from benchmarks.adapters.cases import CASES
from benchmarks.adapters.measure import measure
from benchmarks.common.machine import machine_text
from benchmarks.common.markdown import table
from fl_sv.errors import InputError
from fl_sv.machine import keep_freed_memory, use_threads
from fl_sv.training.pretrained import require_extra

COLUMNS = (
    "case",
    "parameters",
    "trainable",
    "speedup_vs_peft_loop",
    "operations_vs_loop",
    "gemm_fraction",
    "loop_gemm_fraction",
    "max_abs_difference",
)


def main() -> None:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description="Stacks of adapters beside a loop of peft.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(names)}")
    parser.add_argument("--json", action="store_true", help="one object")
    options = parser.parse_args()
    if unknown := [*{*options.cases} - {*names}]:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(names)}")
    try:
        require_extra()
    except InputError as error:
        raise SystemExit(str(error)) from None
    use_threads(1)
    keep_freed_memory()  # as `fl-sv run` does
    rows = [measure(case) for case in CASES if not options.cases or case.name in options.cases]
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    print(machine_text())
    print(table([*COLUMNS], [[_text(row[name]) for name in COLUMNS] for row in rows]))


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if value > 1e-3 else f"{value:.0e}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
