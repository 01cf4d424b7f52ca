"""How a process uses the machine, and which software it runs."""

import ctypes
import hashlib
import importlib.metadata
import os
import platform
from functools import cache
from pathlib import Path

# Arrays with more bytes are kept in files, not in memory. Each fresh one would come from the system
# page by page, which costs more than a copy.
LARGE_BYTES = 32 << 20
# Options of glibc's malloc.h. Larger blocks, such as a large model's, still go back at once.
MALLOC_OPTIONS = {-1: 256 << 20, -3: LARGE_BYTES}  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD

# Linux's control groups, version 2 and 1: files with the limit and what is used, and the entry of
# memory.stat for pages of files that are only kept.
CONTROL_GROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def use_threads(n_threads: int) -> None:
    """Limits the threads of torch and BLAS.

    Every process calls this before it computes, because sums depend on the number of threads.
    """
    import threadpoolctl  # `fl-sv pay` and `verify` need neither
    import torch

    torch.set_num_threads(n_threads)
    threadpoolctl.threadpool_limits(n_threads)


def keep_freed_memory() -> None:
    """Lets a process on glibc keep the memory that it frees, instead of returning it to the system.

    Stacks of models of the same size are made and freed every round. Fetching their pages again was
    half of the system time of a sweep on Ray, a tenth of its wall time (10 companies, 2 cores,
    2026-11).
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_option is not None:
        for option, n_bytes in MALLOC_OPTIONS.items():
            set_option(option, n_bytes)


def free_memory(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take, of the machine's memory and of its container's.

    groups: the folder in which Linux says what a container may have.
    """
    import psutil  # `fl-sv pay` and `verify` do not need it

    free = int(psutil.virtual_memory().available)
    for limit_file, used_file, idle in CONTROL_GROUPS:
        try:
            limit = int((groups / limit_file).read_text())  # or "max", which is none
            stat = (groups / limit_file).with_name("memory.stat").read_text().split()
            kept_files = int(stat[stat.index(idle) + 1])  # given up when memory is needed
            used = int((groups / used_file).read_text()) - kept_files
        except (OSError, ValueError):
            continue
        free = min(free, max(limit - used, 0))
    return free


@cache
def models_at_once(most: int, bytes_of_model: int, free: int | None) -> int:
    """How many models are in work at a time: `most`, or as many as fit.

    bytes_of_model: while it trains, activations left out.
    free: bytes of the device that are free; None where they are not its own, as on a CPU, whose
        memory is planned before the run.

    A power of two below `most`, so that a little more or less of free memory makes no difference.
    Half of the memory is left for activations.

    >>> models_at_once(128, 4_000_000, None), models_at_once(128, 4_000_000, 500_000_000)
    (128, 32)
    """
    if free is None or bytes_of_model * most <= free // 2:
        return most
    fitting = free // 2 // bytes_of_model
    return 1 << max(0, fitting.bit_length() - 1)


def free_device_memory(device: str) -> int | None:
    """Bytes that are free on a GPU; None for a CPU. On a GPU this was not measured."""
    import torch  # `fl-sv pay` and `verify` do not need it

    return torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else None


def library_hash() -> str:
    """sha256 of the source files of fl_sv, as hex digits.

    Server and companies must run the same library.
    """
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        if "_app" not in path.relative_to(folder).parts:
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def software() -> dict[str, str]:
    """The versions on which a result may depend, for the ledger."""
    packages = ("fl-sv", "flwr", "ray", "torch", "safetensors", "numpy", "scipy", "scikit-learn")
    versions = {"python": platform.python_version(), "fl_sv source": library_hash()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
