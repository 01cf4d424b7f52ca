"""Messages that somebody crafted: a reply or an instruction that no row of the table allows.

Beech is the company that crafts. Every reply ends in a sentence that names it, and changes nothing.
"""

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
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
from numpy.typing import NDArray

from clients.app import app as honest_app
from clients.app import register
from clients.signatures import is_simulated, signed
from fl_sv.config import parse_config
from fl_sv.data import operator_data
from fl_sv.errors import CompanyFailed, InputError
from fl_sv.flower import schema, wire
from fl_sv.progress import Progress
from fl_sv.runs.directory import start_or_resume
from fl_sv.runs.files import JOURNAL, PAYOUTS, UTILITIES, VALUATION
from fl_sv.runs.journal import Journal
from server.exchange import join
from server.inline import InlineGrid
from server.interleave import run_to_end
from server.job import Job, open_job
from server.simulation import simulate
from strategies.coalitions import CoalitionStrategy
from strategies.flower import make_strategy
from strategies.roster import to_record
from strategies.teacher import TeacherStrategy
from tests.kits import RegisteredGrid

GAME = """
companies: [Ash, Beech, Chestnut]
data: {source: iris, partition: {kind: iid}}
models:
  small: [{kind: mlp, hidden: [3]}]
  large: {kind: mlp, hidden: [8]}
training: {rounds: 2, seeds: 1}
faults: {retries: 1}
payouts: {pot: {kind: fixed, cents: 1000}}
"""
CONFIG = parse_config(GAME, "game")
CULPRIT, BEECHS_NODE = "Beech", 3
EVIL = "\x1b[2J\r\n"
Craft = Callable[[Message], Message]


class Companies:
    """The honest client app, but for Beech, which crafts its replies to one kind of message."""

    def __init__(self, where: str = "", craft: Craft | None = None, times: int = 0) -> None:
        self.where, self.craft, self.left = where, craft, times

    def __call__(self, message: Message, context: Context) -> Message:
        if is_simulated(context.node_config):
            return self.crafted(message, context, honest_app)
        # A company signs what it crafts.
        return signed(message, context, lambda opened, _: self.crafted(opened, context, register))

    def crafted(
        self, message: Message, context: Context, answer: Callable[[Message, Context], Message]
    ) -> Message:
        reply = answer(message, context)
        is_due = self.left > 0 and self.where == message.metadata.message_type
        if is_due and context.node_id == BEECHS_NODE:
            self.left -= 1
            assert self.craft is not None
            return self.craft(reply)
        return reply


# --- how a reply is crafted ----------------------------------------------------------------------


def npy(array: NDArray[Any], *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def headed(header: str, data: bytes = b"", length: int | None = None) -> bytes:
    """A .npy file with this header, whatever it says."""
    text = header.encode() + b" " * (-(11 + len(header)) % 64) + b"\n"
    size = len(text) if length is None else length
    return b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little") + text + data


def says(shape: str, descr: str = "'<f4'", order: str = "False", more: str = "") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {more}}}"


def arrays(change: Callable[[NDArray[Any]], Any]) -> Craft:
    """Every array of the reply is changed. Bytes are sent with the honest declaration."""

    def craft(reply: Message) -> Message:
        crafted = ArrayRecord()
        for key, array in reply.content[wire.ARRAYS].items():
            made = change(array.numpy())
            if isinstance(made, bytes):
                made = Array(array.dtype, array.shape, array.stype, made)
            crafted[key] = made if isinstance(made, Array) else Array(made)
        reply.content[wire.ARRAYS] = crafted
        return reply

    return craft


def declared(**changes: Any) -> Craft:
    """The arrays are as they were, and something else is declared of them."""

    def change(array: NDArray[Any]) -> Array:
        true = {"dtype": "float32", "shape": array.shape, "stype": "numpy.ndarray"}
        return Array(**{**true, "data": npy(array), **changes})

    return arrays(change)


def first_is(number: float) -> Craft:
    def change(array: NDArray[Any]) -> NDArray[Any]:
        array = array.copy()
        array.flat[0] = number
        return array

    return arrays(change)


