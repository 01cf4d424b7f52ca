"""The command line: one verb for each arrow of the story.

Commands contain no logic, and heavy modules are imported only in the command that needs them.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

from fl_sv.deployment.commands import add_commands as add_deployment
from fl_sv.errors import FlsvError, InputError, Interrupted, RunError, listed
from fl_sv.federation.commands import add_commands as add_federation
from fl_sv.numbers import MAX_CENTS, whole_number
from fl_sv.projects.start import add_commands as add_projects
from fl_sv.terminal import complain, say, unfailing_output
from fl_sv.text import shown

Command = Callable[[argparse.Namespace], int]
NOT_PAYABLE = 3  # the exit code of `verify` for a genuine run that may not be paid


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    0: done. 1: the run failed, or `verify` found a difference. 2: the input is wrong. 3: `verify`
    found no difference, and the run is not payable.
    """
    with unfailing_output():
        try:
            options = _parser().parse_args(arguments)
            return int(options.command(options))
        except (Interrupted, KeyboardInterrupt):
            complain(
                "fl-sv: interrupted. The journal has what was finished; continue with --resume."
            )
        except FlsvError as error:
            complain(f"fl-sv: {error}")
            return error.exit_code
        except OSError as error:  # a full disk, a folder that went away
            complain(f"fl-sv: {error}")
    return 1


def run(options: argparse.Namespace) -> int:
    """Runs the whole flow, from data to payouts."""
    from fl_sv.api import as_config, carry_out
    from fl_sv.progress import Progress

    config = as_config(options.config)
    progress = Progress(options.detail)
    progress.say(f"Checking {options.config}, its data and how fast this machine is.")
    directory = carry_out(
        config,
        options.out,
        options.backend,
        resume=options.resume,
        source=options.source,
        progress=progress,
        make_stop=_stop_on_signals,
    )
    if options.detail != "quiet":
        from fl_sv.report.screen import print_summary

        print_summary(directory)
    return 0


def plan(options: argparse.Namespace) -> int:
    """Prints the forecast of a run's cost."""
    from fl_sv import api
    from fl_sv.planning.forecast import plan_text

    with redirect_stdout(sys.stderr):  # a user's own modules may print; only the plan is output
        found = api.plan(options.config)
    say(found.to_json() if options.json else plan_text(found))
    return 0


def value(options: argparse.Namespace) -> int:
    """Prints the values of a table of utilities."""
    from fl_sv.game.csv import read_game
    from fl_sv.values import semivalue

    utilities = read_game(options.table)
    values = semivalue(utilities, options.semivalue)
    if options.json:
        answer = {
            "n_companies": len(values),
            "semivalue": options.semivalue,
            "values": values.tolist(),
            "utility_empty": float(utilities[0]),
            "utility_grand": float(utilities[-1]),
        }
        say(json.dumps(answer, allow_nan=False))
    else:
        for company, amount in enumerate(values.tolist()):
            say(f"company {company}: {amount!r}")
    return 0


def pay(options: argparse.Namespace) -> int:
    """Divides a fixed pot by the values of a finished run."""
    from fl_sv.law.alarms import codes_of
    from fl_sv.payment.settlement import NOT_DIVIDED
    from fl_sv.report import write_report
    from fl_sv.report.screen import print_summary
    from fl_sv.runs.directory import writing
    from fl_sv.runs.pay import pay_run, payouts_were_changed

    with writing(options.dir) as directory:
        were_changed = payouts_were_changed(directory)
        settlement = pay_run(directory, options.pot, options.negative, options.accept)
        if objections := settlement.payment.objections:
            codes = [code for code in codes_of(objections) if code != NOT_DIVIDED]
            accept = " ".join(f"--accept {code}" for code in codes)
            advice = f"Decide on each alarm and accept it by name: {accept}"
            if not codes:
                advice = "Take the other rule (--negative) or another pot."
            lines = ["This run is not payable:", *objections, f"Nothing was written. {advice}"]
            raise RunError("\n".join(lines))
        write_report(directory, settlement.law)
        print_summary(directory)
    if were_changed:
        say("payouts.csv had been changed after it was signed; it now holds this payment.")
    return 0


def report(options: argparse.Namespace) -> int:
    """Writes report.html again from the tables."""
    from fl_sv.report import write_report
    from fl_sv.runs.directory import writing

    with writing(options.dir) as directory:
        write_report(directory)
    say(options.dir / "report.html")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Recomputes everything that can be recomputed, and checks every hash and signature."""
    from fl_sv import api
    from fl_sv.report.screen import verification_lines

    found = api.verify(options.dir, options.key)
    say("\n".join(verification_lines(found, pinned=options.key is not None)))
    return 0 if found.payable else NOT_PAYABLE


def data_check(options: argparse.Namespace) -> int:
    """Prints what a company's file holds, whether it fits, and what will leave the machine."""
    from fl_sv.config.base import DATA_FILES, spreadsheet_hint
    from fl_sv.federation.kit import is_kit
    from fl_sv.planning.inspection import inspect_company, inspect_source
    from fl_sv.plugins import find_modules_in

    if options.source.suffix in DATA_FILES or options.source.is_dir():
        lines = inspect_source(str(options.source), options.target or "target")
    elif options.target or not options.company:
        raise InputError(
            f"{options.source} is read as a config, because its name does not end in"
            f" {listed(DATA_FILES)}{spreadsheet_hint(str(options.source))}."
            " Give --company, one of the config's, and not --target: the config has data.target."
        )
    else:
        for folder in (options.source.resolve().parent, Path.cwd()):
            if not is_kit(folder):
                find_modules_in(folder)
        lines = inspect_company(options.source, options.company, options.data_path)
    say("\n".join(lines))
    return 0


