"""A company follows the operator's signed instructions alone, and signs what it answers.

Only a node of a simulation gets and sends what nobody signed: one whose own config names a number
and no kit. Flower passes a node its config from its own command line; the server has no part in it.
"""

import logging
import time
from collections.abc import Mapping
from copy import copy
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from fl_sv.errors import InputError
from fl_sv.federation.kit import JOIN_AGAIN, Kit, is_first_answer, read_kit
from fl_sv.flower import signing, wire
from fl_sv.flower.schema import MOST_REASON
from fl_sv.text import one_line

NO_KIT = (
    "this node has no kit and is no node of a simulation, so it follows no instruction. Start it as"
    " in the unit that `fl-sv federation join` wrote, with `kit=` in its --node-config"
)

LOG = logging.getLogger("flwr")  # the log of the SuperNode


class Withheld(Exception):
    """An error whose text may leave the company."""


def signed(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """A Flower mod, the outermost: the instruction is verified, and the reply signed.

    An instruction that the operator did not write for this node gets no answer of the company's:
    Flower's own error goes out, and the node's log says why. Whatever fails later is told to the
    server in a signed reply, an error by its kind alone: its text may hold a path, the name of a
    column or a cell. In a simulation company and server are one machine: there Flower passes on the
    text.
    """
    if is_simulated(context.node_config):
        return answer(message, context)
    try:
        kit, letter = _opened(message, context)
    except (LookupError, TypeError, ValueError) as error:  # Unsigned and InputError among them
        LOG.error("fl-sv: an instruction was refused: %s", error)  # noqa: TRY400 its trace is noise
        raise Withheld("an instruction was refused; the log of this node says why") from None
    try:
        _require_agreed(letter, kit)
        content = answer(_without_envelope(message), context).content
    except Exception as error:
        LOG.exception("fl-sv: this error stays here. The server gets only its kind.")
        reason = withheld(error, message.metadata.message_type)[:MOST_REASON]
        content = RecordDict({wire.FAILURE: ConfigRecord({wire.REASON: reason})})
    return Message(_signed(content, letter, kit), reply_to=message)


def is_simulated(node_config: Mapping[str, object]) -> bool:
    """Whether a node is one of a simulation, by its own config."""
    return wire.PARTITION in node_config and wire.KIT not in node_config


def withheld(error: Exception, message_type: str) -> str:
    """The sentence that the server gets instead of the error."""
    if isinstance(error, Withheld):
        return str(error)
    if isinstance(error, InputError):
        what = (
            "its data, the data path in its node's config, or a module on its data were refused"
            " (`fl-sv data check` there names the reason)"
        )
    else:
        what = f"{type(error).__name__} was raised"
    return f"{what}; the log of its own SuperNode has the details, on the message {message_type!r}"


def refusal(what: str) -> Withheld:
    """An instruction is refused, and the server is told why; what: the reason."""
    return Withheld(one_line(f"the server's instruction was refused: {what}"))


def other_contract(company: str) -> str:
    """Why an instruction of another contract is refused, and what to do."""
    return (
        "it is of another config, or of another version of fl_sv, than the one that"
        f" {company} agreed to when it joined. {JOIN_AGAIN}"
    )


def _opened(message: Message, context: Context) -> tuple[Kit, signing.Instruction]:
    """The kit, and the envelope of an instruction that the operator wrote for this node.

    From now on the node has answered it. What has expired is forgotten some day, so of that it
    cannot be known; `_require_agreed` refuses it.

    Raises Unsigned; InputError where the kit is not whole.
    """
    node = context.node_config
    if wire.KIT not in node:
        raise signing.Unsigned(NO_KIT)
    state = None if wire.STATE not in node else Path(str(node[wire.STATE]))
    kit = read_kit(Path(str(node[wire.KIT])), state)
    letter = signing.open_instruction(
        message.content,
        kit.operator,
        run=context.run_id,
        recipient=kit.company,
        message_type=message.metadata.message_type,
    )
    in_time = letter.has_not_expired(time.time())
    if in_time and not is_first_answer(kit.state, letter.nonce, letter.expires):
        raise signing.Unsigned("it was answered before")
    return kit, letter


def _require_agreed(letter: signing.Instruction, kit: Kit) -> None:
    """Raises Withheld for an instruction of the operator's that came late, or was not agreed to."""
    now = time.time()
    if not letter.has_not_expired(now):
        raise refusal(
            f"it expired {now - letter.expires:,.0f} s ago by this node's clock, and up to"
            f" {signing.SKEW_SECONDS} s are allowed. Turn NTP on, here and at the operator's"
        )
    if letter.contract != kit.contract:
        raise refusal(other_contract(kit.company))


def _without_envelope(message: Message) -> Message:
    """The same message with all other records; the one that was sent stays as it is."""
    opened = copy(message)
    records = {name: message.content[name] for name in message.content if name != wire.ENVELOPE}
    opened.content = RecordDict(records)
    return opened


def _signed(content: RecordDict, letter: signing.Instruction, kit: Kit) -> RecordDict:
    """The content of a reply with its envelope."""
    reply = signing.Reply(letter.nonce, kit.company, letter.type, signing.digest(content))
    fields = signing.envelope(reply, signing.company_signer(kit.key))
    return RecordDict({**content, wire.ENVELOPE: ConfigRecord(fields)})