def keys(change: Callable[[dict[str, Array]], dict[str, Array]]) -> Craft:
    def craft(reply: Message) -> Message:
        reply.content[wire.ARRAYS] = ArrayRecord(change(dict(reply.content[wire.ARRAYS])))
        return reply

    return craft


def put(record: str, key: str, value: object) -> Craft:
    """A field gets a value, even one that Flower's own records would refuse."""

    def craft(reply: Message) -> Message:
        reply.content[record].__dict__["_data"][key] = value
        return reply

    return craft


def without(record: str, key: str = "") -> Craft:
    def craft(reply: Message) -> Message:
        if key:
            del reply.content[record][key]
        else:
            del reply.content[record]
        return reply

    return craft


def with_record(name: str, record: Any) -> Craft:
    def craft(reply: Message) -> Message:
        reply.content.__dict__["_data"][name] = record
        return reply

    return craft


def error(code: int, reason: str) -> Craft:
    return lambda reply: in_place_of(reply, Message(Error(code, reason), reply_to=reply))


def empty(reply: Message) -> Message:
    return in_place_of(reply, Message(RecordDict(), reply_to=reply))


def from_ash(reply: Message) -> Message:
    reply.metadata.__dict__["_src_node_id"] -= 1
    return reply


def in_place_of(reply: Message, other: Message) -> Message:
    other.metadata.__dict__.update(reply.metadata.__dict__)
    return other


# --- the cases: what is sent, and what the sentence says -----------------------------------------

NOT_AN_ARRAY = "is no array of float32 or float64 in row order"
KEY = wire.stack_key("mlp-3", 0)


class Case(NamedTuple):
    craft: Craft
    sentence: str


