"""The commands `fl-sv federation ...`. They contain no logic and import heavy modules late."""

import argparse
from pathlib import Path
from typing import Any

from fl_sv.errors import InputError, RunError
from fl_sv.numbers import whole_number
from fl_sv.terminal import say

MEGABYTE = 1e6


def init(options: argparse.Namespace) -> int:
    """Writes the operator's folder, with the kit for the companies."""
    from fl_sv.config import load_config
    from fl_sv.data import require_hidden_validation
    from fl_sv.federation import folder, settings

    folder.require_user(options.user)
    config = load_config(options.config)
    require_hidden_validation(config)
    federation = folder.init(
        options.dir, options.address, config, options.port, options.superlink_port, options.user
    )
    say(
        f"{options.dir}: the federation of {len(federation.companies)} companies at"
        f" {federation.address}:{federation.port}"
    )
    say(
        f"{options.dir}/*.key and {options.dir}/{settings.OWNER_HOME} are secret and stay on this"
        f" machine. Every company gets {options.dir}/{folder.KIT}."
    )
    say(f"Instructions are signed by the key {folder.operators_key(options.dir)}.")
    say(
        f"To start it, copy {options.dir}/systemd/*.service to /etc/systemd/system and enable both"
        f" units; without systemd run {options.dir}/{folder.SUPERLINK_SCRIPT} and"
        f" {options.dir}/{folder.PROXY_SCRIPT}."
    )
    return 0


def join(options: argparse.Namespace) -> int:
    """Makes a company's key and unit, in the kit that it got."""
    from fl_sv.federation import folder, kit
    from fl_sv.flower.contract import what_runs
    from fl_sv.runs.keys import key_fingerprint

    folder.require_user(options.user)
    public = folder.join(
        options.dir, options.company, options.data_path, options.port, options.user
    )
    joined = kit.read_joined(options.dir)
    operator = key_fingerprint(bytes.fromhex(joined.operator))
    name = kit.kit_config(options.dir).legal_name(joined.company)
    say(f"{name} agrees to {options.dir}/{kit.CONFIG}, and to no other config.")
    say(f"It follows instructions signed by the key {operator}: compare it with the operator's.")
    say(what_runs(kit.kit_config(options.dir)))
    say(f"Send the operator {public}; {options.dir}/company.key stays here.")
    say(
        f"Then copy {options.dir}/{folder.NODE_UNIT} to /etc/systemd/system and enable it; without"
        f" systemd run {options.dir}/{folder.NODE_SCRIPT}."
    )
    return 0


def register(options: argparse.Namespace) -> int:
    """Registers a company's key under its name."""
    from fl_sv.federation import flower, settings
    from fl_sv.federation.certificates import check_public_key

    federation = settings.read_settings(options.dir)
    company = settings.require_company(federation, options.name)
    name = federation.names.get(company, company)
    check_public_key(options.key)
    before = settings.read_nodes(options.dir).get(company)
    if before and before in flower.list_nodes(options.dir):
        raise InputError(
            f"{name} is registered already, as node {before}, and a company has one key. To"
            f" register another one, first remove this: FLWR_HOME={options.dir}/flower flwr"
            f" supernode unregister {before} {flower.CONNECTION}"
        )
    node_id = flower.register_node(options.dir, options.key, company)
    settings.add_node(options.dir, company, node_id)
    say(f"{name} is registered as node {node_id}.")
    return 0


def check(options: argparse.Namespace) -> int:
    """Prints the result of every check. Returns 1 if anything is wrong."""
    from fl_sv.federation.check import check_company, check_operator

    is_operator = (options.dir / "server.key").exists()
    results = check_operator(options.dir) if is_operator else check_company(options.dir)
    is_wrong = False
    for result in results:
        say(result)
        is_wrong |= result.ok is False
    return 1 if is_wrong else 0


def run(options: argparse.Namespace) -> int:
    """Runs the whole flow on the federation."""
    from fl_sv.config import load_config
    from fl_sv.data import require_hidden_validation
    from fl_sv.federation import flower, settings
    from fl_sv.runs.directory import check_destination

    federation = settings.read_settings(options.dir)
    config = load_config(options.config)
    for company in config.companies:
        settings.require_company(federation, company)
    require_hidden_validation(config)
    check_destination(options.out, config, resume=options.resume)
    done = flower.run_app(options.dir, options.config, options.out, resume=options.resume)
    say(
        f"Run {done.run_id} completed in {done.seconds:,.0f} s, {done.n_bytes / MEGABYTE:,.1f} MB."
        f" {options.out}"
    )
    return 0


