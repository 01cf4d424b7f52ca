"""Nobody runs code at a company, and nobody speaks in another's name.

Messages as tables of named cases, without a network; tests/test_deployment.py has real processes.
Beech is the victim. Whoever attacks is registered: he reaches its node, and knows its messages.
"""

import hashlib
import json
import logging
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.task_identity import TaskIdentity

from clients.app import app as honest_app
from clients.signatures import Withheld, signed
from fl_sv.config import Config, parse_config
from fl_sv.data import OperatorData, operator_data
from fl_sv.errors import CompanyFailed, InputError
from fl_sv.federation.certificates import read_company_key
from fl_sv.federation.kit import KEY, OWNER, is_first_answer, pin, read_kit
from fl_sv.flower import signing, wire
from fl_sv.flower.contract import contract_of, references, what_runs
from fl_sv.flower.pieces import bound_arrays
from fl_sv.machine import LARGE_BYTES
from fl_sv.progress import Progress
from fl_sv.runs.directory import start_or_resume
from fl_sv.runs.files import PAYOUTS, UTILITIES, VALUATION
from fl_sv.runs.keys import owner_key
from server import exchange, tries
from server.exchange import join
from server.simulation import simulate
from server.valuation import value_companies
from strategies.roster import Roster
from tests import plugins
from tests.kits import RegisteredGrid, make_kit, public_pem

GAME = """
companies: [Ash, Beech, Chestnut]
data: {source: iris, partition: {kind: iid}}
models: {small: [{kind: mlp, hidden: [3]}], large: {kind: mlp, hidden: [8]}}
training: {rounds: 2, seeds: 1}
faults: {retries: 1}
payouts: {pot: {kind: fixed, cents: 1000}}
"""
CONFIG = parse_config(GAME, "game")
EVIL = parse_config(
    GAME.replace("iris", "'tests.plugins:evil', options: {command: id}, classes: 2"), "evil"
)
RUN, VICTIM, BEECHS_NODE = 7, "Beech", 3
MOST_THROWN_AWAY = 2  # in these tests, besides the retries
HOUR = 3600


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "flwr")  # a quiet run before may have silenced it
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN, 1, 1
    monkeypatch.setattr(exchange, "REMOTE_POLL_SECONDS", 0.01)
    monkeypatch.setattr(tries, "MOST_THROWN_AWAY", MOST_THROWN_AWAY)
    plugins.RAN.clear()


@cache
def operators_rows() -> OperatorData:
    return operator_data(CONFIG)


def records(config: Config = CONFIG, company: str = VICTIM) -> RecordDict:
    """The records of a first message."""
    task = {
        wire.COMPANY: company,
        wire.ROUND: 0,
        wire.RUN_CONFIG: config.model_dump_json(),
        wire.SCALING: operators_rows().scaling.to_json(),
    }
    return RecordDict({wire.CONFIG: ConfigRecord(task)})


def letter(content: RecordDict, **changes: Any) -> signing.Instruction:
    """The honest envelope of these records, but for the changes."""
    honest = signing.Instruction(
        run=RUN,
        contract=contract_of(CONFIG),
        recipient=VICTIM,
        type=wire.REGISTER,
        round=0,
        nonce=signing.new_nonce(),
        expires=int(time.time()) + HOUR,
        digest=signing.digest(content),
    )
    return replace(honest, **changes)


def instruction(
    content: RecordDict | None = None, key: Ed25519PrivateKey | None = None, **changes: Any
) -> Message:
    """An instruction to Beech, signed by the operator or another key."""
    content = content or records()
    envelope = signing.envelope(letter(content, **changes), (key or owner_key()).sign)
    return Message(
        RecordDict({**content, wire.ENVELOPE: ConfigRecord(envelope)}), BEECHS_NODE, wire.REGISTER
    )


def changed(**fields: Any) -> Message:
    """Somebody changes fields of an honest envelope."""
    message = instruction(records(EVIL))
    for name, value in fields.items():
        message.content[wire.ENVELOPE].__dict__["_data"][name] = value
    return message


