"""The ServerApp: the valuation as a Flower App, in simulation and on a real federation.

    flwr run . local --stream --federation-config "num-supernodes=8 client-resources-num-cpus=1" \\
        -c 'config="configs/demo.yaml" out="/absolute/dir"'

Run-config keys: `config` (relative: looked up in the app bundle; absolute: on the server's disk),
`out` (the run directory on the server's disk, absolute) and `resume`. A failed run raises, so that
Flower lists it as failed.
"""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fl_sv.api import prepared_run
from fl_sv.config import load_config
from fl_sv.errors import FlsvError, InputError
from fl_sv.progress import Progress
from fl_sv.report.screen import summary
from fl_sv.terminal import say, unfailing_output
from server.valuation import value_companies

BUNDLE = Path(__file__).resolve().parent.parent

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs the valuation that the run config names on the federation behind the grid."""
    with unfailing_output():
        try:
            run_valuation(grid, context.run_config)
        except (FlsvError, OSError) as error:
            # `fl-sv federation run` quotes this line.
            say(f"fl-sv: {' '.join(str(error).split())}")
            logging.getLogger("flwr").addFilter(_without_trace)
            raise


def _without_trace(record: logging.LogRecord) -> bool:
    """A filter of Flower's log: an error that is a sentence for the operator has no traceback."""
    if record.exc_info and isinstance(record.exc_info[1], FlsvError | OSError):
        record.exc_info = None
    return True


def run_valuation(grid: Grid, settings: Mapping[str, object]) -> None:
    """Runs the valuation that Flower's run config describes; settings: its keys."""
    out = Path(str(settings["out"]))
    if not out.is_absolute():
        raise InputError(
            f"out is {str(out)!r}; under `flwr run` it must be an absolute folder on the server's"
            " disk."
        )
    config = load_config(BUNDLE / str(settings["config"]))  # an absolute path stays what it is
    resume = settings["resume"]
    if not isinstance(resume, bool):  # else the text "false" would be true
        raise InputError(f"resume is {resume!r}; it must be true or false, without quotes.")
    # On a federation only a company's own node reads its file.
    progress = Progress("verbose")
    with prepared_run(config, out, resume=resume, own_data=False, say=progress.say) as run:
        if not run.finished:
            value_companies(config, run, grid, progress, threading.Event())
    say(summary(run))