STACKS = {  # replies to a message of the sweep
    "one row for all": Case(arrays(lambda a: npy(a[:1])), "is declared as 'float32'"),
    "one row, declared": Case(arrays(lambda a: a[:1]), "has to be float32 of shape"),
    "a row too many": Case(arrays(lambda a: np.r_[a, a[:1]]), "has to be float32 of shape"),
    "no row": Case(arrays(lambda a: a[:0]), r"has the shape \(0, 27\)"),
    "a parameter less": Case(arrays(lambda a: a[:, 1:]), "has to be float32 of shape"),
    "flat": Case(arrays(np.ravel), "has the shape .*axes have to be models and parameters"),
    "another axis": Case(arrays(lambda a: a[None]), "has the shape"),
    "no axis": Case(arrays(lambda a: np.array(1, np.float32)), NOT_AN_ARRAY),
    "transposed": Case(arrays(lambda a: npy(np.ascontiguousarray(a.T))), "is declared as"),
    "many rows": Case(arrays(lambda a: np.repeat(a, 1000, axis=0)), "has to be float32 of shape"),
    "bool": Case(arrays(lambda a: npy(a > 0)), NOT_AN_ARRAY),
    "bool, declared": Case(arrays(lambda a: a > 0), NOT_AN_ARRAY),
    "complex": Case(arrays(lambda a: npy(a + 1j)), NOT_AN_ARRAY),
    "whole numbers": Case(arrays(lambda a: npy(a.astype(int))), NOT_AN_ARRAY),
    "half precision": Case(arrays(lambda a: npy(a.astype("f2"))), NOT_AN_ARRAY),
    "double precision": Case(arrays(lambda a: npy(a.astype("f8"))), "its bytes hold float64"),
    "double, declared": Case(arrays(lambda a: a.astype("f8")), "is float64 of shape"),
    "texts": Case(arrays(lambda a: npy(a.astype(str))), NOT_AN_ARRAY),
    "objects": Case(arrays(lambda a: npy(a.astype(object), allow_pickle=True)), NOT_AN_ARRAY),
    "records": Case(arrays(lambda a: headed(says("(3,)", "[('x', '<f4')]"))), NOT_AN_ARRAY),
    "big-endian": Case(arrays(lambda a: npy(a.astype(">f4"))), NOT_AN_ARRAY),
    "column order": Case(arrays(lambda a: npy(np.asfortranarray(a))), NOT_AN_ARRAY),
    "a length of -1": Case(arrays(lambda a: headed(says("(-1, 27)"), a.tobytes())), NOT_AN_ARRAY),
    "lengths with zeros": Case(
        arrays(lambda a: headed(says("(04, 27)"), a.tobytes())), NOT_AN_ARRAY
    ),
    "a length of 10^30": Case(arrays(lambda a: headed(says(f"({10**30}, 27)"))), NOT_AN_ARRAY),
    "a length of 10^11": Case(arrays(lambda a: headed(says(f"({10**11}, 27)"))), "0 bytes of numb"),
    "a call": Case(arrays(lambda a: headed(says("(print(1),)"))), NOT_AN_ARRAY),
    "one more key": Case(
        arrays(lambda a: headed(says("(4, 27)", more="'x': 1, "), a.tobytes())), NOT_AN_ARRAY
    ),
    "header beyond the end": Case(
        arrays(lambda a: headed(says("(4, 27)"), a.tobytes(), 65_535)), NOT_AN_ARRAY
    ),
    "no header": Case(arrays(lambda a: headed("", length=0)), NOT_AN_ARRAY),
    "control characters": Case(arrays(lambda a: headed(EVIL * 99)), NOT_AN_ARRAY),
    "version 2": Case(arrays(lambda a: b"\x93NUMPY\x02" + npy(a)[7:]), NOT_AN_ARRAY),
    "bytes behind": Case(arrays(lambda a: npy(a) + b"\0"), "bytes of numbers; its shape"),
    "bytes that lack": Case(arrays(lambda a: npy(a)[:-1]), "bytes of numbers; its shape"),
    "no bytes": Case(arrays(lambda a: b""), NOT_AN_ARRAY),
    "NaN": Case(first_is(np.nan), "NaN or infinite parameters"),
    "infinite": Case(first_is(-np.inf), "NaN or infinite parameters"),
    "3e38": Case(first_is(3e38), r"the parameter 3e\+38; allowed is -1e\+06 to 1e\+06"),
    "-2e6": Case(first_is(-2e6), r"the parameter -2e\+06"),
    "declared bool": Case(declared(dtype="bool"), "is declared as 'bool'"),
    "declared EVIL": Case(declared(dtype=EVIL * 99), "is declared as"),
    "declared a row": Case(declared(shape=(1, 27)), r"declared as 'float32' of shape \(1, 27\)"),
    "declared -1": Case(declared(shape=(-1, 27)), r"of shape \(-1, 27\)"),
    "declared 1,000 axes": Case(declared(shape=(1,) * 1000), "of shape a tuple"),
    "declared pickle": Case(declared(stype="pickle"), "is declared as"),
    "no model": Case(keys(lambda found: {}), "it holds 0 models"),
    "another model": Case(keys(lambda found: {"mlp-4/0": found[KEY]}), "models are 'mlp-4/0'"),
    "one model more": Case(keys(lambda found: {**found, "mlp-3/1": found[KEY]}), "mlp-3/1"),
    "a model's name": Case(keys(lambda found: {EVIL: found[KEY]}), "no name of a model"),
    "a long name": Case(keys(lambda found: {"x" * 10**6: found[KEY]}), "no name of a model"),
    "no arrays": Case(without(wire.ARRAYS), "the records are 'metrics'; there have to be"),
    "no metrics": Case(without(wire.METRICS), "the records are 'arrays'; there have to be"),
    "nothing": Case(empty, "the records are none; there have to be 'arrays', 'metrics'"),
    "one record more": Case(with_record("more", ConfigRecord()), "the records are .*'more'"),
    "an evil record": Case(with_record(EVIL * 99, ConfigRecord()), "the records are"),
    "arrays as config": Case(with_record(wire.ARRAYS, ConfigRecord()), "is no ArrayRecord"),
    "metrics as config": Case(
        with_record(wire.METRICS, ConfigRecord({"num-examples": 1, "seconds": 1.0})),
        "is no MetricRecord",
    ),
    "one metric more": Case(put(wire.METRICS, "more", 1.0), "fields of 'metrics' are"),
    "an evil metric": Case(put(wire.METRICS, EVIL, 1.0), "fields of 'metrics' are"),
    "no seconds": Case(without(wire.METRICS, wire.SECONDS), "fields of 'metrics' are"),
    **{
        f"seconds {value!r}": Case(
            put(wire.METRICS, wire.SECONDS, value),
            r"'seconds' is .*; allowed is a number from 0 to 1e\+07",
        )
        for value in (float("nan"), float("inf"), 1.7e308, -1.0, [1.0], "1", True, None)
    },
    **{
        f"examples {value!r}": Case(
            put(wire.METRICS, wire.NUM_EXAMPLES, value),
            "'num-examples' is .*; allowed is a whole number from 1 to 1,000,000,000",
        )
        for value in (0, -1, 1.9, 30.0, 2**62, True, float("nan"), "30", [30], None)
    },
    "an evil error": Case(error(2, EVIL + "x" * 10**7), "2 times: x{300,}"),
    "an error without a word": Case(error(2, ""), "2 times: error 2"),
    "another's node": Case(from_ash, "its reply came from another node"),
    "an error of another's": Case(
        lambda reply: from_ash(error(2, "Ash is to blame")(reply)), "came from another node"
    ),
}
TEACHER = {  # replies to a round of the teacher
    **{
        f"loss {value!r}": Case(
            put(wire.METRICS, wire.TRAIN_LOSS, value), r"'train_loss' is .* from 0 to 1e\+12"
        )
        for value in (float("nan"), 1e300, -1.0, "0.5")
    },
    "a stack": Case(arrays(lambda a: a[None]), "the axes have to be parameters"),
    "3e38": Case(first_is(3e38), r"the parameter 3e\+38"),
}
REGISTRATION = {  # replies to the first message of all
    **{
        f"fingerprint, {name}": Case(
            put(wire.CONFIG, wire.FINGERPRINT, value),
            "'fingerprint' is .*; allowed is 64 hexadecimal digits",
        )
        for name, value in {
            "carriage return": "a" * 63 + "\r",
            "a line": "a" * 64 + "\n",
            "capitals": "A" * 64,
            "long": "a" * 65,
            "empty": "",
            "a number": 7,
            "bytes": b"a" * 64,
        }.items()
    },
    **{
        f"name {value!r}": Case(put(wire.CONFIG, wire.COMPANY, value), sentence)
        for value, sentence in {
            "Ash": "its reply is in the name of 'Ash'; its node may speak for Beech only",
            "Elm": "its reply is in the name of 'Elm'; its node may speak for Beech only",
            "": "allowed is a company's name",
            "Beech\n": "allowed is a company's name",
            "B" * 65: "allowed is a company's name",
            5: "allowed is a company's name",
        }.items()
    },
    "another library": Case(put(wire.CONFIG, wire.LIBRARY, "a" * 64), "another version of fl_sv"),
    "no library": Case(without(wire.CONFIG, wire.LIBRARY), "fields of 'config' are"),
    "no examples": Case(put(wire.METRICS, wire.NUM_EXAMPLES, 0), "'num-examples' is 0"),
    "one field more": Case(put(wire.CONFIG, "role", "operator"), "fields of 'config' are .*'role'"),
    "arrays too": Case(with_record(wire.ARRAYS, ArrayRecord()), "the records are 'arrays'"),
}


