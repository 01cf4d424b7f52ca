"""One place where a process is told how many threads it may use, and what the library is made of."""

import hashlib
import importlib.metadata
import platform
from functools import cache
from pathlib import Path


def use_threads(n_threads: int) -> None:
    """Limits torch and BLAS. Every process calls this before it computes: sums depend on the number of threads."""
    import threadpoolctl  # `fl-sv pay` and `verify` need neither
    import torch

    torch.set_num_threads(n_threads)
    threadpoolctl.threadpool_limits(n_threads)


@cache
def library_hash() -> str:
    """sha256 over the source files of fl_sv: server and companies must run the same library."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        if "_app" not in path.relative_to(folder).parts:
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def software() -> dict[str, str]:
    """Versions that can change a result, for the ledger."""
    packages = ("fl-sv", "flwr", "ray", "torch", "numpy", "scipy", "scikit-learn")
    versions = {"python": platform.python_version(), "fl_sv source": library_hash()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