def with_other_records(change: Callable[[RecordDict], object]) -> Message:
    message = instruction()
    change(message.content)
    return message


def without(field: str) -> Message:
    message = instruction(records(EVIL))
    del message.content[wire.ENVELOPE][field]
    return message


def unsigned() -> Message:
    return Message(records(EVIL), BEECHS_NODE, wire.REGISTER)


def signed_as_a_reply() -> Message:
    """The attacker has a registered key, and an envelope of the kind that he may sign."""
    content, key = records(EVIL), ec.generate_private_key(ec.SECP384R1())
    reply = signing.Reply(signing.new_nonce(), "Ash", wire.REGISTER, signing.digest(content))
    envelope = signing.envelope(reply, signing.company_signer(key))
    return Message(
        RecordDict({**content, wire.ENVELOPE: ConfigRecord(envelope)}), BEECHS_NODE, wire.REGISTER
    )


# --- who makes a company's node do something -----------------------------------------------------

FORGED: dict[str, tuple[Callable[[], Message], str]] = {
    "not signed": (unsigned, "it is not signed"),
    **{
        f"no {field}": (lambda field=field: without(field), "its envelope is none")  # type: ignore[misc]
        for field in ("signature", "digest", "nonce", "recipient", "expires", "contract", "run")
    },
    "an empty signature": (lambda: changed(signature=b""), "its envelope is none"),
    "a signature of text": (lambda: changed(signature="x"), "its envelope is none"),
    "another's signature": (lambda: changed(signature=bytes(64)), "is not the operator's"),
    "a field more": (lambda: changed(role="operator"), "its envelope is none"),
    "signed by somebody": (
        lambda: instruction(records(EVIL), Ed25519PrivateKey.generate()),
        "its signature is not the operator's",
    ),
    "signed by a company": (signed_as_a_reply, "its envelope is none"),
    "an envelope of arrays": (
        lambda: with_other_records(lambda c: c.update({wire.ENVELOPE: ArrayRecord()})),
        "its envelope is none: the record 'envelope' is no ConfigRecord",
    ),
    "for Ash": (lambda: instruction(recipient="Ash"), "it is for Ash, and this is the node of Be"),
    "said to be for Beech": (
        lambda: changed(recipient="Beech", nonce="0" * 32),
        "its signature is not the operator's",
    ),
    "a later end": (lambda: changed(expires=1 << 39), "its signature is not the operator's"),
    "another contract": (lambda: changed(contract="0" * 64), "is not the operator's"),
    "of another run": (lambda: instruction(run=RUN + 1), "it was written for another run"),
    "of another type": (lambda: instruction(type=wire.TEACHER), "it was signed as 'train'"),
    "another config": (
        lambda: with_other_records(
            lambda content: content[wire.CONFIG].update(records(EVIL)[wire.CONFIG])
        ),
        "its records are not those that were signed",
    ),
    "another round": (
        lambda: with_other_records(lambda content: content[wire.CONFIG].update({wire.ROUND: 1})),
        "its records are not those that were signed",
    ),
    "a record more": (
        lambda: with_other_records(lambda content: content.update({"x": MetricRecord({"x": 1})})),
        "its records are not those that were signed",
    ),
    "a record less": (
        lambda: with_other_records(lambda content: content.pop(wire.CONFIG)),
        "its records are not those that were signed",
    ),
}


@dataclass
class Node:
    """Beech's node, with all that Flower gives its client app."""

    kit: Path
    config: dict[str, Any]

    def __call__(self, message: Message) -> Message:
        """The reply, after the message has been bytes."""
        data = message_to_proto(message).SerializeToString()
        context = Context(RUN, BEECHS_NODE, self.config, RecordDict(), {})
        return honest_app(message_from_proto(ProtoMessage.FromString(data)), context)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    kit = make_kit(tmp_path / "kit", VICTIM, CONFIG)
    return Node(kit, {wire.KIT: str(kit)})


