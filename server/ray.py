"""An existing Ray cluster: this process joins it before Flower does, and checks every node."""

import logging
import os
import socket
import sys
import time
from typing import Any

from fl_sv.errors import InputError
from fl_sv.machine import software

CONNECT_SECONDS = 10.0
PROBE_SECONDS = 120.0  # a fresh worker imports the library from a cold disk
# Ray takes a node for dead after five missed checks, of 3 to 10 s each.
NOTICE_SECONDS = 45.0


def join_cluster(address: str, *, verbose: bool) -> None:
    """Connects this process to the cluster; Flower's simulation engine then uses the connection.

    Raises InputError when there is no such cluster, or when one of its nodes might give other
    results: it has another Python, another version of a package, or another source of fl_sv.
    """
    import ray

    # The workers import what this process can import; the paths must exist on every node.
    path = os.pathsep.join([*filter(None, sys.path), *filter(None, [os.environ.get("PYTHONPATH")])])
    require_head(address)
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": {"PYTHONPATH": path}},
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