# --- replies -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Job, Companies]]:
    companies = Companies()
    journal = Journal(tmp_path_factory.mktemp("job") / "journal")
    with InlineGrid(companies, range(3)) as grid:  # type: ignore[arg-type]
        yield (
            open_job(CONFIG, journal, grid, Progress("quiet"), threading.Event()),
            companies,
        )


@pytest.fixture(scope="module")
def honest(job: tuple[Job, Companies]) -> dict[str, bytes]:
    return {where: round_of(job[0], where) for where in (wire.COALITIONS, wire.TEACHER)}


def round_of(job: Job, where: str) -> bytes:
    """The first round of a wave, or of the teacher: the bytes of what is averaged."""
    dtype, roster = CONFIG.compute.dtype, job.federation.roster
    strategy: CoalitionStrategy | TeacherStrategy
    if where == wire.COALITIONS:
        model = job.small[0]
        strategy = CoalitionStrategy(roster, [1, 2, 3, 6], dtype)
        start = to_record({KEY: np.tile(model.initial_params(0, 0).numpy(), (4, 1))})
    else:
        key, n_params = wire.stack_key(job.large.name, 0), job.large.n_params
        strategy = TeacherStrategy(make_strategy(CONFIG), roster, key, n_params, dtype)
        start = to_record({key: job.large.initial_params(0, 0).numpy()})
    work = job.run_rounds(strategy, start, CONFIG.training.rounds, "a test", lambda *_: None)
    return b"".join(array.data for array in run_to_end(work).values())