def failure(reply: Message) -> str:
    """What a company says in a signed reply of why it did nothing."""
    return str(reply.content[wire.FAILURE][wire.REASON])


def test_node_without_signatures_runs_what_anybody_sends() -> None:
    """The attack, as any registered company could make it while nothing was signed: what a
    simulated node believes.
    """
    simulated = Node(Path(), {wire.PARTITION: 1})
    with pytest.raises(InputError):  # its rows do not fit; it has run by then
        simulated(unsigned())
    assert plugins.RAN == ["id"]


@pytest.mark.parametrize("name", FORGED)
def test_instruction_that_the_operator_did_not_write_for_this_node_runs_nothing(
    name: str, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    craft, sentence = FORGED[name]
    with pytest.raises(Withheld, match="an instruction was refused; the log of this node says why"):
        node(craft())
    assert plugins.RAN == []
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("fl-sv: an instruction was refused: ") and sentence in line
    assert not (node.kit / "state").exists()  # it answered nothing


def test_an_instruction_is_answered_once_and_its_round_again_under_another_nonce(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    first, again = instruction(), instruction()
    assert wire.METRICS in node(first).content
    with pytest.raises(Withheld):
        node(first)
    assert "it was answered before" in caplog.text
    assert wire.METRICS in node(again).content


OTHER_NODES: dict[str, tuple[dict[str, Any], str]] = {
    "no config": ({}, "this node has no kit and is no node of a simulation"),
    "a file alone": ({wire.DATA_PATH: "/data/ash.npz"}, "this node has no kit"),
    "no such kit": ({wire.KIT: "/nowhere"}, "There is no /nowhere/joined.yaml"),
    # Whoever starts a node for a simulation gives it no kit. With one it believes nobody else.
    "a kit and a number": ({wire.KIT: "KIT", wire.PARTITION: 1}, "it is not signed"),
}


@pytest.mark.parametrize("name", OTHER_NODES)
def test_only_a_node_of_a_simulation_follows_what_is_not_signed(
    name: str, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    config, sentence = OTHER_NODES[name]
    node.config = {key: str(node.kit) if value == "KIT" else value for key, value in config.items()}
    with pytest.raises(Withheld):
        node(unsigned())
    assert sentence in caplog.text
    assert plugins.RAN == []


def test_node_whose_operators_key_was_exchanged_follows_nobody(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    other = Ed25519PrivateKey.generate()
    (node.kit / OWNER).write_bytes(public_pem(other.public_key()))
    with pytest.raises(Withheld):
        node(instruction(key=other))
    assert "is not the operator's key that Beech joined with" in caplog.text


# --- what the operator himself may not make it do ------------------------------------------------

NOT_AGREED: dict[str, tuple[Callable[[], Message], str]] = {
    "another contract": (
        lambda: instruction(records(EVIL), contract=contract_of(EVIL)),
        "it is of another config, or of another version of fl_sv, than the one that Beech agreed",
    ),
    "another config": (lambda: instruction(records(EVIL)), "it is of another config, or of"),
    "Ash's rows": (
        lambda: instruction(records(company="Ash")),
        "it names 'Ash', and this is the node of Beech",
    ),
    "no rows": (lambda: instruction(records(company="")), "it names '', and this is the node of"),
    "late": (
        lambda: instruction(expires=int(time.time()) - signing.SKEW_SECONDS - 60),
        "s ago by this node's clock, and up to 300 s are allowed. Turn NTP on",
    ),
    "no schema": (
        lambda: instruction(RecordDict({**records(), "x": ConfigRecord()})),
        "the server's instruction was refused: the records are",
    ),
}


@pytest.mark.parametrize("name", NOT_AGREED)
def test_company_refuses_in_a_signed_reply_what_it_did_not_agree_to(name: str, node: Node) -> None:
    craft, sentence = NOT_AGREED[name]
    message = craft()
    reply = node(message)
    assert sentence in failure(reply)
    assert plugins.RAN == []
    signing.open_reply(
        reply.content,
        read_company_key(node.kit / KEY).public_key(),
        nonce=message.content[wire.ENVELOPE]["nonce"],
        sender=VICTIM,
        message_type=wire.REGISTER,
    )


def test_clock_that_is_a_little_ahead_refuses_nothing(node: Node) -> None:
    late = int(time.time()) - signing.SKEW_SECONDS + 60
    assert wire.METRICS in node(instruction(expires=late)).content


def test_company_that_joins_again_with_the_new_config_follows_it(node: Node) -> None:
    new = CONFIG.model_copy(update={"seed": 8})
    order = {"content": records(new), "contract": contract_of(new)}
    assert "agreed to when it joined. Ask the operator for the new kit" in failure(
        node(instruction(**order))  # type: ignore[arg-type]
    )
    make_kit(node.kit.parent / "new", VICTIM, new)
    (node.kit / "config.yaml").write_bytes((node.kit.parent / "new" / "config.yaml").read_bytes())
    pin(node.kit, VICTIM)
    assert wire.METRICS in node(instruction(**order)).content  # type: ignore[arg-type]


def test_contract_is_of_all_that_decides_what_a_company_does_and_is_paid() -> None:
    same = CONFIG.model_copy(update={"faults": CONFIG.faults.model_copy(update={"retries": 9})})
    assert contract_of(same) == contract_of(CONFIG)  # what may change on resume
    for other in (
        EVIL,
        CONFIG.model_copy(update={"seed": 1}),
        parse_config(GAME.replace("1000", "999"), "game"),
        parse_config(GAME.replace("[8]", "[9]"), "game"),
        parse_config(GAME.replace("rounds: 2", "rounds: 3"), "game"),
    ):
        assert contract_of(other) != contract_of(CONFIG)


def test_references_are_all_that_a_node_imports_and_calls() -> None:
    assert list(references(CONFIG)) == []
    model = "{kind: module, factory: 'tests.plugins:tiny_transformer', options: {width: 8}}"
    text = GAME.replace("{kind: mlp, hidden: [8]}", model)
    assert list(references(parse_config(text, "game"))) == [
        "tests.plugins:tiny_transformer (models.large.factory)"
    ]
    assert list(references(EVIL)) == ["tests.plugins:evil (data.source)"]
    column = parse_config(
        GAME.replace("iris", "a.csv, target: 'a:b', columns: {'c:d': numeric}"), "game"
    )
    assert list(references(column)) == []  # a column is a text, whatever it is called
    assert what_runs(EVIL).endswith("installed by the company: tests.plugins:evil (data.source).")
    assert "nothing; the config names no function or module" in what_runs(CONFIG)


# --- answered instructions -----------------------------------------------------------------------


def test_of_many_that_ask_at_once_for_the_same_instruction_one_is_the_first(tmp_path: Path) -> None:
    expires = int(time.time()) + HOUR
    with ThreadPoolExecutor(8) as pool:
        for nonce in ("a" * 32, "b" * 32):
            firsts = list(
                pool.map(lambda _, n=nonce: is_first_answer(tmp_path, n, expires), range(16))  # type: ignore[misc]
            )
            assert sum(firsts) == 1


def test_instruction_is_forgotten_only_when_it_could_not_be_followed_any_more(
    tmp_path: Path,
) -> None:
    one, other = letter(records(), expires=1000), letter(records(), expires=5000)
    assert is_first_answer(tmp_path, one.nonce, one.expires, now=900)
    for now in (900.0, 1000.0, 1000.0 + signing.SKEW_SECONDS):
        assert one.has_not_expired(now)
        assert not is_first_answer(tmp_path, one.nonce, one.expires, now=now)
    later = 1001.0 + signing.SKEW_SECONDS
    assert not one.has_not_expired(later)
    assert is_first_answer(tmp_path, other.nonce, other.expires, now=later)
    assert is_first_answer(tmp_path, one.nonce, one.expires, now=later)  # forgotten


def test_node_that_cannot_write_down_what_it_answers_answers_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write down .* Give it a folder that it may"):
        is_first_answer(tmp_path / "state", "a" * 32, 1000)


# --- who answers in a company's name -------------------------------------------------------------

Craft = Callable[["Forger", Message], Message]


class Forger:
    """Honest companies. The first replies in Beech's name are another's, who was faster."""

    def __init__(self, craft: Craft | None = None, times: int = 0, faults: int = 0) -> None:
        self.craft, self.left, self.faults = craft, times, faults
        self.replies: list[Message] = []  # that Beech wrote, and nobody got
        self.answered = 0

    def __call__(self, message: Message, context: Context) -> Message:
        if context.node_id == BEECHS_NODE and self.left == 0 and self.faults:
            self.faults -= 1
            return signed(message, context, breaks_down)
        reply = honest_app(message, context)
        if context.node_id != BEECHS_NODE or self.left == 0:
            return reply
        self.left -= 1
        self.replies.append(reply)
        assert self.craft is not None
        return self.craft(self, reply)


def breaks_down(message: Message, context: Context) -> Message:
    raise RuntimeError("a secret of Beech's")


def in_place_of(reply: Message, other: Message) -> Message:
    other.metadata.__dict__.update(reply.metadata.__dict__)
    return other


def error(code: int, reason: str, node: int = BEECHS_NODE) -> Craft:
    def craft(_: Forger, reply: Message) -> Message:
        forged = in_place_of(reply, Message(Error(code, reason), reply_to=reply))
        forged.metadata.__dict__["_src_node_id"] = node
        return forged

    return craft


def records_changed(change: Callable[[RecordDict], object]) -> Craft:
    def craft(_: Forger, reply: Message) -> Message:
        content = RecordDict({**reply.content})
        change(content)
        return in_place_of(reply, Message(content, reply_to=reply))

    return craft


def signed_anew(key: str = "Beech", **changes: Any) -> Craft:
    """The reply in another envelope: signed with a key of somebody, with changed fields."""

    def craft(_: Forger, reply: Message) -> Message:
        content = RecordDict({n: reply.content[n] for n in reply.content if n != wire.ENVELOPE})
        old = reply.content[wire.ENVELOPE]
        honest = signing.Reply(*(old[name] for name in ("nonce", "sender", "type", "digest")))
        signer = signing.company_signer(KEYS[key])
        fields = signing.envelope(replace(honest, **changes), signer)
        content[wire.ENVELOPE] = ConfigRecord(fields)
        return in_place_of(reply, Message(content, reply_to=reply))

    return craft


def more_examples(content: RecordDict) -> None:
    content[wire.METRICS] = MetricRecord({wire.NUM_EXAMPLES: 10**6})


def replayed(forger: Forger, reply: Message) -> Message:
    """An old reply of Beech's own, to the same kind of instruction."""
    old = forger.replies[0]
    if old is reply:
        return error(2, "")(forger, reply)
    return in_place_of(reply, Message(RecordDict({**old.content}), reply_to=reply))


KEYS: dict[str, ec.EllipticCurvePrivateKey] = {}
REPLIES: dict[str, tuple[Craft, str]] = {
    "no envelope": (records_changed(lambda c: c.pop(wire.ENVELOPE)), "it is not signed"),
    "nothing": (records_changed(lambda c: c.clear()), "it is not signed"),
    "more examples": (records_changed(more_examples), "its records are not those that were signed"),
    "signed by Ash": (signed_anew("Ash"), "its signature is not by the registered key"),
    "signed by Ash as Ash": (signed_anew("Ash", sender="Ash"), "is not by the registered key"),
    "in the name of Ash": (signed_anew(sender="Ash"), "it was signed in the name of Ash"),
    "of another type": (signed_anew(type=wire.EVALUATE), "it was signed as 'evaluate'"),
    "of another digest": (signed_anew(digest="0" * 64), "its records are not those"),
    "another nonce": (signed_anew(nonce="0" * 32), "it answers another instruction"),
    "replayed": (replayed, "it answers another instruction"),
    "an error in words": (error(2, "Beech is bankrupt"), "it is an error of Flower's, code 2;"),
    "a dead actor": (error(0, "ActorDiedError"), "it is an error of Flower's, code 0;"),
    "offline": (error(5, "node_unavail"), "it is an error of Flower's, code 5;"),
    "from Ash's node": (error(2, "x", BEECHS_NODE - 1), "it came from another node"),
    "an evil envelope": (
        records_changed(lambda c: c[wire.ENVELOPE].update({"sender": "\x1b[2J"})),
        "its envelope is none: 'sender' is",
    ),
    "no config": (
        records_changed(lambda c: c.update({wire.ENVELOPE: MetricRecord()})),
        "its envelope is none: the record 'envelope' is no ConfigRecord",
    ),
}


def registered(companies: Callable[[Message, Context], Message]) -> RegisteredGrid:
    grid = RegisteredGrid(CONFIG.companies, CONFIG, companies)  # type: ignore[arg-type]
    KEYS.update({name: read_company_key(kit / KEY) for name, kit in grid.kits.items()})
    return grid


def roster(grid: RegisteredGrid) -> Roster:
    return join(grid, CONFIG, operators_rows(), threading.Event()).roster


@pytest.mark.parametrize("name", REPLIES)
def test_reply_that_its_company_did_not_sign_is_thrown_away_and_the_company_asked_again(
    name: str,
) -> None:
    craft, sentence = REPLIES[name]
    grid = registered(Forger(craft, 2))
    assert roster(grid).examples[VICTIM] == 40
    assert len(grid.sent) == len(CONFIG.companies) + 2
    nonces = [message.content[wire.ENVELOPE]["nonce"] for message in grid.sent]
    assert len(set(nonces)) == len(nonces)
    with pytest.raises(CompanyFailed) as failed:
        roster(registered(Forger(craft, 99)))
    text = str(failed.value)
    in_vain = CONFIG.faults.retries + MOST_THROWN_AWAY + 1
    assert text.startswith(
        f"No reply signed by Beech arrived in registration, in {in_vain} tries: "
    )
    assert sentence in text
    assert f"Thrown away: {in_vain} replies in the name of Beech that its key did not sign" in text
    assert "any company of the federation may have sent them" in text
    for word in ("Beech failed", "bankrupt", "So did", "Ash failed"):
        assert word not in text
    assert text.isprintable()


def test_what_others_sent_in_its_name_costs_a_company_no_try() -> None:
    retries = CONFIG.faults.retries
    grid = registered(Forger(error(2, "x"), MOST_THROWN_AWAY, faults=retries))
    assert set(roster(grid).examples) == set(CONFIG.companies)
    with pytest.raises(
        CompanyFailed,
        match=r"^Beech failed in registration, 2 times: RuntimeError was raised.*"
        r" Thrown away: 3 replies in the name of Beech",
    ):
        roster(registered(Forger(error(2, "x"), 3, faults=retries + 1)))


def test_company_says_itself_in_a_signed_reply_why_it_failed() -> None:
    with pytest.raises(
        CompanyFailed, match=r"^Beech failed in registration, 2 times: RuntimeError was"
    ):
        roster(registered(Forger(faults=9)))


def test_key_that_cannot_sign_is_refused_before_anything_is_sent() -> None:
    grid = registered(Forger())
    grid.public_key = lambda name: exchange.REAL_KEY + b"\n..."  # type: ignore[method-assign]
    with pytest.raises(InputError, match="registered for Ash is no elliptic-curve key"):
        roster(grid)
    assert not grid.sent


# --- a whole run ---------------------------------------------------------------------------------

TABLES = (UTILITIES, VALUATION, PAYOUTS)


def tables(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in TABLES]


def test_federation_that_is_forged_at_pays_to_the_byte_what_a_simulation_pays(
    tmp_path: Path,
) -> None:
    with start_or_resume(tmp_path / "simulated", CONFIG, resume=False) as run:
        simulate(CONFIG, run, "inline", Progress("quiet"), threading.Event())
    forger, crafts, asked = Forger(), cycle(craft for craft, _ in REPLIES.values()), count()

    def company(message: Message, context: Context) -> Message:
        """Every other reply of Beech's is forged, in one way after the other."""
        reply = honest_app(message, context)
        if context.node_id != BEECHS_NODE or next(asked) % 2:
            return reply
        forger.replies.append(reply)
        return next(crafts)(forger, reply)

    with (
        start_or_resume(tmp_path / "run", CONFIG, resume=False) as run,
        registered(company) as grid,
    ):
        value_companies(CONFIG, run, grid, Progress("quiet"), threading.Event())
    assert len(forger.replies) >= 6
    assert tables(tmp_path / "run") == tables(tmp_path / "simulated")


# --- the digest ----------------------------------------------------------------------------------


def plain_digest(content: RecordDict) -> str:
    """The slow twin of `signing.digest`: all parts in one text of bytes."""

    def part(data: bytes) -> bytes:
        return struct.pack(">Q", len(data)) + data

    def value(it: Any) -> bytes:
        if type(it).__name__ == "Array":
            return b"a" + value([it.stype, it.dtype, list(it.shape), it.data])
        match it:
            case bool():
                return b"t" if it else b"f"
            case int():
                return b"i" + part(str(it).encode())
            case float():
                return b"d" + struct.pack(">d", it)
            case str():
                return b"s" + part(it.encode())
            case bytes():
                return b"b" + part(it)
            case list():
                return b"l" + struct.pack(">Q", len(it)) + b"".join(map(value, it))
        raise AssertionError(it)

    names = sorted(set(content) - {wire.ENVELOPE})
    text = struct.pack(">Q", len(names))
    for name in names:
        record: Any = content[name]
        text += part(name.encode()) + part(type(record).__name__.encode())
        text += struct.pack(">Q", len(record))
        for key in sorted(record):
            text += part(key.encode()) + value(record[key])
    return hashlib.sha256(text).hexdigest()


def contents() -> Iterator[RecordDict]:
    """Contents that all differ, some by very little."""
    one, two = np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32)
    bit = one.copy()
    bit[0, 0] = np.float32(1e-45)
    for arrays in (one, two, one.astype(np.float64), one.astype(">f4"), bit, -one, one.ravel()):
        yield RecordDict({"x": ArrayRecord({"a": Array(arrays)})})
    data = Array(one).data
    yield RecordDict({"x": ArrayRecord({"a": Array("float32", (3, 2), "numpy.ndarray", data)})})
    yield RecordDict({"x": ArrayRecord({"a": Array("float64", (2, 3), "numpy.ndarray", data)})})
    yield RecordDict({"x": ArrayRecord({"b": Array(one)})})
    yield RecordDict({"y": ArrayRecord({"a": Array(one)})})
    yield RecordDict({"x": ArrayRecord({"a": Array(one), "b": Array(one)})})
    yield RecordDict()
    yield RecordDict({"x": ArrayRecord()})
    yield RecordDict({"x": ConfigRecord()})
    yield RecordDict({"x": MetricRecord()})
    for value in (1, 1.0, True, "1", b"1", [1], ["1"], [1.0], "", b"", 0, 0.0, -0.0, False, [1, 1]):
        yield RecordDict({"x": ConfigRecord({"a": value})})  # type: ignore[dict-item]
    yield RecordDict({"x": MetricRecord({"a": 1})})
    yield RecordDict({"x": ConfigRecord({"a": "b", "c": "d"})})
    yield RecordDict({"x": ConfigRecord({"a": "bc", "d": ""})})
    yield RecordDict({"x": ConfigRecord({"a": "b"}), "y": ConfigRecord({"c": "d"})})
    yield RecordDict({"x": ConfigRecord({"a": ["bc"]})})
    yield RecordDict({"x": ConfigRecord({"a": ["b", "c"]})})


def test_digest_is_that_of_its_slow_twin_and_no_two_contents_share_one() -> None:
    found = [signing.digest(content) for content in contents()]
    assert found == [plain_digest(content) for content in contents()]
    assert len(set(found)) == len(found)


def test_digest_is_the_same_after_the_message_was_bytes_and_in_any_order() -> None:
    for content in contents():
        message = Message(content, 3, wire.REGISTER)
        data = message_to_proto(message).SerializeToString()
        there = message_from_proto(ProtoMessage.FromString(data)).content
        assert signing.digest(there) == signing.digest(content)
        objects = RecordDict.inflate(
            content.deflate(), children={c.object_id: c for c in (content.children or {}).values()}
        )
        assert signing.digest(objects) == signing.digest(content)
    both = {"a": ConfigRecord({"x": 1, "y": 2}), "b": MetricRecord({"z": 3})}
    turned = {"b": MetricRecord({"z": 3}), "a": ConfigRecord({"y": 2, "x": 1})}
    assert signing.digest(RecordDict(both)) == signing.digest(RecordDict(turned))  # type: ignore[arg-type]


def test_array_that_names_one_piece_very_often_is_refused_before_it_takes_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Array, "inflate", vars(Array)["inflate"])  # to be put back
    monkeypatch.setattr(Array, "bounded", False, raising=False)
    monkeypatch.delattr(Array, "bounded")
    bound_arrays(Array)
    bound_arrays(Array)  # a second time changes nothing
    zeros = Array(np.zeros(LARGE_BYTES // 2, np.float32))  # of equal pieces
    pieces: dict[str, Any] = zeros.children or {}
    content = zeros.deflate()
    assert len(pieces) < 5
    assert Array.inflate(content, pieces).data == zeros.data
    head, _, body = content.partition(b"\0")
    said = json.loads(body) | {"arraychunk_ids": [0] * 10**6}
    text = json.dumps(said).encode()
    head = head.rpartition(b" ")[0] + f" {len(text)}".encode()
    with pytest.raises(ValueError, match=r"an array of .* bytes has no room in memory"):
        Array.inflate(head + b"\0" + text, pieces)


def test_digest_leaves_out_the_envelope_alone() -> None:
    bare = RecordDict({"x": ConfigRecord({"a": 1})})
    enveloped = RecordDict({**bare, wire.ENVELOPE: ConfigRecord({"b": 2})})
    assert signing.digest(enveloped) == signing.digest(bare)


def test_whatever_no_message_holds_has_no_digest() -> None:
    with pytest.raises(signing.Unsigned, match="it holds a NoneType, which no message does"):
        signing.digest({"x": {"a": None}})


def test_one_statement_is_never_that_of_another_letter() -> None:
    content = records()
    one = letter(content)
    others = [
        replace(one, **{field: value})
        for field, value in (
            ("run", 8),
            ("contract", "1" * 64),
            ("recipient", "Ash"),
            ("type", "train"),
            ("round", 1),
            ("nonce", "1" * 32),
            ("expires", 1),
            ("digest", "1" * 64),
        )
    ]
    reply = signing.Reply(one.nonce, VICTIM, one.type, one.digest)
    statements = {signing.statement(each) for each in (one, *others, reply)}
    assert len(statements) == len(others) + 2


def test_kit_is_read_as_it_was_written(node: Node) -> None:
    kit = read_kit(node.kit)
    assert (kit.company, kit.contract) == (VICTIM, contract_of(CONFIG))
    assert kit.state == node.kit / "state"
    assert read_kit(node.kit, node.kit / "elsewhere").state == node.kit / "elsewhere"
