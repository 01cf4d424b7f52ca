"""A registered company that speaks Flower's Fleet API itself, and says what it likes in it.

Flower 1.41 checks that its requests are signed by its own registered key, and nothing of the
messages in them: who sent them, and to whom.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import yaml
from flwr.app import Metadata, RecordDict
from flwr.app.message import Message, remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from benchmarks.federation.deployment import PATIENCE, Deployment
from fl_sv.federation.certificates import read_company_key

SUPERLINK = 1
TTL = 3600.0


class Attacker:
    """One company of a federation, against another one, its victim."""

    def __init__(self, federation: Deployment, company: str, victim: str) -> None:
        nodes = yaml.safe_load((federation.operator / "nodes.yaml").read_text())
        self.node, self.victim = int(nodes[company]), int(nodes[victim])
        self._database: Path = federation.operator / "superlink.db"
        key = read_company_key(federation.kits[company] / "company.key")
        self._client = FleetHttpClient.from_server_address(
            f"{federation.address}:{federation.port}",
            False,
            (federation.operator / "ca.crt").read_bytes(),
            [
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(key, key.public_key()),
            ],
        )

    def instruction_to_victim(self, *, after: str = "") -> tuple[str, str, int, float]:
        """An instruction to the victim that has no reply yet: its id, type, run, and time.

        The test reads it in the SuperLink's database. An attacker has to guess it.
        """
        signed_node = self.victim - (1 << 64) if self.victim >> 63 else self.victim
        question = (
            "SELECT message_id, message_type, run_id, created_at FROM message_ins WHERE"
            " dst_node_id = ? AND message_id != ? AND message_id NOT IN"
            " (SELECT reply_to_message_id FROM message_res) ORDER BY created_at DESC LIMIT 1"
        )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as database:
                row = database.execute(question, (signed_node, after)).fetchone()
            if row is not None:
                identifier, message_type, run, created_at = row
                return str(identifier), str(message_type), int(run) % (1 << 64), float(created_at)
            time.sleep(0.05)
        raise AssertionError("in vain: an instruction to the victim")

    def reply_for_victim(self, content: RecordDict, answered: tuple[str, str, int, float]) -> None:
        """A reply in the victim's name to an instruction that only the victim got."""
        identifier, message_type, run, _ = answered
        self._push(content, run, message_type, self.victim, SUPERLINK, reply_to=identifier)

    def instruct_victim(self, content: RecordDict, message_type: str, run: int) -> None:
        """An instruction in the server's name."""
        self._push(content, run, message_type, SUPERLINK, self.victim)

    def _push(
        self, content: RecordDict, run: int, kind: str, source: int, to: int, reply_to: str = ""
    ) -> None:
        ttl = TTL / 2 if reply_to else TTL
        metadata = Metadata(run, "", source, to, reply_to, "", time.time(), ttl, kind)
        metadata.delivered_at = ""
        message = Message(content, metadata=metadata)  # type: ignore[call-overload]
        metadata.__dict__["_message_id"] = message.object_id
        node = Node(node_id=self.node)
        request = PushMessagesRequest(
            node=node,
            messages_list=[message_to_proto(remove_content_from_message(message))],
            message_object_trees=[get_object_tree(message)],
            clientapp_runtime_list=[0.0],
        )
        answer = self._client.PushMessages(request)
        wanted = set(answer.objects_to_push)
        for identifier, thing in get_all_nested_objects(message).items():
            if identifier in wanted:
                pushed = PushObjectRequest(
                    node=node,
                    run_id=run,
                    object_id=identifier,
                    object_content=thing.deflate(),
                    session_id=answer.session_id,
                )
                self._client.PushObject(pushed)

    def close(self) -> None:
        self._client.close()
