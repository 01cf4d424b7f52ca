"""Asks the SuperLink whether it knows a company's key, without joining the federation.

`fl-sv federation check` uses it.
"""

from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

# An impossible heartbeat. The SuperLink looks the key up before it refuses, so no node goes online.
NO_HEARTBEAT = 0.0
# By HTTP status; 401 is a wrong clock or signature.
ANSWERS = {400: "registered", 412: "unknown", 401: "refused"}


def ask_about_key(address: str, authority: Path, key: ec.EllipticCurvePrivateKey) -> str:
    """`registered`, `unknown`, `refused` (a wrong clock or signature), or a sentence."""
    public = key.public_key()
    interceptor = NodeAuthHttpInterceptor(key, public)
    request = ActivateNodeRequest(
        public_key=public_key_to_bytes(public), heartbeat_interval=NO_HEARTBEAT
    )
    with FleetHttpClient.from_server_address(
        address, False, authority.read_bytes(), [interceptor]
    ) as client:
        try:
            client.ActivateNode(request)
        except httpx.HTTPStatusError as error:
            return ANSWERS.get(error.response.status_code, f"HTTP {error.response.status_code}")
        except httpx.HTTPError as error:
            return f"no answer: {error}"
    return "registered"
