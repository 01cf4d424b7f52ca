"""What is wrong with a company's reply, in a sentence: nothing of such a reply is used.

Here a reply is judged: where it comes from, whether it is an error, and what it holds.
"""

import re
from collections.abc import Callable

from flwr.app import Error, Message, RecordDict
from google.protobuf.message import DecodeError

from fl_sv.errors import WorkerDied
from fl_sv.text import one_line

# Raises ValueError when the content of a company's reply is not usable.
ReplyCheck = Callable[[str, RecordDict], None]

NO_REPLY = "no reply came in time, or its node was started again meanwhile"

# --- what Flower and Ray call things --------------------------------------------------------------

# Flower's id of the server, from which its own errors come.
SERVER_NODE = 1
# Flower's code for any other error than the app's exception; in a simulation a dead actor.
UNKNOWN_ERROR = 0
# Flower's codes for a reply that is not there as a whole, and for a node that went offline.
MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE = 3, 5
ACTOR_DEATHS = (
    "ActorDiedError",
    "ActorUnavailableError",
    "RayActorError",
    "WorkerCrashedError",
    "OutOfMemoryError",
)
# What Flower raises where it cannot read the bytes of a reply.
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    DecodeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
# Characters of an error that are looked at, from its end: its text may be as long as a company
# likes.
LOOKED_AT = 4000


def problem_of(
    company: str, node_id: int, reply: Message, check: ReplyCheck, *, simulated: bool
) -> str | None:
    """Why a reply is not usable, in one line; None when it is.

    node_id: of the company. simulated: whether it is a worker of this machine.

    Raises WorkerDied where a simulation's worker died.
    """
    source, is_error = reply.metadata.src_node_id, reply.has_error()
    if source != node_id and not (is_error and source == SERVER_NODE):
        return "its reply came from another node"
    # A signature is to be verified here, before anything of the reply is read.
    if is_error:
        return _error_text(company, reply.error, simulated=simulated)
    try:
        check(company, reply.content)
    except (ValueError, KeyError, TypeError) as error:
        return one_line(str(error))
    return None


def unreadable(message: Message) -> Message:
    """What stands in place of a reply to this message that Flower cannot read."""
    return Message(Error(MESSAGE_UNAVAILABLE, "Flower cannot read its reply"), reply_to=message)


def _error_text(company: str, error: Error, *, simulated: bool) -> str:
    reason = (error.reason or f"error {error.code}")[-LOOKED_AT:]
    died = error.code == UNKNOWN_ERROR and any(death in reason for death in ACTOR_DEATHS)
    if died and simulated:
        raise WorkerDied(f"A Ray worker died while it trained for {company}.")
    if error.code == NODE_UNAVAILABLE:
        return "its node went offline"
    return one_line(_exception_text(reason))


def _exception_text(reason: str) -> str:
    """The text of the company's exception, which Flower puts behind a traceback and prefixes."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    last = lines[-1].removesuffix("'>") if lines else "an error without a reason"
    last = re.sub(r"^<class '[\w.]+'>:<'", "", last)
    return last.rpartition("ClientAppException occurred. Message: ")[2]
