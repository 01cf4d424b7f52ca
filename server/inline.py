"""Flower's Grid in one process, without Ray or a network.

Server app, strategies and client app are those of a simulation or a real federation.
"""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Self
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fl_sv.flower import wire
from fl_sv.machine import use_threads

CLIENT_RAISED = 2  # Flower's error code for an exception in the client app
SERVER_NODE = 1  # Flower's id for the server itself
PULL_SECONDS = 0.5  # how long a look at the replies waits for the last of them

# A company's messages that have no reply yet, in the order in which they came.
Inbox = deque[tuple[Message, Future[Message]]]


class InlineGrid(Grid):
    """Runs the client app for every message that is pushed, in `workers` threads.

    As on a machine of its own, a company works at one message at a time, in the order in which they
    came. No thread waits for a company that is busy. Replies wait to be pulled.

    Each worker computes with `threads` threads of torch and BLAS. That is set in every worker anew:
    in a thread without it, matrix products take all cores and give other last digits.

    Leaving the `with` block waits for the messages in work, unless an exception leaves it.
    """

    def __init__(
        self, client_app: ClientApp, partitions: Iterable[int], workers: int = 1, threads: int = 1
    ) -> None:
        # Flower stamps every message with the identity of the process. Its own runtimes set that
        # before they start a server app; then it stays.
        if not _is_identified():
            TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, SERVER_NODE
        self._client_app = client_app
        run_id = uuid4().int >> 65  # by which a company knows that it is another run; 63 bits
        self._contexts = {
            number + SERVER_NODE + 1: Context(
                run_id=run_id,
                node_id=number + SERVER_NODE + 1,
                node_config={wire.PARTITION: number},
                state=RecordDict(),
                run_config={},
            )
            for number in partitions
        }
        self._executor = ThreadPoolExecutor(
            workers, "company", initializer=use_threads, initargs=(threads,)
        )
        self._inboxes: dict[int, Inbox] = {node_id: deque() for node_id in self._contexts}
        self._lock = Lock()  # of the inboxes
        self._replies: dict[str, Future[Message]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            for inbox in self._inboxes.values():
                while len(inbox) > 1:  # the first message is in work
                    inbox.pop()
        self._executor.shutdown(wait=exception is None, cancel_futures=True)
        self._replies.clear()

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=node_id) for node_id in self._contexts]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers = []
        for message in messages:
            identifier = str(uuid4())
            # As Flower's own in-memory grid does.
            message.metadata.__dict__["_message_id"] = identifier
            self._replies[identifier] = reply = Future()
            identifiers.append(identifier)
            node_id = message.metadata.dst_node_id
            with self._lock:
                inbox = self._inboxes[node_id]
                inbox.append((message, reply))
                if len(inbox) == 1:
                    self._executor.submit(self._answer, node_id)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        pending = {
            identifier: self._replies[identifier]
            for identifier in message_ids
            if identifier in self._replies
        }
        wait(pending.values(), PULL_SECONDS)
        return [
            self._replies.pop(identifier).result()
            for identifier, reply in pending.items()
            if reply.done()
        ]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        pushed = self.push_messages(messages)
        wait([self._replies[identifier] for identifier in pushed], timeout)
        return self.pull_messages(pushed)

    def _answer(self, node_id: int) -> None:
        """Answers the first message in a company's inbox, then queues up for the next one."""
        message, reply = self._inboxes[node_id][0]
        try:
            reply.set_result(self._run(message))
        except BaseException as error:  # a test's, or an exit: the server raises it
            reply.set_exception(error)
        with self._lock:
            self._inboxes[node_id].popleft()
            if self._inboxes[node_id]:
                self._executor.submit(self._answer, node_id)

    def _run(self, message: Message) -> Message:
        try:
            return self._client_app(message, self._contexts[message.metadata.dst_node_id])
        except Exception as error:  # as a SuperNode reports any exception
            return Message(Error(code=CLIENT_RAISED, reason=str(error)), reply_to=message)

    def set_run(self, run: Run) -> None:
        """An inline grid belongs to no SuperLink run."""

    @property
    def run(self) -> Run:
        raise NotImplementedError("an inline grid belongs to no SuperLink run")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)


def _is_identified() -> bool:
    """Whether Flower has given this process an identity."""
    try:
        return bool(TaskIdentity.run_id)
    except RuntimeError:
        return False
