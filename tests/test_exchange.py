"""The exchange of messages with companies that answer late."""

import threading
import time

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict

from fl_sv.data.dataset import Task
from fl_sv.data.scaling import Scaling
from fl_sv.errors import CompanyFailed
from fl_sv.flower import wire
from server.exchange import Federation
from server.inline import InlineGrid
from server.interleave import Work, interleave, run_to_end
from strategies.roster import Roster, to_record
from tests.config_of import config_of

GO_ON = 600.0  # seconds after which a test has failed
NODES = {"Ash": 2, "Beech": 3}


class SlowBeech:
    """Companies that answer with how often they were asked; Beech's first answer waits."""

    def __init__(self) -> None:
        self.asked = dict.fromkeys(NODES.values(), 0)
        self.may_answer = threading.Event()

    def __call__(self, message: Message, context: Context) -> Message:
        self.asked[context.node_id] += 1
        count = self.asked[context.node_id]
        if context.node_id == NODES["Beech"] and count == 1:
            assert self.may_answer.wait(GO_ON)
        answer = ArrayRecord({"count": Array(np.array([float(count)]))})
        return Message(RecordDict({wire.ARRAYS: answer}), reply_to=message)


def federation_of(grid: InlineGrid, retries: int = 50) -> Federation:
    faults = {"retries": retries, "timeout_seconds": 0.2}
    config = config_of({"source": "iris"}, companies=tuple(NODES), faults=faults)
    scaling = Scaling(task=Task(kind="regression", input_shape=(1,), n_outputs=1))
    roster = Roster(config, scaling, NODES, dict.fromkeys(NODES, 10))
    return Federation(grid, roster, threading.Event())


def message_to(company: str, federation: Federation) -> Message:
    return federation.roster.message(company, wire.COALITIONS, 1, to_record({"x": np.zeros(2)}))


def question(federation: Federation, office: SlowBeech) -> Work[list[Message]]:
    """A message to each company; Beech's first answer may come once the message is sent again."""
    return federation.exchange(
        [message_to(company, federation) for company in NODES],
        lambda company, content: None,
        "a question",
        before_retry=lambda companies: office.may_answer.set(),
    )


def counts(replies: list[Message]) -> dict[int, int]:
    return {
        reply.metadata.src_node_id: int(
            wire.unpacked(reply.content.array_records[wire.ARRAYS]["count"].data)[0]
        )
        for reply in replies
    }


def until_nothing_is_held(federation: Federation) -> None:
    deadline = time.monotonic() + GO_ON
    while federation.late:
        federation._drop_late_replies()
        assert time.monotonic() < deadline
    assert federation.grid._replies == {}  # type: ignore[attr-defined]


def test_a_late_reply_is_never_the_answer_to_the_message_that_was_sent_again() -> None:
    office = SlowBeech()
    with InlineGrid(office, range(2), workers=2) as grid:  # type: ignore[arg-type]
        federation = federation_of(grid)
        answered = counts(run_to_end(question(federation, office)))
        assert answered[NODES["Beech"]] > 1
        assert answered[NODES["Ash"]] >= 1
        until_nothing_is_held(federation)


def test_a_late_reply_is_never_the_answer_to_the_next_message() -> None:
    office = SlowBeech()
    with InlineGrid(office, range(2), workers=2) as grid:  # type: ignore[arg-type]
        federation = federation_of(grid)
        first, second = interleave([question(federation, office), question(federation, office)])
        third = run_to_end(question(federation, office))
        of_beech = [counts(replies)[NODES["Beech"]] for replies in (first, second, third)]
        assert len(set(of_beech)) == 3 and of_beech[2] == max(of_beech)
        until_nothing_is_held(federation)


def test_bytes_are_those_of_every_message_that_was_sent_and_every_reply_that_was_used() -> None:
    office = SlowBeech()
    with InlineGrid(office, range(2), workers=2) as grid:  # type: ignore[arg-type]
        federation = federation_of(grid)
        replies = run_to_end(question(federation, office))
        until_nothing_is_held(federation)
    sent = len(message_to("Ash", federation).content.array_records[wire.ARRAYS]["x"].data)
    used = len(replies[0].content.array_records[wire.ARRAYS]["count"].data)
    assert federation.traffic.n_bytes == sum(office.asked.values()) * sent + 2 * used


def test_a_grid_that_is_closed_holds_nothing() -> None:
    office = SlowBeech()
    office.may_answer.set()
    with InlineGrid(office, range(2), workers=2) as grid:  # type: ignore[arg-type]
        grid.push_messages([message_to("Ash", federation_of(grid))])
    assert grid._replies == {}


def test_a_reply_from_another_node_than_the_one_that_was_asked_is_no_answer() -> None:
    def impostor(message: Message, context: Context) -> Message:
        reply = Message(RecordDict(), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = NODES["Ash"]
        return reply

    with InlineGrid(impostor, range(2), workers=2) as grid:  # type: ignore[arg-type]
        federation = federation_of(grid, retries=0)
        work = federation.exchange(
            [message_to("Beech", federation)], lambda company, content: None, "a question"
        )
        with pytest.raises(CompanyFailed, match=r"Beech failed in a question.*from another node"):
            run_to_end(work)
