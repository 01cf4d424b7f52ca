"""What a measurement was made on."""

import os
import platform


def machine_text() -> str:
    """Processor, cores and Python, for the line above a table."""
    cores = f"{os.cpu_count()} cores"
    return f"{platform.machine()}, {cores}, Python {platform.python_version()}"
