"""Installs the Flower App of a company's own fl_sv where Flower's SuperNode looks for it.

A SuperNode runs the app that the operator submits. If an app of its name, version and hash is
installed already, it runs that one. So where nothing else can be installed, nothing else runs.
"""

import io
import shutil
import warnings
from contextlib import redirect_stdout
from pathlib import Path

from flwr.cli.build import build_fab_from_disk
from flwr.cli.install import install_from_fab
from flwr.common.constant import APP_DIR


def install(app: Path, home: Path) -> Path:
    """Makes an app the only one in a Flower home, and returns the folder in which it is.

    app: the folder of the app. home: FLWR_HOME of the SuperNode.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Flower's own dependencies
        bundle = build_fab_from_disk(app)
    shutil.rmtree(home / APP_DIR, ignore_errors=True)
    with redirect_stdout(io.StringIO()):  # Flower prints emojis
        return install_from_fab(bundle, home, skip_prompt=True)
