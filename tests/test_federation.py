"""Registered companies, without a network: who is let in, what they are sent, and a node that goes
away.
"""

import threading
import time
from collections.abc import Iterable

import pytest
from flwr.app import Error, Message
from flwr.proto.node_pb2 import NodeInfo

from clients.app import app
from fl_sv.config import Config, parse_config
from fl_sv.data import operator_data
from fl_sv.errors import CompanyFailed, InputError
from fl_sv.flower import wire
from server import exchange as federation
from server.exchange import join
from server.inline import InlineGrid
from server.replies import NODE_UNAVAILABLE, SERVER_NODE
from tests.kits import RegisteredGrid

COMPANIES = ("Ash", "Beech", "Chestnut")
GAME = """
companies: [Ash, Beech, Chestnut]
data: {source: iris, partition: {kind: iid}}
models: {small: [{kind: mlp, hidden: [3]}], large: {kind: mlp, hidden: [32]}}
faults: {retries: 1}
payouts: {pot: {kind: fixed, cents: 1000}}
"""


class AbsentGrid(RegisteredGrid):
    """The first node is away for a number of messages, and back at the third look."""

    def __init__(self, names: Iterable[str], config: Config, away: int) -> None:
        super().__init__(names, config)
        self.away, self.looks = away, 0

    def get_node_ids(self) -> Iterable[int]:
        self.looks += 1
        return list(super().get_node_ids())[0 if self.looks > 2 else 1 :]

    def _run(self, message: Message) -> Message:
        reply = super()._run(message)
        if self.away and message.metadata.dst_node_id == min(self._contexts):
            self.away -= 1
            reply = Message(Error(code=NODE_UNAVAILABLE, reason="node_unavail"), reply_to=message)
            reply.metadata.__dict__["_src_node_id"] = SERVER_NODE  # the SuperLink makes it
        return reply


class ForgetfulGrid(RegisteredGrid):
    """The first message to the first node is lost: the node is killed and online again before
    anybody looks.
    """

    lost = False

    def get_nodes(self) -> Iterable[NodeInfo]:
        first, *others = super().get_nodes()
        first.last_activated_at = "again" if self.lost else "before"
        return [first, *others]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        pushed = list(super().push_messages(messages))
        if not self.lost:
            self.lost = True
            del self._replies[pushed[0]]
        return pushed


@pytest.fixture
def config() -> Config:
    return parse_config(GAME, "game")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "REMOTE_POLL_SECONDS", 0.01)
    monkeypatch.setattr(federation, "JOIN_SECONDS", 0.5)
    monkeypatch.setattr(federation, "SIMULATED_JOIN_SECONDS", 0.5)
    monkeypatch.setattr(federation, "RESTART_LOOK_SECONDS", 0.05)


def joined(config: Config, grid: InlineGrid) -> federation.Federation:
    return join(grid, config, operator_data(config), threading.Event())


def test_registered_names_decide_who_is_who(config: Config) -> None:
    roster = joined(
        config, RegisteredGrid(reversed(COMPANIES), config)
    ).roster  # and not what a node says of itself
    assert sorted(roster.node_of, key=roster.node_of.__getitem__) == list(reversed(COMPANIES))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("Ash", "Beech", "Elm"), "absent Chestnut, unknown Elm"),
        (("Ash", "Beech", "Chestnut", "Elm"), "absent nobody, unknown Elm"),
        (("Ash", "Beech"), "absent Chestnut, unknown nobody"),
        (("Ash", "Ash", "Beech", "Chestnut"), "4 nodes are online; the config names 3 companies"),
        (("", "", ""), "3 of 3 nodes were registered without a company's name"),
        (("Ash", "Beech", ""), "1 of 3 nodes were registered without a company's name"),
    ],
)
def test_a_registered_name_that_is_no_company_is_refused_and_so_is_an_absent_one(
    config: Config, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        joined(config, RegisteredGrid(names, config))


def test_a_simulation_with_another_number_of_nodes_is_refused_with_the_right_number(
    config: Config,
) -> None:
    with pytest.raises(InputError, match=r"2 nodes are online; .* needs num-supernodes=3;"):
        joined(config, InlineGrid(app, range(2)))


def test_companies_are_sent_no_path_of_the_operators(config: Config) -> None:
    validation = config.data.validation.model_copy(update={"file": "/srv/operator/held.csv"})
    data = config.data.model_copy(
        update={"options": {}, "source": "/srv/operator/pool.csv", "validation": validation}
    )
    assert "/srv/operator" in config.model_copy(update={"data": data}).model_dump_json()
    grid = RegisteredGrid(COMPANIES, config)
    with pytest.raises(
        CompanyFailed
    ):  # there is no such file: only the config that was sent matters
        join(
            grid, config.model_copy(update={"data": data}), operator_data(config), threading.Event()
        )
    texts = [str(message.content[wire.CONFIG][wire.RUN_CONFIG]) for message in grid.sent]
    assert texts
    assert not [text for text in texts if "/srv" in text]


@pytest.mark.parametrize("source", ["/srv/pool.csv", "somewhere:rows"])
def test_a_shared_source_that_holds_the_validation_rows_is_refused_across_companies(
    config: Config, source: str
) -> None:
    data = config.data.model_copy(update={"source": source})
    shared, operator = config.model_copy(update={"data": data}), operator_data(config)
    grid = RegisteredGrid(COMPANIES, config)
    with pytest.raises(
        InputError, match=r"each node would read all of .* rows that score everybody"
    ):
        join(grid, shared, operator, threading.Event())
    assert not grid.sent


def test_a_company_whose_node_was_lost_gets_the_message_again_when_it_is_back(
    config: Config,
) -> None:
    grid = AbsentGrid(COMPANIES, config, away=1)
    assert set(joined(config, grid).roster.examples) == set(COMPANIES)
    assert grid.looks == 3


def test_a_message_that_was_lost_with_a_restarted_node_is_not_waited_for(config: Config) -> None:
    grid, began = ForgetfulGrid(COMPANIES, config), time.monotonic()
    assert set(joined(config, grid).roster.examples) == set(COMPANIES)
    assert len(grid.sent) == len(COMPANIES) + 1
    assert (
        time.monotonic() - began < config.faults.timeout_seconds / 2
    )  # sent again when the others had answered, not after faults.timeout_seconds


def test_a_company_that_does_not_come_back_in_time_stops_the_run_by_name(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(federation, "REJOIN_SECONDS", 0.5)
    with pytest.raises(
        CompanyFailed,
        match=r"No reply signed by Ash arrived in registration, in 2 tries: its node went",
    ):
        joined(config, AbsentGrid(COMPANIES, config, away=9))