@pytest.mark.parametrize(
    ("where", "name"),
    [(wire.COALITIONS, name) for name in STACKS] + [(wire.TEACHER, name) for name in TEACHER],
)
def test_reply_that_no_row_allows_names_its_company_and_changes_nothing(
    where: str, name: str, job: tuple[Job, Companies], honest: dict[str, bytes]
) -> None:
    made, companies = job
    case = (STACKS if where == wire.COALITIONS else TEACHER)[name]
    companies.where, companies.craft, companies.left = where, case.craft, 2
    before = made.federation.traffic.company_seconds
    with pytest.raises(CompanyFailed, match=case.sentence) as failed:
        round_of(made, where)
    text = str(failed.value)
    assert text.startswith("Beech failed in round 2 of a test, 2 times: ")
    assert "So did" not in text
    assert len(text) < 1000 and text.isprintable()
    companies.left = 1
    assert round_of(made, where) == honest[where]  # asked again, it answers
    assert companies.left == 0
    assert made.federation.traffic.company_seconds < before + 60


@pytest.mark.parametrize("name", REGISTRATION)
def test_registration_that_no_row_allows_names_the_company_of_the_registered_key(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.exchange.REMOTE_POLL_SECONDS", 0.01)
    companies = Companies(wire.REGISTER, REGISTRATION[name].craft, 2)
    operator = operator_data(CONFIG)
    with pytest.raises(CompanyFailed, match=REGISTRATION[name].sentence) as failed:
        join(registered(companies), CONFIG, operator, threading.Event())
    assert str(failed.value).startswith("Beech failed in registration, 2 times: ")
    assert str(failed.value).isprintable()
    companies.left = 1
    roster = join(registered(companies), CONFIG, operator, threading.Event()).roster
    assert roster.node_of == {"Ash": 2, "Beech": 3, "Chestnut": 4}


def registered(companies: object) -> InlineGrid:
    return RegisteredGrid(CONFIG.companies, CONFIG, companies)  # type: ignore[arg-type]


def test_two_companies_that_swap_their_names_are_both_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.exchange.REMOTE_POLL_SECONDS", 0.01)
    other = {"Ash": "Beech", "Beech": "Ash", "Chestnut": "Chestnut"}

    def swapped(message: Message, context: Context) -> Message:
        reply = register(message, context)
        facts = reply.content[wire.CONFIG]
        facts[wire.COMPANY] = other[str(facts[wire.COMPANY])]
        return reply

    def company(message: Message, context: Context) -> Message:
        return signed(message, context, swapped)

    with pytest.raises(CompanyFailed, match=r"Ash failed .* speak for Ash only. So did Beech\."):
        join(registered(company), CONFIG, operator_data(CONFIG), threading.Event())


def test_simulated_node_that_plays_another_company_is_refused() -> None:
    companies = Companies(wire.REGISTER, put(wire.CONFIG, wire.COMPANY, "Ash"), 9)
    with pytest.raises(InputError, match="The nodes play the companies Ash, Chestnut"):
        join(InlineGrid(companies, range(3)), CONFIG, operator_data(CONFIG), threading.Event())  # type: ignore[arg-type]


def test_reply_that_flower_cannot_read_names_its_company_and_loses_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Flower's own grid does: it takes the reply off the SuperLink, and then raises."""
    monkeypatch.setattr("server.exchange.REMOTE_POLL_SECONDS", 0.01)

    class Unreadable(RegisteredGrid):
        left = 1

        def pull_messages(self, message_ids):  # type: ignore[no-untyped-def]
            replies = list(super().pull_messages(message_ids))
            if self.left and any(reply.metadata.src_node_id == 3 for reply in replies):
                self.left -= 1
                raise KeyError("arraychunk_ids")
            return replies

    grid, operator = Unreadable(CONFIG.companies, CONFIG), operator_data(CONFIG)
    assert set(join(grid, CONFIG, operator, threading.Event()).roster.examples) == {
        *CONFIG.companies
    }
    assert len(grid.sent) == 4  # Beech alone is asked again
    grid.left = 99
    with pytest.raises(CompanyFailed, match=r"No reply signed by Beech .*: Flower cannot read it"):
        join(grid, CONFIG, operator, threading.Event())


# --- whole runs ----------------------------------------------------------------------------------

TABLES = (UTILITIES, VALUATION, PAYOUTS)
WORST = {
    "bool moves a payout": (wire.COALITIONS, STACKS["bool"]),
    "3e38 blames others": (wire.SINGLETON, TEACHER["3e38"]),
    "seconds poison the journal": (wire.TEACHER, STACKS["seconds 1.7e+308"]),
}


def run(out: Path, companies: object, *, resume: bool = False) -> list[bytes]:
    with start_or_resume(out, CONFIG, resume=resume) as directory:
        simulate(CONFIG, directory, "inline", Progress("quiet"), threading.Event(), companies)  # type: ignore[arg-type]
    return [(out / name).read_bytes() for name in TABLES]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return run(tmp_path_factory.mktemp("honest") / "run", honest_app)


@pytest.mark.parametrize("name", WORST)
def test_run_stops_with_the_culprits_name_and_goes_on_to_the_same_bytes(
    name: str, undisturbed: list[bytes], tmp_path: Path
) -> None:
    where, case = WORST[name]
    with pytest.raises(CompanyFailed, match=rf"^Beech failed .*{case.sentence}"):
        run(tmp_path / "run", Companies(where, case.craft, 2))
    assert (tmp_path / "run" / JOURNAL).exists() and not (tmp_path / "run" / PAYOUTS).exists()
    again = run(tmp_path / "run", Companies(where, case.craft, 1), resume=True)
    assert again == undisturbed


# --- instructions --------------------------------------------------------------------------------


def instruction(where: str) -> Message:
    """An honest instruction to Beech; its models have numbers alone that are 0."""
    operator = operator_data(CONFIG)
    content = RecordDict(
        {
            wire.CONFIG: ConfigRecord(
                {
                    wire.COMPANY: CULPRIT,
                    wire.ROUND: 1,
                    wire.RUN_CONFIG: CONFIG.model_dump_json(),
                    wire.SCALING: operator.scaling.to_json(),
                }
            )
        }
    )
    if where == wire.COALITIONS:
        content[wire.ARRAYS] = to_record({KEY: np.zeros((4, 27), np.float32)})
    elif where != wire.REGISTER:
        content[wire.ARRAYS] = to_record({"mlp-8/0": np.zeros(67, np.float32)})
    return Message(content, 3, where)


SCALING = operator_data(CONFIG).scaling.to_json()
ORDERS = {
    "a field more": (put(wire.CONFIG, "run", "os:system"), "fields of 'config' are"),
    "no round": (without(wire.CONFIG, wire.ROUND), "fields of 'config' are"),
    "round -1": (put(wire.CONFIG, wire.ROUND, -1), "'server-round' is -1"),
    "round 1.0": (put(wire.CONFIG, wire.ROUND, 1.0), "'server-round' is 1.0"),
    "an evil name": (put(wire.CONFIG, wire.COMPANY, EVIL), "'company' is"),
    "a stranger's name": (put(wire.CONFIG, wire.COMPANY, "Elm"), "there is no company 'Elm'"),
    "no config": (put(wire.CONFIG, wire.RUN_CONFIG, "{}"), "validation error"),
    "no JSON": (put(wire.CONFIG, wire.RUN_CONFIG, EVIL), "validation error"),
    "config in bytes": (put(wire.CONFIG, wire.RUN_CONFIG, b"{}"), "'run-config' is a bytes"),
    "no scaling": (put(wire.CONFIG, wire.SCALING, "[]"), "list indices must be"),
    "a scaling by 0": (
        put(wire.CONFIG, wire.SCALING, SCALING.replace('"target_scale": 1.0', '"target_scale": 0')),
        "the scaling does not fit",
    ),
    "a scaling by NaN": (
        put(wire.CONFIG, wire.SCALING, SCALING.replace('"target_mean": 0.0', '"target_mean": NaN')),
        "the scaling does not fit",
    ),
    "a rate of NaN": (put(wire.CONFIG, wire.RATES, '{"mlp-3": NaN}'), "validation error"),
    "a rate of 1e9": (put(wire.CONFIG, wire.RATES, '{"mlp-3": 1e9}'), "validation error"),
    "a rate in quotes": (put(wire.CONFIG, wire.RATES, '{"mlp-3": "1"}'), "validation error"),
    "one metric": (with_record(wire.METRICS, MetricRecord({"x": 1})), "the records are"),
    "no models": (without(wire.ARRAYS), "the records are 'config'"),
    "bool": (STACKS["bool"].craft, NOT_AN_ARRAY),
    "NaN": (STACKS["NaN"].craft, "NaN or infinite"),
    "3e38": (STACKS["3e38"].craft, r"the parameter 3e\+38"),
    "double": (STACKS["double, declared"].craft, "27 parameters of float64"),
    "a parameter less": (STACKS["a parameter less"].craft, "has 26 parameters of float32"),
    "another model": (STACKS["another model"].craft, "there is no model 'mlp-4' in this run"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_company_does_nothing_on_an_instruction_that_no_row_allows(name: str) -> None:
    craft, sentence = ORDERS[name]
    grid = InlineGrid(honest_app, range(3))
    (reply,) = grid.send_and_receive([craft(instruction(wire.COALITIONS))])
    assert reply.error.reason.startswith("the server's instruction was refused: ")
    assert reply.has_error() and len(reply.error.reason) < 500
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(reply.error.reason)


def test_message_type_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is no instruction 'train\.anything'"):
        schema.check_instruction("train.anything", RecordDict())


# --- the table itself ----------------------------------------------------------------------------


def test_every_kind_of_message_has_its_rows_on_both_ways_and_honest_ones_pass() -> None:
    kinds = {wire.REGISTER, wire.TEACHER, wire.SINGLETON, wire.COALITIONS, wire.EVALUATE}
    assert {*schema.INSTRUCTIONS} == {*schema.REPLIES} == kinds | {wire.TEACHER_LOGITS}
    for where in schema.INSTRUCTIONS:
        sent = instruction(where)
        schema.check_instruction(where, sent.content)
        (reply,) = InlineGrid(honest_app, range(3)).send_and_receive([sent])
        shapes = {
            key: array.shape for key, array in sent.content.get(wire.ARRAYS, ArrayRecord()).items()
        }
        schema.check_reply(where, reply.content, shapes, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1,), (7,), (1, 3), (3, 1), (2, 3, 4)])
def test_layout_is_that_which_numpy_reads(shape: tuple[int, ...], dtype: str) -> None:
    array = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    data = npy(array)
    assert wire.layout(data)[:2] == (dtype, shape)
    assert np.array_equal(wire.unpacked(data), np.load(io.BytesIO(data)))
