"""Students of the federation's teacher: does the law hold for them, which rows teach most, and are
payouts sound?

    python -m benchmarks.distillation [--json] [--full] [--processes 2] [--pictures FOLDER]

Five studies on digits, a row of results for each seed (docs/studies/distillation.md reads them):

law        small models that learn from the teacher, against brute force of the large model: which
           transfer set, which weight, how good a teacher
alarms     do the law's alarms notice that the small models are students on their companies' own
           rows: three sizes, two seeds, with and without large runs
transfer   one student, one teacher, the same number of rows: which rows teach most, on the
           teacher's own distribution and on a shifted one; when a student beats its teacher
classics   a class that the student never saw, 3 % of the data, a teacher's assistant, every
           method on few rows
incentive  each company in turn sabotages or skimps the teacher's training: what it is paid then,
           by every kind of pot

Without options the fast form: two seeds, fewer conditions. `--full`: five seeds and all conditions.
"""

import argparse
import json
from pathlib import Path

from benchmarks.distillation.pictures import draw
from benchmarks.distillation.study import FAST, FULL, measure
from benchmarks.distillation.tables import as_text


def main() -> None:
    parser = argparse.ArgumentParser(
        description="What distillation does to the law, to students and to payouts."
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of tables")
    parser.add_argument("--full", action="store_true", help="five seeds and all conditions")
    parser.add_argument(
        "--processes", type=int, default=2, help="studies side by side, one thread each"
    )
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw the results, too")
    options = parser.parse_args()
    found = measure(FULL if options.full else FAST, options.processes)
    if options.pictures:
        draw(found["summary"], options.pictures)
    print(json.dumps(found) if options.json else as_text(found))


if __name__ == "__main__":
    main()