def status(options: argparse.Namespace) -> int:
    """Prints the node of every company, and every run."""
    from fl_sv.federation import flower, settings

    federation = settings.read_settings(options.dir)
    nodes, known = flower.list_nodes(options.dir), settings.read_nodes(options.dir)
    for company in federation.companies:
        node = nodes.get(known.get(company, ""), {})
        since = node.get("online-at") if node.get("status") == "online" else node.get("offline-at")
        state = node.get("status", "not registered")
        name = federation.names.get(company, company)
        say(f"{name:<25}{state:<20}{since if since not in (None, 'N/A') else ''}".rstrip())
    for run in flower.list_runs(options.dir):
        cost = f"{run.seconds:,.0f} s, {run.n_bytes / MEGABYTE:,.1f} MB"
        say(f"run {run.run_id:<21}{run.status:<20}{run.began}, {cost}")
    return 0


def try_(options: argparse.Namespace) -> int:
    """Runs a federation of three companies on this machine, and ends all that it started."""
    from fl_sv.federation.try_out import ending_on_signals, try_out
    from fl_sv.report.screen import seconds_by_stage
    from fl_sv.runs.directory import RunDirectory

    try:
        with ending_on_signals():
            run = RunDirectory(try_out(options.dir, say))
    except KeyboardInterrupt:
        raise RunError("Interrupted. All that this trial had started has ended.") from None
    say(f"Of the run: {seconds_by_stage(run)}.")
    say(f"All processes have ended. The folders stay for you to look at: {options.dir}")
    return 0


def add_commands(verbs: Any) -> None:
    """Adds the group `federation` to the verbs of the command line."""
    meaning = "run across companies: certificates, keys, checks, runs"
    group = verbs.add_parser("federation", help=meaning, description=meaning)
    commands = group.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: object, meaning: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(name, help=meaning, description=meaning)
        made.set_defaults(command=command)
        return made

    _add_init(add("init", init, "operator: certificates, proxy, units, and the companies' kit"))
    _add_join(add("join", join, "company: its key and the unit of its SuperNode, in the kit"))
    _add_register(add("register", register, "operator: register a company's key under its name"))
    _add_dir(add("check", check, "operator or company: what is wrong; exit code 1 if anything is"))
    _add_run(add("run", run, "operator: the whole flow on the companies' machines"))
    trial = add("try", try_, "all of it on this machine, with three companies; it ends by itself")
    there = "folder for everything, new or empty (federation-try)"
    trial.add_argument("--dir", type=Path, default=Path("federation-try"), help=there)
    _add_dir(add("status", status, "operator: companies and runs"))


def _port(text: str) -> int:
    try:
        port = whole_number(text)
    except ValueError:
        port = 0
    if not 1 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 1 to 65535")
    return port


def _add_user(made: argparse.ArgumentParser) -> None:
    made.add_argument("--user", help="owner of the process and the files, where root does this")


def _add_dir(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--dir", type=Path, default=Path(), help="the federation's folder or kit (here)"
    )


def _add_init(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "dir", type=Path, metavar="DIR", help="folder of the federation, new or to be renewed"
    )
    made.add_argument(
        "--address",
        required=True,
        metavar="HOST",
        help="name or IPv4 address to which companies connect",
    )
    made.add_argument(
        "--config", type=Path, required=True, help="the run's config: its companies may register"
    )
    made.add_argument("--port", type=_port, help="of the proxy (443, or as before)")
    made.add_argument(
        "--superlink-port", type=_port, metavar="PORT", help="on loopback (8000, or as before)"
    )
    _add_user(made)


def _add_join(made: argparse.ArgumentParser) -> None:
    made.add_argument("--company", required=True, help="its name in the config, or its handle")
    made.add_argument(
        "--data-path", type=Path, required=True, metavar="FILE", help="its own data file"
    )
    port = "the SuperNode's own, on loopback (9094): each one on a machine needs another"
    made.add_argument("--port", type=_port, help=port)
    _add_user(made)
    _add_dir(made)


def _add_register(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "key", type=Path, metavar="KEY.pub", help="the public key that the company sent"
    )
    made.add_argument(
        "--name",
        required=True,
        metavar="COMPANY",
        help="a company of the config, by name or handle",
    )
    _add_dir(made)


def _add_run(made: argparse.ArgumentParser) -> None:
    made.add_argument("config", type=Path, metavar="CONFIG")
    made.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="run directory, new or empty"
    )
    made.add_argument("--resume", action="store_true", help="continue the run in it")
    _add_dir(made)
