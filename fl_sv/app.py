"""Finds the Flower App: the folders clients, server and strategies.

They are data of this package. They are never installed under their own names, which are too
general: another package may be called `server`.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from fl_sv.errors import InputError

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default; without it every start warns
}


# What the Flower App consists of.
BUNDLED = ("clients", "server", "strategies", "configs", "pyproject.toml", "README.md", "LICENSE")


@cache
def app_hash() -> str:
    """sha256 of the files of the installed Flower App, as hex digits."""
    folder = app_folder()
    digest = hashlib.sha256()
    for name in BUNDLED:
        files = [folder / name] if (folder / name).is_file() else [*(folder / name).glob("*.*")]
        for path in sorted(files):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def app_folder() -> Path:
    """The folder of clients/, server/, strategies/ and configs/, in the wheel or in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_app", package.parent):
        if (folder / "server" / "valuation.py").exists():
            return folder
    raise InputError(
        f"The Flower app is not beside {package}. Install fl-sv again, or run it from a checkout."
    )


def import_app(module: str) -> ModuleType:
    """A module of the Flower App, for example `server.simulation`.

    Environment variables keep Flower and Ray from making requests of their own to the network.
    Raises InputError when Flower or Ray is not installed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    folder = str(app_folder())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("flwr", "ray"):
            raise _not_installed(error.name) from None
        raise


def require_ray() -> None:
    """Raises InputError when Ray is not installed. It is not imported: that takes seconds."""
    if importlib.util.find_spec("ray") is None:
        raise _not_installed("ray")


def _not_installed(name: str) -> InputError:
    return InputError(
        f"{name} is not installed. `pip install 'fl-sv[simulation]'` brings Flower and Ray;"
        " `--backend inline` needs only Flower."
    )
