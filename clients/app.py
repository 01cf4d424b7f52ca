"""The ClientApp of a company: it registers, trains what it is sent on its own rows, and reports
counts.

Rows never leave the company. What does: trained parameters, the number of examples, a fingerprint
of the data set, mean losses, and seconds; of an error, its kind. See docs/threat-model.md."""

import logging
import time

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from clients.company import Answers, Company, Stacks, load_company
from fl_sv.config import Config
from fl_sv.errors import InputError, RunError
from fl_sv.flower import wire
from fl_sv.machine import library_hash


class Withheld(Exception):
    """An error as the server may know it: Flower sends the text of a client's exception."""


def keep_errors_at_home(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """A Flower mod: what went wrong is logged at the company in full, and the server is told what
    kind of thing it was.

    The text of an exception may hold a path, a column's name or a cell. In a simulation, where
    company and server are one machine, it is passed on."""
    try:
        return answer(message, context)
    except Exception as error:
        if wire.PARTITION in context.node_config:
            raise
        logging.getLogger("flwr").exception(
            "fl-sv: this error stays here; the server is told its kind alone."
        )
        raise Withheld(withheld(error, message.metadata.message_type)) from None


def withheld(error: Exception, message_type: str) -> str:
    """The sentence that the server gets instead of the error."""
    if isinstance(error, InputError):
        what = (
            "its data, or the data path in its node's config, were refused (`fl-sv data check`"
            " there says why)"
        )
    else:
        what = f"{type(error).__name__} was raised"
    return f"{what}; the log of its own SuperNode has the details, on the message {message_type!r}"


app = ClientApp(mods=[keep_errors_at_home])


@app.query("register")
def register(message: Message, context: Context) -> Message:
    """Who this node is, how many examples it holds, and which library it runs."""
    company = _company(message, context)
    facts = {
        wire.COMPANY: company.name,
        wire.FINGERPRINT: company.fingerprint,
        wire.LIBRARY: library_hash(),
    }
    metrics = MetricRecord({wire.NUM_EXAMPLES: company.n_examples})
    return Message(
        RecordDict({wire.CONFIG: ConfigRecord(facts), wire.METRICS: metrics}),
        reply_to=message,
    )


@app.train()
def train_teacher(message: Message, context: Context) -> Message:
    """One round of the large model. Reports the received model's own loss, for the strategies that
    weight by it.
    """
    company, params = _company(message, context), _arrays(message)
    started = time.perf_counter()
    ((key, params_P),) = params.items()
    loss = company.loss(key, params_P)
    trained = company.train_round({key: params_P[None]}, _round(message))
    return _reply(message, company, {key: trained[key][0]}, started, {wire.TRAIN_LOSS: loss})


@app.train("singleton")
def train_singleton(message: Message, context: Context) -> Message:
    """All rounds of the large model by this company alone, in one message."""
    company, started = _company(message, context), time.perf_counter()
    return _reply(message, company, company.train_singleton(_arrays(message)), started, {})


@app.train("coalitions")
def train_coalitions(message: Message, context: Context) -> Message:
    """One round of the small models of every coalition of the wave that this company belongs to."""
    company, started = _company(message, context), time.perf_counter()
    logits = _teacher_logits(company, context) if company.config.students else None
    return _reply(
        message,
        company,
        company.train_round(_arrays(message), _round(message), logits),
        started,
        {},
    )


@app.query("teacher_logits")
def compute_teacher_logits(message: Message, context: Context) -> Message:
    """Asks the finished teacher about every row, once. The answers stay in this node's state, for
    its students.
    """
    company, started = _company(message, context), time.perf_counter()
    ((key, params_P),) = _arrays(message).items()
    context.state[wire.LOGITS] = ArrayRecord(
        {wire.LOGITS: Array(company.teacher_logits(key, params_P))}
    )
    metrics = {
        wire.NUM_EXAMPLES: company.n_examples,
        wire.SECONDS: time.perf_counter() - started,
    }
    return Message(RecordDict({wire.METRICS: MetricRecord(metrics)}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Loss of a model on the company's own rows. It is reported; it never scores a coalition."""
    company, params = _company(message, context), _arrays(message)
    ((key, params_P),) = params.items()
    metrics = MetricRecord(
        {wire.NUM_EXAMPLES: company.n_examples, wire.LOSS: company.loss(key, params_P)}
    )
    return Message(RecordDict({wire.METRICS: metrics}), reply_to=message)


def _company(message: Message, context: Context) -> Company:
    """The company that this message is for.

    On a real federation the server says which, by the name under which the node was registered. A
    simulated node has no name: until it is asked for it by one, it plays the company of its
    partition."""
    task, node = message.content[wire.CONFIG], context.node_config
    name, data_path = str(task[wire.COMPANY]), node.get(wire.DATA_PATH)
    if not name:
        name = Config.model_validate_json(str(task[wire.RUN_CONFIG])).companies[
            int(node[wire.PARTITION])
        ]
    return load_company(
        name=name,
        run_config=str(task[wire.RUN_CONFIG]),
        scaling=str(task[wire.SCALING]),
        data_path=None if data_path is None else str(data_path),
    )


def _teacher_logits(company: Company, context: Context) -> Answers:
    """The teacher's logits (n, K). Raises RunError when the node lost its state, as by a restart."""
    if wire.LOGITS not in context.state.array_records:
        raise RunError(
            f"{company.name} has not heard the finished teacher: its node was started again since;"
            " go on with --resume"
        )
    return wire.unpacked(context.state.array_records[wire.LOGITS][wire.LOGITS].data)


def _arrays(message: Message) -> Stacks:
    return {key: wire.unpacked(array.data) for key, array in message.content[wire.ARRAYS].items()}


def _round(message: Message) -> int:
    return int(message.content[wire.CONFIG][wire.ROUND])


def _reply(
    message: Message, company: Company, arrays: Stacks, started: float, extra: dict[str, float]
) -> Message:
    metrics = {
        wire.NUM_EXAMPLES: company.n_examples,
        wire.SECONDS: time.perf_counter() - started,
        **extra,
    }
    record = ArrayRecord({key: Array(array) for key, array in arrays.items()})
    return Message(
        RecordDict({wire.ARRAYS: record, wire.METRICS: MetricRecord(metrics)}),
        reply_to=message,
    )
