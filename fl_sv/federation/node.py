"""The programs of a company's SuperNode: all that it can start, since its PATH is their folder.

`fl-sv federation join` writes them for the unit, and `python -m fl_sv.federation.node FOLDER` for a
container. Flower starts programs by name, and which one the operator's server may decide: besides
the app of a company others that fl-sv has no use for.
"""

import sys
from pathlib import Path

from fl_sv.errors import InputError, listed

PROGRAMS = "bin"  # the folder, in a kit
WHAT = "It is the folder of the programs that the SuperNode may start, and has no others."
_PYTHON = "-P -c \"from fl_sv.app import import_app; import_app('clients.node').main()\""


def write_programs(folder: Path) -> None:
    """Makes the folder, with `flower-superexec` of Flower's and a `flwr-clientapp` of fl-sv's.

    The second runs the app of this fl_sv, whatever app was submitted: see clients/node.py.

    Raises InputError where other programs are in the folder: a kit comes from the operator.
    """
    python = Path(sys.executable)
    commands = {
        "flower-superexec": f'"{python.parent}/flower-superexec"',
        "flwr-clientapp": f'"{python}" {_PYTHON}',
    }
    if folder.is_symlink():
        raise InputError(f"{folder} is a link; remove it. {WHAT}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    if others := sorted({path.name for path in folder.iterdir()}.difference(commands)):
        raise InputError(f"{folder} holds {listed(others)}; remove the folder. {WHAT}")
    for name, command in commands.items():
        program = folder / name
        program.unlink(missing_ok=True)
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        program.chmod(0o755)


if __name__ == "__main__":
    write_programs(Path(sys.argv[1]))
