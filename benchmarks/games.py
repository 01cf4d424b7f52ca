"""Our law on stored games of other kinds, which were trained elsewhere; nothing is trained here.

    python -m benchmarks.games [--json] [--large-seeds 1] [--folder FOLDER ...] [--picture FILE.svg]

The games lie in benchmarks/data/games (README there); --folder reads others of the same form, such
as those that benchmarks.truth keeps.

`games`    by game what benchmarks.truth prints for one of its own, as a user has it; `cases` are
           the laws with each choice of trainings; `shared` is the other protocol, in which the law
           is given the truth's own means and knows that they are exact
`kinds`    by kind of data, and of all games: mean errors, the median over games of the error over
           that of one brute force, coverages, both protocols
`alarms`   by law: shares of alarms on cases that are no worse than 1.1 times one brute force
           (good), and on those more than 10 points and 1.5 times off it (bad); silent failures;
           areas under the curves of what alarms look at; by how many labels flip where the truth
           has two or three trainings
"""

import argparse
import json
import time
from pathlib import Path

from benchmarks.law.games import measure
from benchmarks.law.games_tables import as_text, summary
from benchmarks.law.known import STORED, games_in
from benchmarks.law.pictures import draw_alarms
from fl_sv.machine import use_threads


def main() -> None:
    parser = argparse.ArgumentParser(description="Our law on stored games, without training.")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of tables")
    parser.add_argument(
        "--large-seeds", type=int, default=1, help="trainings of each large run that a law is given"
    )
    parser.add_argument(
        "--folder", type=Path, nargs="+", default=[STORED], help="folders with games"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the alarms' curves")
    options = parser.parse_args()
    use_threads(1)
    started = time.perf_counter()
    games = [game for folder in options.folder for game in games_in(folder)]
    if not games:
        parser.error(f"no game (*.npz) in {', '.join(map(str, options.folder))}")
    fewest = min(game.trainings for game in games) - 2
    if not 1 <= options.large_seeds <= fewest:
        parser.error(
            f"--large-seeds is from 1 to {fewest}: two trainings must remain for the truth"
        )
    rows = [measure(game, options.large_seeds) for game in games]
    found = {"games": rows, **summary(rows), "seconds": time.perf_counter() - started}
    if options.picture:
        draw_alarms(rows, options.picture)
    print(json.dumps(found) if options.json else as_text(found))


if __name__ == "__main__":
    main()
