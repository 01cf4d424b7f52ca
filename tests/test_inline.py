"""The companies of one process, in threads."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from threadpoolctl import threadpool_info

from clients.company import Company, Identity, LoadedCompanies
from server.inline import InlineGrid

GO_ON = 600.0  # seconds after which a test has failed


class Office:
    """Companies that record when they begin, and answer when they may. Company 2 is the first."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []  # company, message
        self.may_answer = {node: threading.Event() for node in (2, 3, 4)}

    def __call__(self, message: Message, context: Context) -> Message:
        self.begun.append((context.node_id, int(message.content["config"]["number"])))  # type: ignore[arg-type]
        assert self.may_answer[context.node_id].wait(GO_ON)
        return Message(RecordDict(), reply_to=message)


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    for event in office.may_answer.values():
        event.set()


def sent(*to: tuple[int, int]) -> list[Message]:
    return [
        Message(RecordDict({"config": ConfigRecord({"number": number})}), company, "train")
        for company, number in to
    ]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GO_ON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def grid(office: Office, workers: int) -> InlineGrid:
    return InlineGrid(office, range(3), workers)  # type: ignore[arg-type]


def test_a_company_works_at_one_message_at_a_time_and_no_other_waits_for_it(office: Office) -> None:
    office.may_answer[3].set()
    office.may_answer[4].set()
    with grid(office, workers=2) as companies:
        pushed = companies.push_messages(sent((2, 0), (2, 1), (2, 2), (3, 0), (4, 0), (3, 1)))
        until(lambda: len(office.begun) == 4)
        assert office.begun[0] == (2, 0)
        assert sorted(office.begun[1:]) == [(3, 0), (3, 1), (4, 0)]
        office.may_answer[2].set()
        replies: list[Message] = []
        until(lambda: replies.extend(companies.pull_messages(pushed)) or len(replies) == 6)
        assert [number for company, number in office.begun if company == 2] == [0, 1, 2]
        assert not list(companies.pull_messages(pushed))


def test_as_many_companies_work_at_once_as_there_are_workers(office: Office) -> None:
    with grid(office, workers=2) as companies:
        companies.push_messages(sent((2, 0), (3, 0), (4, 0)))
        until(lambda: len(office.begun) == 2)
        time.sleep(0.1)
        assert sorted(office.begun) == [(2, 0), (3, 0)]
        for event in office.may_answer.values():
            event.set()


def test_every_worker_computes_with_the_threads_that_it_is_given_from_its_first_message_on() -> (
    None
):
    seen: list[int] = []

    def company(message: Message, _: Context) -> Message:
        seen.extend(
            pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"
        )
        return Message(RecordDict(), reply_to=message)

    torch.ones(1)  # torch's pool is there before anybody looks
    with InlineGrid(company, range(3), workers=3, threads=3) as companies:  # type: ignore[arg-type]
        replies = companies.send_and_receive(sent((2, 0), (3, 0), (4, 0)))
    assert len(list(replies)) == 3
    assert seen and set(seen) == {3}


def test_an_exception_leaves_at_once_and_what_was_waiting_is_never_begun(office: Office) -> None:
    began = time.monotonic()
    with (
        pytest.raises(RuntimeError, match="the server gave up"),
        grid(office, workers=1) as companies,
    ):
        companies.push_messages(sent((2, 0), (2, 1), (3, 0)))
        until(lambda: len(office.begun) == 1)
        raise RuntimeError("the server gave up")
    assert time.monotonic() - began < GO_ON / 2
    office.may_answer[2].set()
    time.sleep(0.2)
    assert office.begun == [(2, 0)]


def test_company_is_loaded_once_a_run_and_a_source_is_read_once_for_all_of_them() -> None:
    loaded = LoadedCompanies()
    reads: list[Identity] = []
    loads: list[Identity] = []

    def company_of(identity: Identity) -> Company:
        def load(_shared: object) -> Company:
            loads.append(identity)
            return f"the company of {identity}"  # type: ignore[return-value]

        return loaded.get(identity, lambda: reads.append(identity), load)

    ash, beech = Identity(1, "Ash", None), Identity(1, "Beech", None)
    elsewhere, later = Identity(1, "Ash", "other.csv"), Identity(2, "Ash", None)
    for identity in (ash, beech, elsewhere, ash, beech):
        assert company_of(identity) == f"the company of {identity}"
    assert (loads, reads) == ([ash, beech, elsewhere], [ash, elsewhere])
    company_of(later)
    company_of(ash)
    assert (loads[3:], reads[2:]) == ([later, ash], [later, ash])