def data_infer(options: argparse.Namespace) -> int:
    """Prints what the columns of a file seem to mean, to paste into a config."""
    from fl_sv.data.infer import proposal

    say(proposal(str(options.file), options.target, options.owner).rstrip())
    return 0


def _stop_on_signals() -> threading.Event:
    """An event that the first Ctrl-C (or SIGTERM) sets. A second one ends the process at once."""
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        complain("\nfl-sv: stopping after what is under way; Ctrl-C again to stop at once.")

    signal.signal(signal.SIGINT, ask_to_stop)
    signal.signal(signal.SIGTERM, ask_to_stop)
    return stop


def _cents(text: str) -> int:
    try:
        cents = whole_number(text)
    except ValueError:
        cents = -1
    if not 0 <= cents <= MAX_CENTS:
        raise argparse.ArgumentTypeError(f"{text!r} is no pot; give whole cents from 0 to 10**15")
    return cents


def _rule(name: str) -> str:
    from fl_sv.payment.rules import rule_of

    try:
        rule_of(name)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


# --- arguments ------------------------------------------------------------------------------------

Verbs = Any  # what argparse's add_subparsers returns; it has no public type


class _Parser(argparse.ArgumentParser):
    """Quotes what was given so that a terminal shows it and obeys none of it."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(shown(message), file)


def _parser() -> argparse.ArgumentParser:
    from fl_sv.version import __version__

    parser = _Parser(
        prog="fl-sv",
        description="What was each company's data worth? Shapley payouts for federated learning.",
    )
    parser.add_argument("--version", action="version", version=f"fl-sv {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    add_projects(verbs)
    _add_run(verbs)
    made = _verb(verbs, "plan", plan, "config", "cost forecast without training")
    made.add_argument("--json", action="store_true", help="print one JSON document")
    _add_value(verbs)
    _add_pay(verbs)
    _verb(verbs, "report", report, "dir", "write report.html again from the tables")
    recompute = "recompute everything and check every hash and signature"
    made = _verb(verbs, "verify", verify, "dir", recompute)
    made.add_argument("--key", type=Path, metavar="PUB", help="the signer's public key")
    add_deployment(verbs)
    _add_data(verbs)
    add_federation(verbs)
    return parser


def _verb(
    verbs: Verbs, name: str, command: Command, subject: str, meaning: str, shown_as: str = ""
) -> argparse.ArgumentParser:
    """A command about one file or folder, its subject."""
    made: argparse.ArgumentParser = verbs.add_parser(name, help=meaning, description=meaning)
    made.add_argument(subject, type=Path, metavar=shown_as or subject.upper())
    made.set_defaults(command=command)
    return made


def _add_run(verbs: Verbs) -> None:
    flow = "teacher, coalition sweep, law, valuation, payouts, report"
    made = _verb(verbs, "run", run, "config", flow)
    out, origin = "run directory, new or empty", "reuse a run with other companies"
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help=out)
    made.add_argument("--resume", action="store_true", help="continue the run in DIR")
    made.add_argument("--from", dest="source", type=Path, metavar="RUN", help=origin)
    backend = "Flower on Ray, or one process"
    made.add_argument("--backend", choices=("ray", "inline"), default="ray", help=backend)
    made.set_defaults(detail="normal")
    detail = made.add_mutually_exclusive_group()
    for name, meaning in (
        ("quiet", "print nothing but errors"),
        ("verbose", "print the messages of Flower and Ray as well"),
    ):
        detail.add_argument(
            f"--{name}", dest="detail", action="store_const", const=name, help=meaning
        )


def _add_value(verbs: Verbs) -> None:
    table = "values from a CSV table with the columns coalition,utility"
    made = _verb(verbs, "value", value, "table", table)
    made.add_argument("--semivalue", default="shapley", help="shapley, banzhaf, beta:A,B or loo")
    made.add_argument("--json", action="store_true", help="print one JSON document")


def _add_pay(verbs: Verbs) -> None:
    made = _verb(verbs, "pay", pay, "dir", "payouts of a fixed pot from a finished run")
    made.add_argument("--pot", type=_cents, required=True, metavar="CENTS", help="the pot in cents")
    rule = "rule for negative values, as payouts.negative of a config"
    made.add_argument("--negative", type=_rule, default="clip", metavar="RULE", help=rule)
    code = "an alarm to accept, by its code"
    made.add_argument("--accept", action="append", default=[], metavar="ALARM", help=code)


def _add_data(verbs: Verbs) -> None:
    own = "a company's own data"
    group = verbs.add_parser("data", help=own, description=own)
    made = group.add_subparsers(required=True, metavar="COMMAND")
    look = "look at a company's file before it joins: does it fit, and what will leave this machine"
    check = _verb(made, "check", data_check, "source", look, "CONFIG_OR_FILE")
    check.add_argument("--company", help="a company of the config")
    check.add_argument("--data-path", metavar="FILE", help="the node's own data path")
    target = "of a single data file: the column to predict (`target`)"
    check.add_argument("--target", metavar="COLUMN", help=target)
    propose = "propose what the columns of a file mean, as YAML for a config; ask what is in doubt"
    infer = _verb(made, "infer", data_infer, "file", propose)
    infer.add_argument("--target", metavar="COLUMN", help="the column to predict (`target`)")
    owner = "the column that names the owner of each row"
    infer.add_argument("--owner", metavar="COLUMN", help=owner)


if __name__ == "__main__":
    sys.exit(main())
