"""What is wrong with a company's reply, in a sentence: nothing of such a reply is used.

Here a reply is judged: who wrote it, whether it is an error, and what it holds. What a company did
not sign says nothing about that company.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from flwr.app import Error, Message, RecordDict
from google.protobuf.message import DecodeError

from fl_sv.errors import WorkerDied
from fl_sv.flower import schema, wire
from fl_sv.flower.signing import Unsigned
from fl_sv.text import one_line
from server.signatures import Signatures

# Raises ValueError when the content of a company's reply is not usable.
ReplyCheck = Callable[[str, RecordDict], None]

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


@dataclass(frozen=True)
class Problem:
    """Why a reply is not used.

    kind: `fault` where the company itself answered, `lost` where no answer came, `thrown away`
        where something came in its name that it did not sign.
    text: in one line; of a `fault` it may be the company's own.
    """

    kind: Literal["fault", "lost", "thrown away"]
    text: str


NO_REPLY = Problem("lost", "no reply came in time, or its node was started again meanwhile")


def problem_of(
    company: str,
    sent: Message,
    reply: Message,
    check: ReplyCheck,
    signatures: Signatures | None,
) -> Problem | None:
    """Why a reply is not usable; None when it is. The envelope is taken off it.

    sent: the message to the company. signatures: None where it is a worker of this machine.

    Raises WorkerDied where a simulation's worker died.
    """
    source, is_error = reply.metadata.src_node_id, reply.has_error()
    # The SuperLink makes these itself, and takes no reply from a node in its own name.
    if is_error and source == SERVER_NODE:
        return Problem("lost", _error_text(company, reply.error, is_simulated=signatures is None))
    is_known = source == sent.metadata.dst_node_id
    if signatures is not None:
        try:
            if not is_known:
                raise Unsigned("it came from another node")
            if is_error:
                raise Unsigned(_flowers_error(reply.error.code))
            signatures.open(company, sent, reply)
        except UNREADABLE as error:
            return Problem("thrown away", one_line(str(error)))
    elif not is_known:
        return Problem("fault", "its reply came from another node")
    elif is_error:
        return Problem("fault", _error_text(company, reply.error, is_simulated=True))
    try:
        if signatures is not None and wire.FAILURE in reply.content:
            schema.check_failure(reply.content)
            return Problem("fault", one_line(str(reply.content[wire.FAILURE][wire.REASON])))
        check(company, reply.content)
    except (ValueError, KeyError, TypeError) as error:
        return Problem("fault", one_line(str(error)))
    return None


def unreadable(message: Message) -> Message:
    """What stands in place of a reply to this message that Flower cannot read."""
    return Message(Error(MESSAGE_UNAVAILABLE, "Flower cannot read its reply"), reply_to=message)


def _flowers_error(code: int) -> str:
    """What an error is that no company signed: its text may be anybody's."""
    if code == MESSAGE_UNAVAILABLE:
        return "Flower cannot read it"
    return f"it is an error of Flower's, code {code}; its node's log says more"


def _error_text(company: str, error: Error, *, is_simulated: bool) -> str:
    """The text of an error; in a federation its code alone."""
    if error.code == NODE_UNAVAILABLE:
        return "its node went offline"
    if not is_simulated:
        return f"Flower cannot deliver its reply, code {error.code}"
    reason = (error.reason or f"error {error.code}")[-LOOKED_AT:]
    died = error.code == UNKNOWN_ERROR and any(death in reason for death in ACTOR_DEATHS)
    if died:
        raise WorkerDied(f"A Ray worker died while it trained for {company}.")
    return one_line(_exception_text(reason))


def _exception_text(reason: str) -> str:
    """The text of the company's exception, which Flower puts behind a traceback and prefixes."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    last = lines[-1].removesuffix("'>") if lines else "an error without a reason"
    last = re.sub(r"^<class '[\w.]+'>:<'", "", last)
    return last.rpartition("ClientAppException occurred. Message: ")[2]
