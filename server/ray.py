"""Ray, before Flower uses it: one of this machine's own, or a cluster whose nodes are checked."""

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fl_sv.errors import InputError
from fl_sv.machine import software

PRELOADED = "clients.app"
CONNECT_SECONDS = 10.0
PROBE_SECONDS = 120.0  # a fresh worker imports the library from a cold disk
# Ray takes a node for dead after five missed checks, of 3 to 10 s each.
NOTICE_SECONDS = 45.0


def start_ray(n_workers: int, *, verbose: bool) -> None:
    """Starts a Ray on this machine, whose workers import what companies need while Flower starts.

    Flower itself would start it with an environment for its workers, and Ray gives that to new ones
    only: the workers that stand ready are in vain, and each imports torch when it is first asked.
    A Ray that this process uses already serves as it is.
    """
    import ray

    if ray.is_initialized():
        return
    with _environment(PYTHONPATH=_paths()):  # the workers inherit it
        ray.init(
            address="local",  # else Ray joins any cluster that it finds on this machine
            num_cpus=n_workers,
            include_dashboard=False,
            logging_level=logging.INFO if verbose else logging.ERROR,
            log_to_driver=verbose,
            _system_config={"preload_python_modules": [PRELOADED]},
        )


def join_cluster(address: str, *, verbose: bool) -> None:
    """Connects this process to the cluster; Flower's simulation engine then uses the connection.

    Raises InputError when there is no such cluster, or when one of its nodes might give other
    results: it has another Python, another version of a package, or another source of fl_sv.
    """
    import ray

    require_head(address)
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": {"PYTHONPATH": _paths()}},  # which must exist on every node
            logging_level=logging.INFO if verbose else logging.ERROR,
            log_to_driver=verbose,
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"ray.address: the cluster at {address} cannot be joined: {reason}"
        ) from None
    try:
        _check_nodes(ray)
    except BaseException:
        ray.shutdown()
        raise


def _paths() -> str:
    """What this process can import from, for the workers."""
    return os.pathsep.join([*filter(None, sys.path), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def require_head(address: str) -> None:
    """Raises InputError when no server answers at the address; Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"ray.address: the cluster at {address} cannot be joined: {error}. Start its head with"
            " `ray start --head`, correct the address, or leave it out: then the run starts a Ray"
            " of its own."
        ) from None


def _check_nodes(ray: Any) -> None:
    """Raises InputError when a node has other software than this machine."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours = software()
    probes = {
        node["NodeID"]: (
            ray.remote(software)
            .options(
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            )
            .remote()
        )
        for node in _nodes(ray).values()
    }
    for node_id, probe in probes.items():
        address = _nodes(ray).get(node_id, {}).get("NodeManagerAddress", "which has gone")
        node = f"{address} ({node_id[:8]})"
        try:
            theirs = ray.get(probe, timeout=PROBE_SECONDS)
        except ray.exceptions.RayError as error:
            if _has_gone(ray, node_id):
                continue
            reason = str(error).strip().splitlines()[-1]
            raise InputError(
                f"ray.address: the Ray node {node} cannot run fl_sv: {reason} Install the same"
                " environment there, under the same path."
            ) from None
        if different := [name for name in ours if theirs.get(name) != ours[name]]:
            name = different[0]
            raise InputError(
                f"ray.address: the Ray node {node} has {name} {theirs.get(name)}; this machine has"
                f" {ours[name]}. Equal results need equal software: install the same on every node."
            )


def _nodes(ray: Any) -> dict[str, dict[str, Any]]:
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def _has_gone(ray: Any, node_id: str) -> bool:
    """Whether the cluster drops the node within the time in which it notices a death."""
    deadline = time.monotonic() + NOTICE_SECONDS
    while node_id in _nodes(ray):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
