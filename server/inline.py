"""Flower's Grid in one process: the same server app, strategies and client app, without Ray or a network."""

from collections.abc import Iterable
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fl_sv import messages as words

CLIENT_RAISED = 2  # Flower's error code for an exception in the client app
SERVER_NODE = 1  # Flower's id for the server itself


class InlineGrid(Grid):
    """Runs the client app in place when a message is pushed; replies wait to be pulled."""

    def __init__(self, client_app: ClientApp, partitions: Iterable[int]) -> None:
        # Every Message is stamped with the process's identity, which Flower's own runtimes set before a server app.
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, SERVER_NODE
        self._client_app = client_app
        self._contexts = {
            number + SERVER_NODE + 1: Context(
                run_id=1,
                node_id=number + SERVER_NODE + 1,
                node_config={words.PARTITION: number},
                state=RecordDict(),
                run_config={},
            )
            for number in partitions
        }
        self._replies: dict[str, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=node_id) for node_id in self._contexts]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers = []
        for message in messages:
            identifier = str(uuid4())
            message.metadata.__dict__["_message_id"] = identifier  # as Flower's own in-memory grid does
            self._replies[identifier] = self._run(message)
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(identifier) for identifier in message_ids if identifier in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _run(self, message: Message) -> Message:
        try:
            return self._client_app(message, self._contexts[message.metadata.dst_node_id])
        except Exception as error:  # what a SuperNode reports, whatever the client app raised
            return Message(Error(code=CLIENT_RAISED, reason=str(error)), reply_to=message)

    def set_run(self, run: Run) -> None:
        """An inline grid belongs to no SuperLink run."""

    @property
    def run(self) -> Run:
        raise NotImplementedError("an inline grid belongs to no SuperLink run")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)
