"""The program that a company's SuperNode starts for each message, in place of Flower's own.

Flower's program installs the app that the operator submits, in a folder that the app itself names,
and runs that. This one is Flower's, and runs the Flower App of the company's own fl_sv whatever was
submitted: nothing of that is unpacked, imported or run.
"""

import sys
from collections.abc import Callable
from typing import Any

from flwr.app import Array
from flwr.supernode.cli.flwr_clientapp import flwr_clientapp
from flwr.supernode.runtime import run_clientapp

from clients.app import app
from fl_sv.app import app_folder
from fl_sv.flower.pieces import bound_arrays

PROGRAM = "flwr-clientapp"
# What Flower's program takes from the submitted app, and what it gets instead.
INSTEAD: dict[str, Callable[..., Any]] = {
    "install_from_fab": lambda *_, **__: app_folder(),
    "get_project_dir": lambda *_, **__: app_folder(),
    "get_load_client_app_fn": lambda *_, **__: lambda *_: app,
}


def run_own_app() -> None:
    """From now on Flower's program runs this company's app in this process.

    Raises AttributeError where another version of Flower has another program.
    """
    for name, ours in INSTEAD.items():
        getattr(run_clientapp, name)
        setattr(run_clientapp, name, ours)


def main() -> None:
    """Answers one message, with the arguments of Flower's program."""
    sys.argv[0] = PROGRAM
    run_own_app()
    bound_arrays(Array)
    flwr_clientapp()
